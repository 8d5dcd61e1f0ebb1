"""Computation of 95 % intervals of AUROC and AUPRC, and of their means and families.

The variance of an area A that is estimated from independent patients, m with and n without the finding, is about

    A (1 - A) (a (1 - g) + b g),    g = (1 - A) / (2 - A) + A / (1 + A) = (1 + 2 A (1 - A)) / (2 + A (1 - A))

For AUROC, a = 1 / (m n) and b = (m + n) / (2 m n) (Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747; with the
symmetric sizes of Newcombe 2006, doi:10.1002/sim.2324, method 5). For AUPRC, a = b = 1 / m (Boyd et al. 2013,
doi:10.1007/978-3-642-40994-3_29). A bound is the area whose own variance explains its distance from the estimate, as in Wilson's
interval of a share. So a perfect separation has an interval, too, and no bound is below 0 or above 1.
Shapes: value [...], error [...]: standard errors. K values have one mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from bench.scoring.influence import LEAST_DEGREES, LEVEL
from bench.scoring.intervals import EQUAL, NORMAL_QUANTILE, interval_of_difference
from bench.scoring.metric_bounds import bounds_of

Array = NDArray[np.float64]

AREAS = ("auroc", "auprc")
PRIOR = 1.0  # weight of the variance of independent patients in `area_interval`
NUM_STEPS = 5  # of Newton's method for a bound: precise to 1e-15


class ClassSizes(NamedTuple):
    """Numbers behind areas, [2, ...] each: first the positive class, then the negative class.

    patients: the number of patients that weigh as much as the patients of this class, if all had equally many images
    (`effective_patients`). images: the number of images.
    """

    patients: Array
    images: Array

    @classmethod
    def of(cls, images: NDArray[np.integer]) -> "ClassSizes":
        """Return the sizes from the images of each class and patient, [2, ..., P]."""
        return cls(effective_patients(images), images.sum(-1).astype(np.float64))

    @classmethod
    def of_labels(cls, label: NDArray[np.int8], patient: NDArray[np.int32]) -> "ClassSizes":
        """Return the sizes [2, C] of C columns of labels [N, C]; patient [N]: code of each image's patient."""
        return cls.of(images_of_patients(label, patient))


def images_of_patients(label: NDArray[np.int8], patient: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the positive and negative images of each patient [2, C, P] in C columns of labels [N, C]; patient [N]: codes."""
    num = int(patient.max(initial=-1)) + 1
    return np.stack(
        [[np.bincount(patient[column == sign], minlength=num) for column in label.T] for sign in (1, 0)]
    ).reshape(2, label.shape[1], num)


def effective_patients(images: NDArray[np.integer]) -> Array:
    """Compute how many patients with equally many images weigh as much as patients with images [..., P].

    This is Kish's effective number (Kish 1965, Survey Sampling). An area weights images equally, so a patient with many images
    decides more. 0 without images.

    >>> effective_patients(np.array([[2, 2, 0], [1, 1, 30]])).round(2).tolist()
    [2.0, 1.14]
    """
    numbers = images.astype(np.float64)
    squares = (numbers**2).sum(-1)
    return np.asarray(np.divide(numbers.sum(-1) ** 2, squares, out=np.zeros(squares.shape), where=squares > 0))


def coefficients(metric: str, sizes: Array) -> Array:
    """Compute the coefficients a and b of the variance [2, ...]; sizes [2, ...]: positives and negatives, at least 1."""
    positives, negatives = sizes
    if metric == "auprc":
        return np.stack([1 / positives, 1 / positives])
    return np.stack([1 / (positives * negatives), (1 / positives + 1 / negatives) / 2])


def _variance(area: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Return the variance of estimated areas, and its derivative with respect to the area; the module explains the formula."""
    spread = area * (1 - area)
    g = (1 + 2 * spread) / (2 + spread)
    factor = a + (b - a) * g
    return spread * factor, (1 - 2 * area) * (factor + (b - a) * 3 * spread / (2 + spread) ** 2)


def score_interval(value: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """Compute the bounds [...] that are as far from the value as one standard error, if the bound is the true area.

    a and b [...], or [2, ...] for both bounds: coefficients of the variance, multiplied by the square of the normal quantile.
    g is between 1/2 and 2/3, so Wilson's bounds with the larger of both variances are at least as far away; Newton's method
    starts there.

    >>> low, high = score_interval(np.array([1.0]), *(1.96**2 * coefficients("auroc", np.array([[10.0], [150.0]]))))
    >>> low.round(3), high.round(3)
    (array([0.895]), array([1.]))
    """
    most = np.maximum((a + b) / 2, (a + 2 * b) / 3)
    half = np.broadcast_to(np.sqrt(most * (most + 4 * value * (1 - value))), (2, *np.shape(value)))
    bound = (2 * value + most + np.stack([-half[0], half[1]])) / (2 * (1 + most))
    for _ in range(NUM_STEPS):
        variance, of_variance = _variance(bound, a, b)
        slope = 2 * (bound - value) - of_variance
        bound = bound - np.divide((bound - value) ** 2 - variance, slope, out=np.zeros(bound.shape), where=slope != 0)
    return np.clip(bound[0], 0.0, value), np.clip(bound[1], value, 1.0)


def area_interval(
    metric: str, value: Array, error: Array, sizes: ClassSizes, quantile: float = NORMAL_QUANTILE
) -> tuple[Array, Array]:
    """Compute the intervals of AUROCs or AUPRCs: `score_interval` with the variance of their standard errors.

    With few positive patients or an area near 1, the estimated variance is often too small, and 0 for a perfect
    separation. So it is multiplied by 1 + 1 / n for the n patients of the smaller class, which is what their random number adds, and
    its ratio to the variance of independent patients is averaged with 1, the ratio if all images of a patient are
    alike. The weights are value (1 - value) times the number of patients of the smaller class, and PRIOR. The ratio is at
    least that of independent images, because the images of one patient say no more. The lower bound of an AUPRC is at most that on
    the arcsine scale, where this variance is the same for all areas. Bounds are NaN if the value or the error is
    not finite, or a class has no image. `benchmarks/areas.csv` has the coverage.
    metric: auroc or auprc. quantile: normal quantile of the level of the intervals.
    """
    valid = np.isfinite(value) & np.isfinite(error) & (sizes.patients > 0).all(0)
    area, patients, images = (np.where(valid, numbers, 1.0) for numbers in (value, sizes.patients, sizes.images))
    a, b = coefficients(metric, patients)
    of_images = coefficients(metric, images)[1] / b
    shape = area.shape
    alone, _ = _variance(area, a, b)
    fewest = patients.min(0)
    ratio = np.divide(error**2 * (1 + 1 / fewest), alone, out=np.ones(shape), where=valid & (alone > 0))
    deciding = area * (1 - area) * fewest
    scale = quantile**2 * (deciding * np.maximum(ratio, of_images) + PRIOR) / (deciding + PRIOR)
    low, high = score_interval(area, scale * a, scale * b)
    if metric == "auprc":  # the estimate from few positive patients is often too high, if the AUPRC is low
        angle = np.arcsin(np.sqrt(np.minimum(area, 1.0))) - np.sqrt(scale * b) / 2
        low = np.minimum(low, np.sin(np.maximum(angle, 0.0)) ** 2)
    return np.where(valid, low, np.nan), np.where(valid, high, np.nan)


def mean_interval(
    metric: str, value: Array, bounds: Array | Sequence[Array], correlations: Array, weight: Array | None = None
) -> tuple[float, float]:
    """Compute the interval of the mean of the finite numbers in value [K], from their bounds [2, K] and correlations [K, K].

    weight [K]: weights of a sum in place of the mean; then all numbers must be finite.

    For areas (metric: in AREAS), the standard errors of a bound are combined
    as if all areas had the value of the bound: the upper bound of an area of 1 is 1, so its distance says nothing. For
    other numbers, the distances of the bounds are combined. Errors that cancel exactly, as those of two patients can, count as
    independent. Both bounds are NaN if a finite number has no interval. Source: Zou and Donner 2008, doi:10.1002/sim.3095.
    """
    used = np.isfinite(value)
    num, (low, high) = np.count_nonzero(used), (np.asarray(bound)[used] for bound in bounds)
    if not num or np.isnan(low).any() or np.isnan(high).any():
        return float("nan"), float("nan")
    if num == 1 and weight is None:  # a bound of 0 or 1 has no variance of its own
        return float(low[0]), float(high[0])
    value, matrix = np.asarray(value)[used], correlations[np.ix_(used, used)]
    share = np.full(num, 1 / num) if weight is None else weight
    areas = metric in AREAS
    sides = np.sqrt(scales_of(metric, value, low, high)) if areas else np.abs(np.stack([value - low, high - value]))
    alone = ((share * sides) ** 2).sum(1)
    squares = np.array([(share * side) @ matrix @ (share * side) for side in sides])
    squares = np.where(squares > EQUAL * alone, squares, alone)
    center = float(value.mean()) if weight is None else float(np.clip(weight @ value, *bounds_of(metric)))
    if areas:
        (lower,), (upper,) = bounds_of_scales(metric, np.array([center]), squares[:, None])
        return float(lower), float(upper)
    below, above = np.sqrt(squares).tolist()
    return center - below, center + above


def _large(metric: str, scale: Array) -> Array:
    """Return the coefficients a and b [2, ...] of a variance for many patients (a = 0 for AUROC); b is `scale` [...]."""
    return np.stack([scale * (metric == "auprc"), scale])


def scales_of(metric: str, value: Array, low: Array, high: Array) -> Array:
    """Return for both bounds [2, R] the coefficient b of the variance that explains their distance from the value.

    A bound of 0 or 1 has no coefficient, and gets the coefficient of the other bound.
    """
    scales = []
    for bound in map(np.array, (low, high)):
        alone, _ = _variance(bound, *_large(metric, np.ones(bound.shape)))
        scales.append(np.divide((value - bound) ** 2, alone, out=np.full(alone.shape, np.nan), where=alone > 0))
    return np.nan_to_num(np.where(np.isnan(scales), scales[::-1], scales))


def paired_interval(
    values: Array, lows: Array, highs: Array, correlation: float, *, patients: float = np.inf
) -> tuple[float, float]:
    """Compute `interval_of_difference` of two numbers with their correlation.

    patients: if the numbers are shares, the effective number of patients behind both. If two shares differ in few images, their
    estimated correlation is too high, and 1 if no image differs. So a positive correlation is lowered as if two
    patients more had a difference, one for each sign, as in Bonett and Price 2012, doi:10.3102/1076998611411915. With 20 to 200
    patients, shares of .1 to .5 and .5 to 10 patients with a difference, 94 to 100 % of simulated intervals contain the truth.
    """
    if correlation > 0 and patients < np.inf:
        spread = np.sqrt(np.prod(values * (1 - values)))
        correlation = max(correlation - 1 / (patients * spread), 0.0) if spread > 0 else 0.0
    low, high = interval_of_difference(values, lows, highs, np.array(correlation))
    return float(low), float(high)


def bounds_of_scales(metric: str, value: Array, scales: Array) -> tuple[Array, Array]:
    """Return the bounds [R] of areas from the coefficients of both bounds [2, R], the inverse of `scales_of`."""
    return score_interval(value, *_large(metric, scales))


def widened(metric: str, value: Array, low: Array, high: Array, critical: float) -> tuple[Array, Array]:
    """Compute the intervals [R] at the normal quantile `critical` from the 95 % intervals low to high.

    The variance at each bound follows from its distance to the value. So intervals of means and of recipes, too, keep their
    asymmetry, and no bound leaves the range 0 to 1. For AUROC the formula for many patients is used (a = 0). Its b is 1 / (2 n)
    if n patients decide, and the factor is the ratio of quantiles of Student's t with 1 / b degrees of freedom.
    """
    scales = scales_of(metric, value, low, high)
    with np.errstate(divide="ignore"):
        degrees = np.maximum(NORMAL_QUANTILE**2 / scales.mean(0), LEAST_DEGREES)
    factor = stdtrit(degrees, ndtr(critical)) / stdtrit(degrees, (1 + LEVEL) / 2)
    all_low, all_high = bounds_of_scales(metric, value, factor**2 * scales)
    return np.minimum(all_low, low), np.maximum(all_high, high)
