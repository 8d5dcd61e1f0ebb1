"""Symptoms of technical faults in outputs: constant, inverted, permuted or untrained.

Shapes: N images, K findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import expit

from bench.scoring.bootstrap.sort_scores import area, falling
from bench.scoring.score_rows import frame
from bench.scoring.scored_split import ScoredSplit
from reports.schemas.tables import SCHEMAS

INVERTED = "inverted or mislabelled"
CONSTANT = "constant output"
ORDER = "findings in another order"
UNTRAINED = "no better than chance at the internal hospital"

_GAIN = 0.05  # minimum gain in mean AUROC by a permutation of the outputs
_FEWEST = 30  # images of each class that a comparison of two columns needs


@dataclass(frozen=True, slots=True)
class Symptom:
    """One suspicious result: where it occurs, its number, and its usual cause."""

    dataset: str
    finding: str  # "all" when it is about the run
    kind: str
    value: float
    low: float
    high: float
    advice: str


def symptoms(
    scored_splits: Sequence[ScoredSplit], findings: Sequence[str], internal: str, scores: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Build the `diagnostics` and `histograms` tables of a run; histograms are of the findings that look inverted.

    `scored_splits` are those of `score_run`, `scores` is their table.
    """
    all_symptoms: list[Symptom] = []
    counts: list[tuple[object, ...]] = []
    plain = (scores["metric"] == "auroc") & (scores["calibrator"] == "none") & (scores["subgroup"] == "all")
    named = ("dataset", "split", "finding", "value", "low", "high")
    areas = scores.loc[plain, list(named)]
    intervals: dict[tuple[str, str], dict[str, tuple[float, float, float]]] = {}
    for dataset, split, finding, *numbers in areas.itertuples(index=False, name=None):
        value, low, high = numbers
        intervals.setdefault((dataset, split), {})[finding] = value, low, high
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
                *untrained(scored.dataset, *interval.get("macro", (np.nan,) * 3)),
            ]
    table = frame([astuple(symptom) for symptom in all_symptoms], [f.name for f in fields(Symptom)])
    return table, frame(counts, SCHEMAS["histograms"][1:])


def constant(scored: ScoredSplit, findings: Sequence[str], share: float = 0.99) -> list[Symptom]:
    """Find the findings whose logit is the same number in at least `share` (above .5) of the images."""
    symptoms = []
    num = len(scored.logit)
    least = (2 * share - 1) * num - 1  # lower bound of equal neighbors if a `share` of the images is equal
    suspects, first = np.arange(len(findings)), scored.logit[: num // 10]  # a first tenth rules out nearly all findings
    for some in (first, scored.logit):
        repeats = (some[1:, suspects] == some[:-1, suspects]).sum(0) + num - len(some)
        suspects = suspects[repeats >= least]
    for k in suspects.tolist() if num > 1 else ():
        usual = np.median(scored.logit[:, k])  # a value that most images have is the median
        most = float((scored.logit[:, k] == usual).mean())
        if most >= share:
            advice = "the output layer is dead, or training had no labels of this finding"
            symptoms.append(Symptom(scored.dataset, findings[k], CONSTANT, most, np.nan, np.nan, advice))
    return symptoms


def inverted(dataset: str, intervals: Mapping[str, tuple[float, float, float]]) -> list[Symptom]:
    """Find the findings whose interval of AUROC (value, low, high) lies entirely below .5."""
    advice = "compare the label mapping and the sign of the labels before calling it a failure to generalize"
    return [
        Symptom(dataset, finding, INVERTED, value, low, high, advice)
        for finding, (value, low, high) in intervals.items()
        if high < 0.5
    ]


def untrained(dataset: str, value: float, low: float, high: float) -> list[Symptom]:
    """Return a symptom if the interval of macro AUROC on the internal test split includes .5."""
    if not low <= 0.5 <= high:
        return []
    advice = "the checkpoint may not have been loaded, or training may not have begun: look at the learning curve"
    return [Symptom(dataset, "all", UNTRAINED, value, low, high, advice)]


def other_order(scored: ScoredSplit, findings: Sequence[str], fewest: int = _FEWEST) -> list[Symptom]:
    """Return a symptom if a permutation of the outputs raises the mean AUROC by .05 or more.

    Findings with fewer than `fewest` images of a class are skipped. The gain must also exceed four standard deviations of
    chance. Correlated findings can give a small gain without any fault.
    """
    matrix, known = cross_auroc(scored, fewest)
    if len(known) < 3:
        return []
    rows, columns = linear_sum_assignment(-matrix)
    own, best = float(np.diag(matrix).mean()), float(matrix[rows, columns].mean())
    moved = [(k, j) for j, k in zip(rows, columns, strict=True) if j != k]
    if best - own < max(_GAIN, 4 * _chance(scored, known)) or len(moved) < 2:
        return []
    pairs = ", ".join(f"{findings[known[k]]} from the output of {findings[known[j]]}" for k, j in sorted(moved)[:3])
    advice = f"read {pairs}{' ...' if len(moved) > 3 else ''}: mean AUROC {own:.2f} would be {best:.2f}"
    return [Symptom(scored.dataset, "all", ORDER, best - own, np.nan, np.nan, advice)]


def _chance(scored: ScoredSplit, known: Sequence[int]) -> float:
    """Compute the standard deviation of the difference of two mean AUROCs of random outputs (Mann-Whitney)."""
    label = scored.labels()[:, known]
    present, absent = (label == 1).sum(0), (label == 0).sum(0)
    variance = (present + absent + 1) / (12 * present * absent)
    return float(np.sqrt(2 * variance.mean() / len(known)))


def cross_auroc(scored: ScoredSplit, fewest: int = _FEWEST) -> tuple[NDArray[np.float64], list[int]]:
    """Compute the AUROC of each output (row) for each finding (column), and the indices of the findings."""
    label = scored.labels()
    enough = np.minimum((label == 1).sum(0), (label == 0).sum(0)) >= fewest
    known = [int(k) for k in np.flatnonzero(enough)]
    matrix = np.empty((len(known), len(known)))
    for row, j in enumerate(known):
        order = falling(scored.logit[:, j])
        score = scored.logit[order, j]
        for column, k in enumerate(known):
            matrix[row, column] = area(label[order, k], score)
    return matrix, known


def histogram(
    scored: ScoredSplit, k: int, bins: int = 20
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Compute bin edges in probability [bins + 1] and the counts of present and of absent images [bins] of a finding."""
    label, probability = scored.labels()[:, k], expit(scored.logit[:, k].astype(np.float64))
    edges = np.linspace(0.0, 1.0, bins + 1)
    present, absent = (np.histogram(probability[label == c], edges)[0].astype(np.int64) for c in (1, 0))
    return edges, present, absent
