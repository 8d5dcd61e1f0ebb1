"""Symptoms of technical faults in a run's outputs: constant, inverted, permuted or untrained outputs.

A symptom other than a constant output is the result of a test. A run has about 60 tests, a grid up to 500 runs, so p-values
are corrected twice: here for all tests of the run, in `among_runs` for all runs of the grid. So a grid
without faults has a false symptom with a probability of at most LEVEL (`benchmarks/symptoms.py`). UNTRAINED is not false if the
true macro AUROC is below HARDLY_BETTER, whatever the cause.
Shapes: N images, K findings.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.scoring.area_intervals import ClassSizes
from bench.scoring.column import falling
from bench.scoring.gaps.gap import MACRO
from bench.scoring.intervals import NORMAL_QUANTILE
from bench.scoring.metrics import average_ranks
from bench.scoring.pooled_hospitals import hospital_parts
from bench.scoring.score_rows import frame
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.select import select
from reports.schemas.tables import INVERTED

CONSTANT = "constant output"
ORDER = "findings in another order"
UNTRAINED = "hardly better than chance at the internal hospital"

LEVEL = 0.05  # maximum probability of a symptom in a grid without faults
HARDLY_BETTER = 0.6  # a network with a smaller macro AUROC at the internal hospital is hardly better than chance
_TESTED = 3  # kinds of symptoms that are tests: inverted, in another order, untrained; each gets the same part of LEVEL
_GAIN = 0.05  # minimum gain in mean AUROC for the symptom that the outputs are in another order
_FEWEST = 10  # minimum number of positive and of negative images of a finding in `cross_auroc`


class Area(NamedTuple):
    """An AUROC with its 95 % interval, and the standard deviation that the AUROC of random outputs has (`chance`)."""

    value: float
    low: float
    high: float
    chance: float

    def p_below(self, bound: float) -> float:
        """Compute the one-sided p-value of the hypothesis that the true AUROC is at least `bound`; NaN without an interval.

        The standard error is the distance from the value to the upper bound, in units of 1.96, but at least `chance`: with
        few patients, influences vary too little, and far tails of an interval's distribution are wrong.
        """
        error = max(self.chance, (self.high - self.value) / NORMAL_QUANTILE)
        return float(ndtr((self.value - bound) / error)) if np.isfinite(self.high) else float("nan")


@dataclass(frozen=True, slots=True)
class Symptom:
    """One suspicious result: dataset, finding, kind of symptom, value with interval, p-value, and advice on the likely cause.

    `p` is corrected for all tests of the run (Bonferroni); NaN for a constant output, which is no test.
    """

    dataset: str
    finding: str  # "all" for a symptom of all findings
    kind: str
    value: float  # an AUROC, a gain in mean AUROC, or a share of images with equal logits; `kind` decides
    low: float
    high: float
    p: float
    advice: str


def symptoms(
    scored_splits: Sequence[ScoredSplit], findings: Sequence[str], internal: str, scores: pd.DataFrame
) -> pd.DataFrame:
    """Build the table `diagnostics` of a run, without the column run_id.

    The table has the symptoms that the run would have if it were alone; `among_runs` keeps those that many runs leave.
    `scored_splits`: the splits given to `score_run`. `scores`: the table of scores that `score_run` returned.
    """
    scored_splits = [split for split in scored_splits if split.dataset != internal or split.split == "test"]
    areas = _areas(scored_splits, findings, scores)
    constants = {split.dataset: constant(split, findings) for split in scored_splits}
    found = [symptom for of_split in constants.values() for symptom in of_split]
    test = next((split for split in scored_splits if split.dataset == internal), None)
    permuted = other_order(test, findings) if test else []
    found += permuted
    below = [
        symptom for symptom in inverted(areas) if not (permuted and symptom.dataset == internal)
    ]  # outputs in another order may be below .5, which the right order mends
    found += below
    if (internal, MACRO) in areas and not permuted and len(constants[internal]) < len(findings):
        found += untrained(internal, areas[internal, MACRO])
    return frame([astuple(symptom) for symptom in found], [f.name for f in fields(Symptom)])


def among_runs(table: pd.DataFrame, num_runs: int) -> pd.DataFrame:
    """Return the rows of a table `diagnostics` that are symptoms in a grid of `num_runs` runs, with p corrected for these runs."""
    corrected = np.minimum(table["p"] * num_runs, 1.0)
    return table.assign(p=corrected)[~(corrected > LEVEL)].reset_index(drop=True)


def _areas(
    scored_splits: Sequence[ScoredSplit], findings: Sequence[str], scores: pd.DataFrame
) -> dict[tuple[str, str], Area]:
    """Return {(dataset, finding): AUROC} of each split: of each finding with an AUROC, and of the macro."""
    rows = select(scores, finding=None)[["dataset", "split", "finding", "value", "low", "high", "num_findings"]]
    rows = rows[np.isfinite(rows["value"])]
    numbers = {tuple(row[:3]): row[3:] for row in rows.itertuples(index=False, name=None)}
    areas: dict[tuple[str, str], Area] = {}
    for split in scored_splits:
        place = (split.dataset, split.split)
        scored = {
            finding: Area(numbers[*place, finding][0], numbers[*place, finding][1], numbers[*place, finding][2], chance)
            for finding, chance in zip(findings, chances(split).tolist(), strict=True)
            if (*place, finding) in numbers
        }
        areas |= {(split.dataset, finding): area for finding, area in scored.items()}
        if scored and (*place, MACRO) in numbers:
            value, low, high, num = numbers[*place, MACRO]
            of_findings = np.array([area.chance for area in scored.values()])
            areas[split.dataset, MACRO] = Area(value, low, high, float(np.sqrt((of_findings**2).mean() / num)))
    return areas


def chances(scored: ScoredSplit) -> NDArray[np.float64]:
    """Compute the standard deviation of the AUROC of each finding [K] for random outputs (Mann-Whitney).

    In the worst case, all images of a patient and class have the same output. Then m images of the patient count as much
    as in Kish's effective number (Kish 1965, Survey Sampling), sum(m)^2 / sum(m^2) over the patients. In a pool, an AUROC
    is the mean over hospitals. NaN for a finding without a class.
    """
    variances = np.array([_variances(part) for part in hospital_parts(scored) or [scored]])
    num = np.isfinite(variances).sum(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.nansum(variances, 0)) / num)


def _variances(scored: ScoredSplit) -> NDArray[np.float64]:
    """Compute the variance of the AUROC of each finding [K] for random outputs, in the worst case; see `chances`."""

    def compute() -> NDArray[np.float64]:
        patient = np.unique(scored.patient_id.astype(str), return_inverse=True)[1]
        num = ClassSizes.of_labels(scored.labels(), patient.astype(np.int32)).patients
        product = num.prod(0)
        return np.asarray(np.divide(num.sum(0) + 1, 12 * product, out=np.full(len(product), np.nan), where=product > 0))

    variances: NDArray[np.float64] = scored.cached("variances of random outputs", compute)
    return variances


def constant(scored: ScoredSplit, findings: Sequence[str], share: float = 0.99) -> list[Symptom]:
    """Return a symptom for each finding with the same logit in at least `share` of the images; `share` must exceed .5."""
    symptoms = []
    num = len(scored.logit)
    # if at least `share` of the logits are equal, at least this many pairs of successive images have equal logits
    fewest_repeats = (2 * share - 1) * num - 1
    # the first tenth of the images is tested first, because this fast test excludes nearly all findings
    suspects, first = np.arange(len(findings)), scored.logit[: num // 10]
    for logits in (first, scored.logit):
        repeats = (logits[1:, suspects] == logits[:-1, suspects]).sum(0) + num - len(logits)
        suspects = suspects[repeats >= fewest_repeats]
    for k in suspects.tolist() if num > 1 else ():
        # if more than half of the images have one value, this value is the median
        median = np.median(scored.logit[:, k])
        share_equal = float((scored.logit[:, k] == median).mean())
        if share_equal >= share:
            advice = "the output layer is dead, or training had no labels of this finding"
            symptoms.append(Symptom(scored.dataset, findings[k], CONSTANT, share_equal, np.nan, np.nan, np.nan, advice))
    return symptoms


def inverted(areas: Mapping[tuple[str, str], Area]) -> list[Symptom]:
    """Return a symptom for each AUROC of a run that is below .5, corrected for the number of AUROCs.

    `areas`: {(dataset, finding): AUROC}. The finding of a macro is "all" in the symptom.
    """
    p_values = {place: area.p_below(0.5) for place, area in areas.items()}
    num = _TESTED * sum(p == p for p in p_values.values())
    advice = "compare the label mapping and the sign of the labels before calling it a failure to generalize"
    return [
        Symptom(
            dataset, "all" if finding == MACRO else finding, INVERTED, *areas[dataset, finding][:3], num * p, advice
        )
        for (dataset, finding), p in p_values.items()
        if num * p <= LEVEL
    ]


def untrained(dataset: str, macro: Area) -> list[Symptom]:
    """Return a symptom if the macro AUROC on the internal test split is below HARDLY_BETTER beyond chance.

    An interval that includes .5 is not enough: with few patients, it can include .5 and .8.
    """
    p = _TESTED * macro.p_below(HARDLY_BETTER)
    advice = (
        f"the macro AUROC is below {HARDLY_BETTER:.2f}, and .5 is chance: the checkpoint may not have been loaded, or training "
        "may not have begun; look at the learning curve"
    )
    return [Symptom(dataset, "all", UNTRAINED, *macro[:3], p, advice)] if p <= LEVEL else []


def other_order(scored: ScoredSplit, findings: Sequence[str], fewest: int = _FEWEST) -> list[Symptom]:
    """Return a symptom if another assignment of outputs to findings has a clearly higher mean AUROC.

    Findings with fewer than `fewest` images of a class are skipped. The gain must be at least _GAIN, because correlated
    findings can give a small gain without any fault. The gain must also be higher than the gain from inverting all
    outputs, and significant. The p-value is corrected for all assignments that move as many outputs, and for the number of
    outputs that can move, so the best assignment may be tested.
    """
    matrix, indices = cross_auroc(scored, fewest)
    num = len(indices)
    if num < 3:
        return []
    from scipy.optimize import (
        linear_sum_assignment,  # imported here, because the import takes a quarter of a CPU second
    )

    rows, columns = linear_sum_assignment(-matrix)
    mean_auroc, best_mean_auroc = float(np.diag(matrix).mean()), float(matrix[rows, columns].mean())
    gain = best_mean_auroc - mean_auroc
    moves = [(int(k), int(j)) for j, k in zip(rows, columns, strict=True) if j != k]
    if len(moves) < 2 or gain < max(_GAIN, 1 - 2 * mean_auroc):
        return []
    assignments = math.comb(num, len(moves)) * _derangements(len(moves))
    p = _TESTED * (num - 1) * assignments * float(ndtr(-gain / _gain_deviation(scored, indices, moves)))
    if p > LEVEL:
        return []
    pairs = ", ".join(f"{findings[indices[k]]} from the output of {findings[indices[j]]}" for k, j in sorted(moves)[:3])
    advice = (
        f"read {pairs}{' ...' if len(moves) > 3 else ''}: mean AUROC {mean_auroc:.2f} would be {best_mean_auroc:.2f}"
    )
    return [Symptom(scored.dataset, "all", ORDER, gain, np.nan, np.nan, p, advice)]


def _derangements(num: int) -> int:
    """Return the number of permutations of `num` things that leave nothing in its place.

    >>> [_derangements(num) for num in range(2, 6)]
    [1, 2, 9, 44]
    """
    return round(math.factorial(num) / math.e)


def _gain_deviation(scored: ScoredSplit, indices: Sequence[int], moves: Sequence[tuple[int, int]]) -> float:
    """Compute the standard deviation of the gain of an assignment if the outputs were random but correlated as they are.

    The covariance of two AUROCs of random outputs is the product of their `chances`, of the correlation of the two findings, and of
    the rank correlation of the two outputs. moves: (finding, output), as positions in `indices`.
    """
    label, ranks = scored.labels()[:, indices], average_ranks(scored.logit[:, indices])
    present = np.where(label >= 0, label, np.nan)
    known = np.nan_to_num(present - np.nanmean(present, 0))
    of_labels, of_outputs = (np.nan_to_num(_correlation(values)) for values in (known, ranks - ranks.mean(0)))
    finding, output = np.array(moves).T
    before, after = np.ix_(finding, finding), np.ix_(output, output)
    crossed = of_outputs[np.ix_(output, finding)]
    change = of_outputs[after] - crossed - crossed.T + of_outputs[before]
    chance = chances(scored)[list(indices)][finding]
    return float(np.sqrt((np.outer(chance, chance) * of_labels[before] * change).sum()) / len(indices))


def _correlation(centered: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the correlations [K, K] of columns with mean 0 [N, K]; NaN for a constant column."""
    product, length = centered.T @ centered, np.sqrt((centered**2).sum(0))
    with np.errstate(invalid="ignore"):
        return np.asarray(product / np.outer(length, length))


def cross_auroc(scored: ScoredSplit, fewest: int = _FEWEST) -> tuple[NDArray[np.float64], list[int]]:
    """Compute the AUROC of each output (row) for each finding (column); also return the indices of the included findings.

    Only findings with at least `fewest` images of each class, and their outputs, are included.
    """
    label = scored.labels()
    enough = np.minimum((label == 1).sum(0), (label == 0).sum(0)) >= fewest
    indices = [int(k) for k in np.flatnonzero(enough)]
    matrix = np.empty((len(indices), len(indices)))
    for row, j in enumerate(indices):
        order = falling(scored.logit[:, j])
        last = np.append(
            np.diff(scored.logit[order, j]) != 0, True
        )  # whether an image is the last of those with its score
        present, absent = (np.cumsum(label[order][:, indices] == sign, 0)[last] for sign in (1, 0))
        hits, alarms = (np.diff(counts, axis=0, prepend=0) for counts in (present, absent))
        twice_discordant = (hits * (2 * absent - alarms)).sum(0)
        twice_pairs = 2 * present[-1] * absent[-1]
        matrix[row] = (twice_pairs - twice_discordant) / twice_pairs
    return matrix, indices
