"""Counts of positive calls at the thresholds of decisions: those of net benefit, and those that reach a stated goal.

A threshold of net benefit is a probability after Platt scaling on the internal validation split. A threshold of a goal is
a logit. Both are fixed before external labels are read.
Shapes: K findings, D thresholds of one finding, G goals, n images of a column, P patients (or groups of patients, see `Sample`).
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration_metrics import BinnedProbabilities
from bench.scoring.column import Column
from bench.scoring.metrics import Label, Score
from bench.scoring.metrics_of_split import DECIDING, SplitMetrics
from bench.scoring.sample import Sample
from bench.scoring.scored_split import DROPPED, ScoredSplit
from bench.scoring.thresholds import at_sensitivity, candidates

Array = NDArray[np.float64]
Counts = NDArray[np.int64]


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator; NaN where the denominator is 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.asarray(np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0))


def mean_over(value: Array, error: Array) -> tuple[Array, Array]:
    """Return the means [...] of the finite numbers of S independent samples, value [S, ...], and their standard errors."""
    known = np.isfinite(value)
    total, squares = np.where(known, value, 0.0).sum(0), np.where(known, error**2, 0.0).sum(0)
    num = known.sum(0)
    return divide(total, num), divide(np.sqrt(squares), num)


# The thresholds of decision curves. A threshold t states how many false alarms one found case is worth: (1 - t) / t.
# Most findings of chest X-rays are rare, so there are more thresholds among the small probabilities.
CURVE = np.array([1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90]) / 100


class Goal(NamedTuple):
    """A stated sensitivity or specificity that a threshold must reach on the internal validation split."""

    goal: str  # sensitivity or specificity
    level: float


GOALS = (Goal("sensitivity", 0.90), Goal("sensitivity", 0.95), Goal("specificity", 0.90), Goal("specificity", 0.95))


def _at_specificity(candidate: NDArray[np.float64], num_false: Counts, num_negative: int, level: float) -> float:
    """Choose the lowest threshold with a specificity of at least `level`; NaN if no score reaches this specificity.

    candidate: thresholds in falling order. num_false: number of false positives at each threshold.
    """
    # 1e-9 is added, so that a rounding error cannot make the result of floor too small by 1.
    reaching = np.flatnonzero(num_false <= np.floor((1 - level) * num_negative + 1e-9))
    return float(candidate[reaching[-1]]) if len(reaching) else float("nan")  # the last is the lowest


def for_goals(label: Label, score: Score) -> NDArray[np.float64]:
    """Choose a threshold for each of GOALS [G].

    For a sensitivity, the highest threshold that reaches it; for a specificity, the lowest. NaN if a class is absent, or
    if even the highest score is given to too many negative images for the specificity.
    """
    candidate, num_hits, num_false, num_positive, num_negative = candidates(label, score)
    if num_positive == 0 or num_negative == 0:
        return np.full(len(GOALS), np.nan)
    return np.array(
        [
            at_sensitivity(candidate, num_hits, num_positive, level)
            if goal == "sensitivity"
            else _at_specificity(candidate, num_false, num_negative, level)
            for goal, level in GOALS
        ]
    )


@dataclass(frozen=True, slots=True, eq=False)
class DecisionThresholds:
    """The thresholds of each finding at which decisions are counted.

    prevalence [K]: share of the internal validation images with the finding; it is the stated threshold of the finding.
    goal [G, K]: thresholds of logits, in the order of GOALS. NaN if the validation split has too few patients.
    """

    prevalence: Array
    goal: Array

    @classmethod
    def choose(cls, val: ScoredSplit | None, enough: NDArray[np.bool_]) -> Self:
        """Choose the thresholds on the internal validation split. enough [K]: whether it has enough patients of both classes."""
        chosen = cls(np.full(len(enough), np.nan), np.full((len(GOALS), len(enough)), np.nan))
        for k in np.flatnonzero(enough):
            assert val is not None  # without the split, no finding has patients
            label, logit = val.labels()[:, k], val.logit[:, k]
            labeled = label != DROPPED
            chosen.goal[:, k] = for_goals(label[labeled], logit[labeled])
            chosen.prevalence[k] = float(np.mean(label[labeled] == 1))
        return chosen

    def counts(self, split: SplitMetrics) -> list["DecisionCounts"]:
        """Return the calls at the thresholds of each finding."""
        return [
            DecisionCuts.of(column, split.probabilities[k][DECIDING], self, k).counts(column, split.sample)
            for k, column in enumerate(split.columns)
        ]


class DecisionCounts(NamedTuple):
    """Numbers of images of one finding, of each patient.

    called [D, 2, P]: negatives and positives that are called positive; NaN for an unknown threshold. The thresholds are
    CURVE, then the stated threshold, then the goals. total [2, P]: all negatives, all positives.
    """

    called: Array
    total: Array

    @property
    def goals(self) -> Array:
        """Return the counts at the thresholds of the goals [G, 2, P]."""
        goals: Array = self.called[len(CURVE) + 1 :]
        return goals


@dataclass(frozen=True, slots=True, eq=False)
class DecisionCuts:
    """The thresholds of one finding as cuts of its column; a cut is a number of images with the highest logits.

    cut [D]: 0 for an unknown threshold. known [D]: whether the threshold is known. behind [D]: whether the images behind the
    cut are called positive, not those before it: this is so for probabilities that fall while the logit rises.
    """

    cut: NDArray[np.int64]
    known: NDArray[np.bool_]
    behind: NDArray[np.bool_]

    @classmethod
    def of(cls, column: Column, platt: BinnedProbabilities, thresholds: DecisionThresholds, k: int) -> Self:
        """Return the cuts of finding k. `platt`: probabilities of the images of the column, after Platt scaling."""
        prob, num = platt.prob, len(column.rows)
        goal = thresholds.goal[:, k]
        at = np.append(CURVE, thresholds.prevalence[k])
        known = np.append(np.isfinite(at) & platt.fitted, np.isfinite(goal)) & (num > 0)
        falls = num == 0 or prob[0] >= prob[-1]
        below = np.searchsorted(prob[::-1] if falls else prob, at, side="left")  # images with prob < threshold
        cut = num - below if falls else below
        cuts = np.where(known, np.append(cut, column.reaching(goal)), 0)
        behind = np.append(np.full(len(at), not falls), np.zeros(len(goal), bool))
        return cls(cuts.astype(np.int64), known, behind)

    def counts(self, column: Column, sample: Sample) -> DecisionCounts:
        """Return the counts of each patient."""
        before = np.arange(len(column.rows)) < self.cut[:, None]
        of_class = np.stack([~column.positive, column.positive])
        called = sample.sums((before ^ self.behind[:, None])[:, None] & of_class, column.rows)
        called[~self.known] = np.nan
        return DecisionCounts(called, sample.sums(of_class, column.rows))
