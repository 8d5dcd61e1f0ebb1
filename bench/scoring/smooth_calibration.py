"""A smooth calibration curve with a 95 % band over patients, its slope and its intercept, for any number of findings together.

The curve is a logistic regression of the labels on a restricted cubic spline of the logit of the probability (linear beyond the
outer knots). The slope is that of the logit in place of the spline; the intercept (calibration in the large) has the slope 1.
Pairs of image and finding with similar logits form a group; the groups are fitted. The variance is the sandwich estimator, whose
terms are summed by patient first, so images of a patient need not be independent; the band is pointwise, on the logit scale.
Intervals have a t distribution with Satterthwaite's degrees of freedom, and the factor P / (P - J) for P patients: with few patients,
or patients with very different numbers of images, few influences decide.
Sources: Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7 (flexible calibration curves); Harrell 2015, section 2.4.5 (spline,
knots); Liang and Zeger 1986, doi:10.1093/biomet/73.1.13 (sandwich by cluster).
Shapes: n pairs of image and finding, G points of the curve, J coefficients.
"""

import math
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.scoring.calibration_metrics import LEAST
from bench.scoring.influence import Estimate, Influence, half_width
from bench.scoring.metrics_of_split import AS_GIVEN, DECIDING, SplitMetrics

Array = NDArray[np.float64]
KNOTS = (0.05, 0.35, 0.65, 0.95)  # quantiles of the logits; Harrell's for four knots
ENOUGH = 50_000  # with more pairs, at least so many of them give the knots
GROUPS = 1024  # with at most so many pairs, each pair is a group
STEPS = 20  # maximum number of Newton steps; if the classes are separated, the steps do not end
HALVINGS = 100  # maximum number of steps that are halved


def reliability_rows(run_id: str, measured: SplitMetrics, bins: int) -> list[tuple[Any, ...]]:
    """Return the rows of the table `reliability`: `bins` points of each curve, uncalibrated and after Platt scaling."""
    found: list[tuple[Any, ...]] = []
    for calibrator in (AS_GIVEN, DECIDING):
        used = [
            (column, curves[calibrator])
            for column, curves in zip(measured.columns, measured.probabilities, strict=True)
            if calibrator in curves and len(curves[calibrator].prob) and curves[calibrator].fitted
        ]
        if not used:
            continue
        prob, bin_n = (np.concatenate([getattr(of, name) for _, of in used]) for name in ("prob", "bin"))
        positive, patient = (np.concatenate([getattr(of, name) for of, _ in used]) for name in ("positive", "patient"))
        count = np.bincount(bin_n, minlength=bins)
        filled = count > 0
        mean = np.divide(np.bincount(bin_n, prob, bins), count, out=np.full(bins, np.nan), where=filled)
        smooth = np.full((3, bins), np.nan)
        smooth[:, filled] = CalibrationPairs.of(_logit(prob), positive, patient).curve(mean[filled])
        points = zip(range(bins), mean.tolist(), count.tolist(), *smooth.tolist(), strict=True)
        found += [(run_id, measured.scored.dataset, calibrator, *point) for point in points]
    return found


def _logit(prob: Array) -> Array:
    return np.asarray(logit(np.clip(prob, LEAST, 1 - LEAST)))


class CalibrationPairs(NamedTuple):
    """Pairs of image and finding with their groups."""

    x: Array  # [n] logit of the probability
    positive: NDArray[np.bool_]  # [n]
    patient: NDArray[np.int32]  # [n] index
    group: NDArray[np.int64]  # [n]
    # for each group: number of pairs, number of positive pairs, mean logit
    num: Array
    present: Array
    middle: Array
    num_patients: int
    num_of_class: int  # patients of the rarer class

    @classmethod
    def of(cls, x: Array, positive: NDArray[np.bool_], patient: NDArray[np.int32]) -> Self:
        """Group pairs by their logits x [n]; patient [n]: indices."""
        has_class = np.zeros((2, int(patient.max(initial=-1)) + 1), bool)
        has_class[positive.astype(np.intp), patient] = True
        sizes = int(has_class.any(0).sum()), int(has_class.sum(1).min())
        if len(x) <= GROUPS:
            return cls(x, positive, patient, np.arange(len(x)), np.ones(len(x)), positive.astype(np.float64), x, *sizes)
        return cls(x, positive, patient, *_groups(x, positive, GROUPS), *sizes)

    def curve(self, at: Array) -> tuple[Array, Array, Array]:
        """Return the observed share of the finding at the probabilities `at` [G], and the bounds of its band.

        All numbers are NaN if a class has fewer than two patients, if there are fewer than five patients, if the
        probabilities are equal, or if they separate the classes.
        """
        if self.num_patients > len(KNOTS) and np.ptp(self.x) >= 1e-9:
            knots = np.unique(np.quantile(self.x[:: 1 + len(self.x) // ENOUGH], KNOTS))
            design = _basis(self.middle, knots)
            if fit := self._fit(design, 0.0 * self.middle, design.shape[1]):
                points = _basis(_logit(at), knots)
                middle, half = points @ fit[0], half_width(points @ fit[1].T)
                return expit(middle), expit(middle - half), expit(middle + half)
        return (np.full(len(at), np.nan),) * 3

    def slope(self) -> Estimate:
        """Return the calibration slope; unknown as in `curve`, but five patients are not needed."""
        return self._last(np.stack([np.ones_like(self.middle), self.middle], 1), 0.0 * self.middle)

    def intercept(self, a: float = 1.0, b: float = 0.0) -> Estimate:
        """Return the calibration in the large of the logits a x + b; unknown if a class has fewer than two patients."""
        return self._last(np.ones((len(self.middle), 1)), a * self.middle + b)

    def _last(self, design: Array, offset: Array) -> Estimate:
        fit = self._fit(design, offset, 1)
        return Estimate(float(fit[0][-1]), Influence({"": fit[1][:, -1]})) if fit else Estimate()

    def _fit(self, design: Array, offset: Array, lost: int) -> tuple[Array, Array] | None:
        """Fit the labels to a design [groups, J] and an offset [groups], by Newton's method; None if there is no fit.

        Returns coefficients [J] and the influence of each patient [P, J]; the variance has the factor P / (P - lost).
        A step is halved until it does not go far beyond the maximum.
        """
        if self.num_of_class < 2:
            return None
        from scipy.optimize import brentq  # imported here, because the import takes a tenth of a CPU second

        total = self.present.sum()
        widest = 2 * np.abs(offset).max() + math.log(self.num.sum()) + 1
        start = brentq(lambda a: float(self.num @ expit(offset + a)) - total, -widest, widest, xtol=1e-9)
        coefficients = np.eye(design.shape[1])[0] * start
        step = np.zeros(design.shape[1])
        before, size, steps = 0.0, 1.0, 0
        for _ in range(HALVINGS):
            fitted = expit(offset + design @ (coefficients + size * step))
            gradient = design.T @ (self.present - self.num * fitted)
            if gradient @ step < -0.5 * before:
                size /= 2
                continue
            coefficients, size, steps = coefficients + size * step, 1.0, steps + 1
            information = design.T @ (design * (self.num * np.maximum(fitted * (1 - fitted), 1e-12))[:, None])
            try:
                step = np.linalg.solve(information, gradient)
            except np.linalg.LinAlgError:
                return None
            before = gradient @ step
            if np.abs(design @ step).max() < 1e-7:
                break
            if steps == STEPS:
                return None
        residual, num = self.positive - fitted[self.group], int(self.patient.max()) + 1
        sums = np.stack([np.bincount(self.patient, residual * x[self.group], num) for x in design.T], 1)
        factor = math.sqrt(self.num_patients / (self.num_patients - lost))
        return np.asarray(coefficients), np.asarray(sums @ np.linalg.inv(information) * factor)


def _groups(x: Array, positive: NDArray[np.bool_], num_groups: int) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Return the group of each pair, and number of pairs, number of positive pairs and mean logit of each group."""
    lowest, width = x.min(), max((x.max() - x.min()) / num_groups, 1e-12)
    group = np.asarray(np.minimum((x - lowest) / width, num_groups - 1), np.int64)
    num, present, total = (np.asarray(np.bincount(group, v, num_groups), np.float64) for v in (None, positive, x))
    return group, num, present, np.asarray(total / np.maximum(num, 1))


def _basis(x: Array, knots: Array) -> Array:
    """Return the restricted cubic spline [n, J] of x [n]: 1, x, and one column for each knot but the last two."""
    columns = [np.ones_like(x), x]
    if len(knots) > 2:
        *inner, before, last = knots
        above = {knot: np.maximum(x - knot, 0.0) ** 3 for knot in knots}
        for knot in inner:
            ends = (last - knot) * above[before] - (before - knot) * above[last]
            columns.append((above[knot] - ends / (last - before)) / (last - knots[0]) ** 2)
    return np.stack(columns, 1)
