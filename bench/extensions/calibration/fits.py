"""Calibration intercept, calibration slope and O:E of the probabilities of one finding, with 95 % intervals over patients.

All three compare probabilities with labels; x is the logit of a probability, y a label.

    intercept   calibration in the large: a in the logistic regression logit P(y = 1) = a + x, so x is an offset; 0 is ideal
    slope       b in the logistic regression logit P(y = 1) = a + b x; 1 is ideal
    O:E         observed number of images with the finding, divided by the sum of the probabilities; 1 is ideal

An interval is the number (O:E: its logarithm) ± t × standard error. The variance is the sandwich estimator, whose terms are summed
by patient first, with the factor P / (P - 1) for P patients: images of the same patient need not be independent. With few
patients this variance is too small, so t is the quantile of a t distribution; its degrees of freedom are the number of
patients of the rarer class, minus 1.
Sources: Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster et al. 2019, doi:10.1186/s12916-019-1466-7; Debray et al. 2017,
doi:10.1136/bmj.i6460 (O:E on the log scale); Liang and Zeger 1986, doi:10.1093/biomet/73.1.13 (sandwich by cluster).
Shapes: n images, P patients.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.scoring.bootstrap.compiled import compiled

Array = NDArray[np.float64]

BLOCKS = 1024  # groups of images with similar logits; a fit to the groups is the start of the fit to the images
STEPS = 100  # maximum number of Newton steps
CLOSE = (
    1e-3  # a fit ends with a step of at most this size: the error is then about its square, and one more step follows
)

NO_IMAGES = "too few patients"
NO_PROBABILITIES = "Platt scaling could not be fitted"
NO_POSITIVE, NO_NEGATIVE = "no image with the finding", "all images have the finding"
ONE_PATIENT = "only one patient with the finding, or only one without"
EQUAL, SEPARATED = "slope: all probabilities are equal", "slope: the logits separate both classes completely"


class Bounded(NamedTuple):
    """A number with the bounds of its 95 % interval; NaN if unknown."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @classmethod
    def of(cls, value: float, variance: float, quantile: float) -> "Bounded":
        """Return the number with the interval value ± quantile × standard error."""
        half = quantile * math.sqrt(variance)
        return cls(value, value - half, value + half)


class Calibration(NamedTuple):
    """Intercept, slope and O:E of one calibrator; reason: why numbers are NaN, else ""."""

    intercept: Bounded = Bounded()
    slope: Bounded = Bounded()
    observed_expected: Bounded = Bounded()
    reason: str = ""


class _Images(NamedTuple):
    """Images of one finding, with falling logits."""

    logit: Array  # [n]
    present: Array  # [n] labels, 0 and 1
    patient: NDArray[np.int32]  # [n] index of the patient
    num_patients: int  # more than the highest index
    quantile: float  # half the width of an interval, in standard errors
    blocks: tuple[Array, Array, Array]  # see `_blocks`

    def fit(self, a: float, b: float, intercept: float, slope: float, free: bool) -> tuple[float, float]:
        """Return the fitted number of the logits a * logit + b, and its variance: the slope if it is free, else the intercept.

        intercept, slope: where the fit starts.
        """
        middle, positive, num = self.blocks
        x = a * self.logit + b
        at = _newton(a * middle + b, positive, num, intercept, slope, free)
        at = _newton(x, self.present, np.ones(len(x)), *at, free)
        step, variance = _step_and_variance(x, self.present, self.patient, self.num_patients, *at, free)
        return at[int(free)] + step, variance


def calibration(
    logit: Array, positive: NDArray[np.bool_], patient: NDArray[np.int32], scales: Sequence[tuple[float, float]]
) -> list[Calibration]:
    """Compute the calibration of the probabilities sigmoid(a * logit + b) for each (a, b) in `scales`.

    logit [n] (falling), positive [n], patient [n] (indices). The slopes follow from one fit: logits that are a times as large
    have a slope that is a times as small.
    """
    num_patients = int(patient.max(initial=-1)) + 1
    num_of_class = min(np.count_nonzero(np.bincount(patient[of])) for of in (positive, ~positive))
    if num_of_class < 2:
        return [Calibration(reason=_why_nothing(positive))] * len(scales)
    present, quantile = positive.astype(np.float64), float(stdtrit(num_of_class - 1, 0.975))
    images = _Images(logit, present, patient, num_patients, quantile, _blocks(logit, present))
    slope, why_no_slope = _slope(images, positive)
    return [_calibration(images, a, b, slope, why_no_slope) for a, b in scales]


def _why_nothing(positive: NDArray[np.bool_]) -> str:
    """Return why there is no number at all, if a class has fewer than two patients."""
    if not len(positive):
        return NO_IMAGES
    return ONE_PATIENT if positive.any() and not positive.all() else NO_NEGATIVE if positive.any() else NO_POSITIVE


def _slope(images: _Images, positive: NDArray[np.bool_]) -> tuple[Bounded, str]:
    """Return the slope of the logits as they are, and why there is none."""
    logit = images.logit
    mean, spread = float(logit.mean()), float(logit.std())
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return Bounded(), EQUAL
    # highest and lowest logit of each class
    (high, low), (other_high, other_low) = (
        (logit[of.argmax()], logit[len(of) - 1 - of[::-1].argmax()]) for of in (positive, ~positive)
    )
    if low >= other_high or other_low >= high:
        return Bounded(), SEPARATED
    share = images.present.mean()
    slope, variance = images.fit(1 / spread, -mean / spread, math.log(share / (1 - share)), 0.0, True)
    return Bounded.of(slope / spread, variance / spread**2, images.quantile), ""


def _calibration(images: _Images, a: float, b: float, slope: Bounded, why_no_slope: str) -> Calibration:
    """Return the calibration of the probabilities sigmoid(a * logit + b); slope: that of the logits as they are."""
    if not math.isfinite(a):
        return Calibration(reason=NO_PROBABILITIES)
    large = Bounded.of(*images.fit(a, b, 0.0, 1.0, False), images.quantile)
    ratio, variance = _observed_expected(a * images.logit + b, images.present, images.patient, images.num_patients)
    of_log = Bounded.of(math.log(ratio), variance, images.quantile)
    if a == 0:
        slope, why_no_slope = Bounded(), EQUAL
    else:  # a negative a reverses the order of the bounds
        low, high = sorted((slope.low / a, slope.high / a))
        slope = Bounded(slope.value / a, low, high)
    return Calibration(large, slope, Bounded(*(math.exp(number) for number in of_log)), why_no_slope)


@compiled
def _blocks(logit: Array, present: Array) -> tuple[Array, Array, Array]:
    """Return mean logit, number of positive images and number of images of up to BLOCKS groups of neighbors."""
    total = logit.shape[0]
    length = -(-total // BLOCKS)
    size = -(-total // length)
    middle, positive, num = np.zeros(size), np.zeros(size), np.zeros(size)
    for i in range(total):
        middle[i // length] += logit[i]
        positive[i // length] += present[i]
        num[i // length] += 1
    return middle / num, positive, num


@compiled
def _newton(
    x: Array, positive: Array, images: Array, intercept: float, slope: float, free: bool
) -> tuple[float, float]:
    """Return intercept and slope of the logistic regression of positive [n] of images [n] on x [n], by Newton's method.

    intercept, slope: where the method starts. free: whether the slope is fitted, too. A step is halved until the derivative of
    the likelihood along the step is no longer far below 0, that is until the step does not go far beyond the maximum.
    """
    by_intercept, by_slope, size, before = 0.0, 0.0, 1.0, 0.0
    for _ in range(STEPS):
        at_intercept, at_slope = intercept + size * by_intercept, slope + size * by_slope
        first, second, h_first, h_cross, h_second = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(x.shape[0]):
            prob = 1 / (1 + math.exp(-at_intercept - at_slope * x[i]))
            residual, weight = positive[i] - images[i] * prob, images[i] * max(prob * (1 - prob), 1e-12)
            first += residual
            second += residual * x[i]
            h_first += weight
            h_cross += weight * x[i]
            h_second += weight * x[i] * x[i]
        if first * by_intercept + second * by_slope < -0.5 * before:
            size /= 2
            continue
        intercept, slope, size = at_intercept, at_slope, 1.0
        if free:
            determinant = h_first * h_second - h_cross * h_cross + 1e-12
            by_intercept = (h_second * first - h_cross * second) / determinant
            by_slope = (h_first * second - h_cross * first) / determinant
        else:
            by_intercept = first / h_first
        before = first * by_intercept + second * by_slope
        if abs(by_intercept) + abs(by_slope) <= CLOSE:
            return intercept + by_intercept, slope + by_slope
    return intercept, slope


@compiled
def _step_and_variance(
    x: Array,
    present: Array,
    patient: NDArray[np.int32],
    num_patients: int,
    intercept: float,
    slope: float,
    free: bool,
) -> tuple[float, float]:
    """Return the last Newton step of the slope if the slope is free, else of the intercept, and its sandwich variance."""
    sums = np.zeros((num_patients, 2))
    has_images = np.zeros(num_patients, np.bool_)
    h_first, h_cross, h_second = 0.0, 0.0, 0.0
    for i in range(x.shape[0]):
        prob = 1 / (1 + math.exp(-intercept - slope * x[i]))
        residual, weight = present[i] - prob, max(prob * (1 - prob), 1e-12)
        sums[patient[i], 0] += residual
        sums[patient[i], 1] += residual * x[i]
        has_images[patient[i]] = True
        h_first += weight
        h_cross += weight * x[i]
        h_second += weight * x[i] * x[i]
    step, squares, num = 0.0, 0.0, 0
    determinant = h_first * h_second - h_cross * h_cross
    for p in range(num_patients):
        num += has_images[p]
        of_patient = (h_first * sums[p, 1] - h_cross * sums[p, 0]) / determinant if free else sums[p, 0] / h_first
        step += of_patient
        squares += of_patient**2
    return step, squares * num / (num - 1)


@compiled
def _observed_expected(x: Array, positive: Array, patient: NDArray[np.int32], num_patients: int) -> tuple[float, float]:
    """Return O:E of the probabilities sigmoid(x), and the variance of its logarithm."""
    sums = np.zeros((num_patients, 2))
    has_images = np.zeros(num_patients, np.bool_)
    observed, expected = 0.0, 0.0
    for i in range(x.shape[0]):
        prob = 1 / (1 + math.exp(-x[i]))
        sums[patient[i], 0] += positive[i]
        sums[patient[i], 1] += prob
        has_images[patient[i]] = True
        observed += positive[i]
        expected += prob
    total, num = 0.0, 0
    for p in range(num_patients):
        num += has_images[p]
        total += (sums[p, 0] / observed - sums[p, 1] / expected) ** 2
    return observed / expected, total * num / (num - 1)
