"""Computation of 95 % intervals from standard errors.

Three rules: shares (`share_interval`) and areas under curves (`area_intervals`) have bounds of their own; every other number has
Student's t with the degrees of freedom of its influences (`degrees_of_freedom`), on the logarithmic scale if it is a mean loss
(`positive_interval`), and with an allowance for bias if it is a calibration error (`distance_interval`).
Shapes: value [...], error [...]: standard errors; NaN if unknown.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.scoring.influence import LEVEL

Array = NDArray[np.float64]

HALF = 0.5  # weight of the worst case in `share_interval`
EQUAL = 1e-12  # numbers with a smaller standard error differ by rounding only
ROUNDING = 1e-9  # share of a mean loss that may be rounding, because probabilities are clipped
NORMAL_QUANTILE = float(ndtri((1 + LEVEL) / 2))


def share_interval(value: Array, error: Array, num_images: Array, num_patients: Array) -> tuple[Array, Array]:
    """Compute the interval of shares (Agresti and Coull) for an effective number of independent images.

    The effective number is the number of independent images that would give the standard error, at most
    `num_images`, because the images of one patient say no more than independent images (Korn and Graubard 1998, Survey
    Methodology 24:193). If a share is near 0 or 1, the variance comes from few patients and is often too small. So the
    inverse of this number is averaged with that of the worst case, in which all images of a patient are alike and only
    `num_patients` counts, an effective number of patients (`effective_patients`). The weights are the number of patients with
    an event that value and `num_patients` imply, value (1 - value) num_patients, and 1/2. Without an event, or without a standard
    error, the worst case alone counts.
    The interval has the midpoint of Wilson's, but is wider. With few patients, Wilson's contains a share near 0 or 1 in only
    86 % of cases, this interval in 92 % or more (`benchmarks/rates.py`). Its width is never 0.
    num_images, num_patients [...]: numbers below 1 count as 1.
    Source: Agresti and Coull 1998, doi:10.1080/00031305.1998.10480550.

    >>> low, high = share_interval(np.array([0.0]), np.zeros(1), np.array([90.0]), np.array([30.0]))
    >>> low.round(3), high.round(3)
    (array([0.]), array([0.135]))
    """
    # the variance of few patients is too small by this factor
    patients = np.maximum(np.minimum(num_patients, num_images), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return share_bounds(value, error**2 / (1 - 1 / patients), num_images, num_patients)


def share_bounds(
    value: Array, variance: Array, num_images: Array, num_patients: Array, level: float = LEVEL
) -> tuple[Array, Array]:
    """Compute the interval of `share_interval` from the variance of each share; NaN if it is unknown."""
    images, patients = (np.maximum(np.broadcast_to(num, np.shape(value)), 1.0) for num in (num_images, num_patients))
    patients = np.minimum(patients, images)
    spread = value * (1 - value)
    estimate = np.minimum(np.divide(spread, variance, out=np.array(images), where=variance > 0), images)
    deciding = np.where(np.isfinite(variance), spread * patients, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a share that is NaN
        # a share of 0 or 1 has an estimate of 0 images; its weight is 0
        of_estimate = np.where(deciding > 0, deciding / estimate, 0.0)
        num = np.maximum((deciding + HALF) / (of_estimate + HALF / patients), 1.0)
        z = float(ndtri((1 + level) / 2))
        center = (value * num + z * z / 2) / (num + z * z)
        half = z * np.sqrt(center * (1 - center) / (num + z * z))
        # the share itself is inside, also where rounding would leave it outside
        return np.clip(center - half, 0.0, value), np.clip(center + half, value, 1.0)


def mean_bounds(value: float, error: float, num: int) -> tuple[float, float]:
    """Return Student's interval of a mean of `num` independent patients or images; NaN if the error is 0 or unknown."""
    half = float(stdtrit(num - 1, (1 + LEVEL) / 2)) * error if error > EQUAL else float("nan")
    return value - half, value + half


def independent(num: Array) -> Array:
    """Return how many images of one sample say as much as the unweighted mean over S samples of num [S, ...] images.

    This is Kish's effective number (Kish 1965, Survey Sampling). Samples of 0 images are left out; 0 if all are.

    >>> independent(np.array([[100.0], [100.0], [0.0]])), independent(np.array([[100.0], [10000.0]])).round()
    (array([200.]), array([396.]))
    """
    known = num > 0
    inverse = np.divide(1.0, num, out=np.zeros(num.shape), where=known).sum(0)
    return np.asarray(np.divide(known.sum(0) ** 2.0, inverse, out=np.zeros(inverse.shape), where=inverse > 0))


def interval_of_difference(values: Array, lows: Array, highs: Array, correlation: Array) -> tuple[Array, Array]:
    """Compute the interval of a difference first - second [...] from values, bounds [2, ...] and correlation of both numbers.

    The interval is as asymmetric as the intervals of the two numbers. Source: Zou and Donner 2008, doi:10.1002/sim.3095.

    >>> low, high = interval_of_difference(np.array([0.5, 0.1]), np.array([0.2, 0.1]), np.array([0.9, 0.5]), np.array(0.0))
    >>> round(float(low), 3), round(float(high), 3)
    (-0.1, 0.8)
    """
    (first, second), (first_low, second_low), (first_high, second_high) = values, lows, highs

    def distance(one: Array, two: Array) -> Array:
        return np.asarray(np.sqrt(np.maximum(one**2 + two**2 - 2 * correlation * one * two, 0.0)))

    difference = first - second
    low = difference - distance(first - first_low, second_high - second)
    return low, difference + distance(first_high - first, second - second_low)


def plain_interval(value: Array, half: Array) -> tuple[Array, Array]:
    """Return the interval of value with half of its width (`half_width`); NaN if that is 0."""
    half = np.where(half > EQUAL, half, np.nan)
    return value - half, value + half


def positive_interval(value: Array, half: Array) -> tuple[Array, Array]:
    """Compute `plain_interval` on the logarithmic scale, for means of losses, which a few images with large losses decide."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(np.where(half > ROUNDING * value, half, np.nan) / value)
    return value / factor, value * factor


def distance_interval(value: Array, half: Array, excess: Array) -> tuple[Array, Array]:
    """Compute the interval of a calibration error or of the resolution, which noise increases; the lower bound is at least 0.

    `distance_difference` explains the method. The resolution itself may be slightly below 0; it is then the lower bound.
    """
    low, high = distance_difference(value, half, excess, np.zeros(np.shape(value)))
    return np.minimum(np.maximum(low, 0.0), value), high


def distance_difference(value: Array, half: Array, first_excess: Array, second_excess: Array) -> tuple[Array, Array]:
    """Compute the interval of the difference first - second of two calibration errors, with the `excess` of each error.

    A calibration error is a mean of distances, and noise increases distances. So each estimate is too high by an
    unknown bias. The excess is what the same noise would add to the estimate again (`calibration_metrics.measured`). If the
    true error is large, the bias is about the excess. If the true error is 0, the estimate is all bias: with noise twice it would
    be sqrt(2) times as large, and the bias is the excess times 1 + sqrt(2). The interval allows for every bias from 0 to this
    largest bias, separately for the two errors, because equal excesses can belong to different biases. The interval also extends
    by half of a width to both sides. So the estimate, from which no bias is subtracted, is always inside the interval.

    >>> low, high = distance_difference(np.array([0.02]), np.array([0.001]), np.array([0.01]), np.array([0.01]))
    >>> low.round(3), high.round(3)
    (array([-0.005]), array([0.045]))
    """
    half = np.where(half > EQUAL, half, np.nan)
    first_bias, second_bias = (1 + np.sqrt(2)) * first_excess, (1 + np.sqrt(2)) * second_excess
    low = value - np.maximum(first_bias, 0.0) + np.minimum(second_bias, 0.0) - half
    high = value - np.minimum(first_bias, 0.0) + np.maximum(second_bias, 0.0) + half
    return low, high


def wilson(share: Array, num: Array) -> tuple[Array, Array]:
    """Compute Wilson's interval of a share that was observed in `num` independent draws; `num` may be fractional.

    At shares of 0 and 1, the width of this interval is above 0.
    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    z = float(ndtri((1 + LEVEL) / 2))
    scale = 1 + z * z / num
    center = (share + z * z / (2 * num)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return np.clip(center - half, 0.0, share), np.clip(center + half, share, 1.0)
