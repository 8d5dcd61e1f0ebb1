"""Symptoms of technical faults in a run's outputs: constant, inverted, permuted or untrained outputs.

Shapes: N images, K findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from bench.scoring.bootstrap.sort_scores import area, falling
from bench.scoring.score_rows import frame
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

INVERTED = "inverted or mislabeled"
CONSTANT = "constant output"
ORDER = "findings in another order"
UNTRAINED = "no better than chance at the internal hospital"

_GAIN = 0.05  # minimum gain in mean AUROC for the symptom that the outputs are in another order
_FEWEST = 30  # minimum number of positive and of negative images of a finding in `cross_auroc`


class Interval(NamedTuple):
    """An AUROC with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Symptom:
    """One suspicious result: dataset, finding, kind of symptom, value with interval, and advice on the likely cause."""

    dataset: str
    finding: str  # "all" for a symptom of the entire run
    kind: str
    value: float  # an AUROC, a gain in mean AUROC, or a share of images with equal logits; `kind` decides
    low: float
    high: float
    advice: str


def symptoms(
    scored_splits: Sequence[ScoredSplit], findings: Sequence[str], internal: str, scores: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build the tables `diagnostics` and `histograms` of a run, without the column run_id.

    Only findings that seem inverted have histograms. `scored_splits`: the splits given to `score_run`. `scores`: the
    table of scores that `score_run` returned.
    """
    all_symptoms: list[Symptom] = []
    counts: list[tuple[object, ...]] = []
    areas = select(scores, finding=None)[["dataset", "split", "finding", "value", "low", "high"]]
    intervals: dict[tuple[str, str], dict[str, Interval]] = {}
    for dataset, split, finding, *numbers in areas.itertuples(index=False, name=None):
        intervals.setdefault((dataset, split), {})[finding] = Interval(*numbers)
    for scored in scored_splits:
        if scored.dataset == internal and scored.split != "test":
            continue
        interval = intervals.get((scored.dataset, scored.split), {})
        inverted_findings = inverted(scored.dataset, {f: interval[f] for f in findings if f in interval})
        for symptom in inverted_findings:
            edges, present, absent = histogram(scored, findings.index(symptom.finding))
            prefix = (scored.dataset, symptom.finding)
            counts += [(*prefix, *row) for row in zip(edges[:-1], edges[1:], present, absent, strict=True)]
        all_symptoms += [*constant(scored, findings), *inverted_findings]
        if scored.dataset == internal:
            all_symptoms += [
                *other_order(scored, findings),
                *untrained(scored.dataset, interval.get("macro", Interval(np.nan, np.nan, np.nan))),
            ]
    table = frame([astuple(symptom) for symptom in all_symptoms], [f.name for f in fields(Symptom)])
    return table, frame(counts, SCHEMAS["histograms"][1:])


def constant(scored: ScoredSplit, findings: Sequence[str], share: float = 0.99) -> list[Symptom]:
    """Return a symptom for each finding with the same logit in at least `share` of the images; `share` must exceed .5."""
    symptoms = []
    num = len(scored.logit)
    # if at least `share` of the logits are equal, at least this many pairs of successive images have equal logits
    fewest_repeats = (2 * share - 1) * num - 1
    # the first tenth of the images is tested first, because this fast test excludes nearly all findings
    suspects, first = (
        np.arange(len(findings)),
        scored.logit[: num // 10],
    )
    for logits in (first, scored.logit):
        repeats = (logits[1:, suspects] == logits[:-1, suspects]).sum(0) + num - len(logits)
        suspects = suspects[repeats >= fewest_repeats]
    for k in suspects.tolist() if num > 1 else ():
        # if more than half of the images have one value, this value is the median
        median = np.median(scored.logit[:, k])
        share_equal = float((scored.logit[:, k] == median).mean())
        if share_equal >= share:
            advice = "the output layer is dead, or training had no labels of this finding"
            symptoms.append(Symptom(scored.dataset, findings[k], CONSTANT, share_equal, np.nan, np.nan, advice))
    return symptoms


def inverted(dataset: str, intervals: Mapping[str, Interval]) -> list[Symptom]:
    """Return a symptom for each finding whose entire AUROC interval is below .5."""
    advice = "compare the label mapping and the sign of the labels before calling it a failure to generalize"
    return [
        Symptom(dataset, finding, INVERTED, value, low, high, advice)
        for finding, (value, low, high) in intervals.items()
        if high < 0.5
    ]


def untrained(dataset: str, macro: Interval) -> list[Symptom]:
    """Return a symptom if the interval of the macro AUROC on the internal test split includes .5, which is chance."""
    if not macro.low <= 0.5 <= macro.high:
        return []
    advice = "the checkpoint may not have been loaded, or training may not have begun: look at the learning curve"
    return [Symptom(dataset, "all", UNTRAINED, *macro, advice)]


def other_order(scored: ScoredSplit, findings: Sequence[str], fewest: int = _FEWEST) -> list[Symptom]:
    """Return a symptom if the mean AUROC rises by .05 or more when the outputs are assigned to findings in another order.

    Findings with fewer than `fewest` images of a class are skipped. The gain must also be at least four standard
    deviations of the gain of random outputs. Correlated findings can give a small gain without any fault.
    """
    matrix, indices = cross_auroc(scored, fewest)
    if len(indices) < 3:
        return []
    rows, columns = linear_sum_assignment(-matrix)
    mean_auroc, best_mean_auroc = float(np.diag(matrix).mean()), float(matrix[rows, columns].mean())
    moves = [(k, j) for j, k in zip(rows, columns, strict=True) if j != k]
    if best_mean_auroc - mean_auroc < max(_GAIN, 4 * _chance(scored, indices)) or len(moves) < 2:
        return []
    pairs = ", ".join(f"{findings[indices[k]]} from the output of {findings[indices[j]]}" for k, j in sorted(moves)[:3])
    advice = (
        f"read {pairs}{' ...' if len(moves) > 3 else ''}: mean AUROC {mean_auroc:.2f} would be {best_mean_auroc:.2f}"
    )
    return [Symptom(scored.dataset, "all", ORDER, best_mean_auroc - mean_auroc, np.nan, np.nan, advice)]


def _chance(scored: ScoredSplit, indices: Sequence[int]) -> float:
    """Compute the standard deviation of the gain in mean AUROC if the outputs were random.

    The gain is a difference between two means of AUROCs; the variance of each AUROC is that of the Mann-Whitney
    statistic.
    """
    label = scored.labels()[:, indices]
    present, absent = (label == 1).sum(0), (label == 0).sum(0)
    variance = (present + absent + 1) / (12 * present * absent)
    return float(np.sqrt(2 * variance.mean() / len(indices)))


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
        score = scored.logit[order, j]
        for column, k in enumerate(indices):
            matrix[row, column] = area(label[order, k], score)
    return matrix, indices


def histogram(
    scored: ScoredSplit, k: int, bins: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Compute a histogram of a finding's probabilities.

    Return the bin edges [bins + 1], the number of images with the finding in each bin [bins], and the number of images
    without the finding in each bin [bins].
    """
    label, probability = scored.labels()[:, k], expit(scored.logit[:, k].astype(np.float64))
    edges = np.linspace(0.0, 1.0, bins + 1)
    present, absent = (np.histogram(probability[label == c], edges)[0].astype(np.int64) for c in (1, 0))
    return edges, present, absent
