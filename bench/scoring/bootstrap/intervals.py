"""Computation of 95 % intervals from bootstrap replicates.

Shapes: value [...], replicates [..., B]: each value has B replicates. A replicate is NaN if it cannot be computed. The
interval of a value is NaN if more than 5 % of its replicates are NaN, except that of a share (`share_interval`).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.scoring.bootstrap.compiled import compiled

Array = NDArray[np.float64]

LEVEL = 0.95
VALID_SHARE = 0.95
HALF = 0.5  # weight of the worst case in `share_interval`
EQUAL = 1e-12  # numbers with a smaller standard error differ by rounding only


def enough(replicates: Array) -> NDArray[np.bool_]:
    """Return a mask [...] for replicates [..., B]: True if at least 95 % of the B replicates are finite."""
    *shape, num = replicates.shape
    if num == 0:
        return np.zeros(shape, bool)
    rows = np.ascontiguousarray(replicates, np.float64).reshape(-1, num)
    return np.asarray(_num_finite(rows) / num >= VALID_SHARE).reshape(shape)


@compiled
def _num_finite(rows: Array) -> NDArray[np.int64]:
    """Count the finite numbers of each row."""
    out = np.zeros(rows.shape[0], np.int64)
    for r in range(rows.shape[0]):
        num = 0
        for b in range(rows.shape[1]):
            num += 1 if abs(rows[r, b]) < np.inf else 0
        out[r] = num
    return out


def share_interval(value: Array, replicates: Array, num_images: Array, num_patients: Array) -> tuple[Array, Array]:
    """Compute the interval of shares (Agresti and Coull) for an effective number of independent images.

    The effective number is the number of independent images that would give the variance of the replicates, at most
    `num_images`, because the images of one patient say no more than independent images (Korn and Graubard 1998, Survey
    Methodology 24:193). If a share is near 0 or 1, the variance comes from few patients and is often too small. So the
    inverse of this number is averaged with that of the worst case, in which all images of a patient are alike and only
    `num_patients` counts, an effective number of patients (`effective_patients`). The weights are the number of patients with
    an event that value and `num_patients` imply, value (1 - value) num_patients, and 1/2. Without an event, or if more than 5 % of the
    replicates cannot be computed, the worst case alone counts.
    The interval has the midpoint of Wilson's, but is wider. With few patients, Wilson's contains a share near 0 or 1 in only
    86 % of cases, this interval in 92 % or more (`benchmarks/rates.py`). Its width is never 0.
    num_images, num_patients [...]: numbers below 1 count as 1.
    Source: Agresti and Coull 1998, doi:10.1080/00031305.1998.10480550.

    >>> low, high = share_interval(np.array([0.0]), np.zeros((1, 9)), np.array([90.0]), np.array([30.0]))
    >>> low.round(3), high.round(3)
    (array([0.]), array([0.135]))
    """
    # the variance of resampled patients is too small by this factor
    patients = np.maximum(np.minimum(num_patients, num_images), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = deviation(replicates) ** 2 / (1 - 1 / patients)
    return share_bounds(value, np.where(enough(replicates), variance, np.nan), num_images, num_patients)


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

    The interval is as asymmetric as those of the two numbers. Source: Zou and Donner 2008, doi:10.1002/sim.3095.

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


def normal_interval(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute value plus and minus 1.96 standard deviations of the replicates; NaN if all replicates are equal."""
    half = _half_width(value, replicates)
    return value - half, value + half


def positive_interval(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute `normal_interval` on the logarithmic scale, for means of losses, which a few images with large losses decide."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.exp(_half_width(value, replicates) / value)
    return value / factor, value * factor


def _half_width(value: Array, replicates: Array) -> Array:
    """Return 1.96 standard deviations of the replicates; NaN for equal replicates, too few replicates, or without a value."""
    error = deviation(replicates)
    known = enough(replicates) & np.isfinite(value) & (error > EQUAL)
    return np.where(known, float(ndtri((1 + LEVEL) / 2)) * error, np.nan)


def distance_interval(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute the interval of a calibration error or of the resolution, which noise increases; the lower bound is at least 0.

    `distance_difference` explains the method. The resolution itself may be slightly below 0; it is then the lower bound.
    """
    low, high = distance_difference(value, replicates, excess(value, replicates), np.zeros(np.shape(value)))
    return np.minimum(np.maximum(low, 0.0), value), high


def distance_difference(
    value: Array, replicates: Array, first_excess: Array, second_excess: Array
) -> tuple[Array, Array]:
    """Compute the interval of the difference first - second of two calibration errors, with the `excess` of each error.

    A calibration error is a mean of distances, and noise increases distances. So each estimate is too high by an
    unknown bias. The replicates contain noise twice: from the sample and from the resampling. The mean of the
    replicates minus the estimate is the excess. If the true error is large, the bias is about the excess. If the true
    error is 0, the estimate is all bias: the replicates are sqrt(2) times as large as the estimate, and the bias is the
    excess times 1 + sqrt(2). The interval allows for every bias from 0 to this largest bias, separately for the two
    errors, because equal excesses can belong to different biases. The interval also extends by 1.96 standard deviations
    of the replicates to both sides. So the estimate, from which no bias is subtracted, is always inside the interval.
    Percentile intervals contain the truth too rarely (`benchmarks/score_coverage.py`, simulations `ece` and `drift`).

    >>> low, high = distance_difference(np.array([0.02]), np.array([[0.02, 0.020001]]), np.array([0.01]), np.array([0.01]))
    >>> low.round(3), high.round(3)
    (array([-0.004]), array([0.044]))
    """
    half = _half_width(value, replicates)
    first_bias, second_bias = (1 + np.sqrt(2)) * first_excess, (1 + np.sqrt(2)) * second_excess
    low = value - np.maximum(first_bias, 0.0) + np.minimum(second_bias, 0.0) - half
    high = value - np.minimum(first_bias, 0.0) + np.maximum(second_bias, 0.0) + half
    return low, high


def excess(value: Array, replicates: Array) -> Array:
    """Compute the excess of each value: the mean of its finite replicates minus the value."""
    return np.asarray(_of_rows(replicates)[0] - value)


def deviation(replicates: Array) -> Array:
    """Compute the standard deviation [...] of the finite numbers among replicates [..., B]."""
    return _of_rows(replicates)[1]


def _of_rows(replicates: Array) -> tuple[Array, Array]:
    """Compute mean [...] and standard deviation [...] of the finite numbers among replicates [..., B]."""
    *shape, num = replicates.shape
    rows = np.ascontiguousarray(replicates, np.float64).reshape(int(np.prod(shape)), num)
    mean, deviation = _mean_and_deviation(rows)
    return mean.reshape(shape), deviation.reshape(shape)


@compiled
def _mean_and_deviation(rows: Array) -> tuple[Array, Array]:
    """Compute mean and standard deviation of the finite numbers of each row [R, B]; NaN for fewer than two numbers."""
    mean, deviation = np.full(rows.shape[0], np.nan), np.full(rows.shape[0], np.nan)
    for r in range(rows.shape[0]):
        count, total, squares = 0, 0.0, 0.0
        for b in range(rows.shape[1]):
            if abs(rows[r, b]) < np.inf:
                count += 1
                total += rows[r, b]
        if count < 2:
            continue
        mean[r] = total / count
        for b in range(rows.shape[1]):
            if abs(rows[r, b]) < np.inf:
                squares += (rows[r, b] - mean[r]) ** 2
        deviation[r] = np.sqrt(squares / (count - 1))
    return mean, deviation


def mean_of(value: Array, replicates: Array) -> tuple[float, Array]:
    """Compute the mean of the finite numbers in value [K], such as a metric of K findings, and its replicates [B].

    replicates [K, B]: those of each number. If a number is NaN in a replicate, its deviation (replicate minus value) is
    replaced by the mean deviation of the other numbers. Without this replacement, the differences between the numbers
    would count as noise. If a finite number has less than 95 % finite replicates, all replicates of the mean are NaN.
    """
    not_nan = np.isfinite(value)
    num = np.count_nonzero(not_nan)
    if not num:
        return float("nan"), np.full(replicates.shape[-1], np.nan)
    center = float(value[not_nan].sum()) / num
    return center, _mean(np.ascontiguousarray(value, np.float64), np.ascontiguousarray(replicates), not_nan, center)


def mean_over(numbers: Array) -> Array:
    """Compute the mean [..., 1 + B] over the first axis of numbers [S, ..., 1 + B]: values, then replicates, as `mean_of`."""
    rows = np.moveaxis(np.asarray(numbers, np.float64).reshape(len(numbers), -1, numbers.shape[-1]), 0, 1)
    out = np.full((len(rows), rows.shape[-1]), np.nan)
    _means(np.ascontiguousarray(rows[..., 0]), np.ascontiguousarray(rows[..., 1:]), out)
    return out.reshape(numbers.shape[1:])


@compiled
def _means(value: Array, replicates: Array, out: Array) -> None:
    """Write the means of value [R, S] and of replicates [R, S, B] into out [R, 1 + B]; a mean of no finite value is left out."""
    for r in range(value.shape[0]):
        not_nan, total, num = np.isfinite(value[r]), 0.0, 0
        for k in range(value.shape[1]):
            total += value[r, k] if not_nan[k] else 0.0
            num += not_nan[k]
        if num:
            out[r, 0] = total / num
            mean = _mean(value[r], replicates[r], not_nan, total / num)
            for b in range(mean.shape[0]):  # assigning the array would take as long to compile as three functions
                out[r, 1 + b] = mean[b]


@compiled
def _mean(value: Array, replicates: Array, not_nan: NDArray[np.bool_], center: float) -> Array:
    """Compute the replicates [B] of the mean of the numbers of value [K] in the mask `not_nan` [K]; `center` is this mean."""
    size = replicates.shape[1]
    total, count = np.zeros(size), np.zeros(size)
    for k in range(value.shape[0]):
        if not not_nan[k]:
            continue
        num_valid = 0
        for b in range(size):
            deviation = replicates[k, b] - value[k]
            valid = np.isfinite(deviation)
            num_valid += 1 if valid else 0
            total[b] += deviation if valid else 0.0
            count[b] += 1.0 if valid else 0.0
        if size == 0 or num_valid / size < VALID_SHARE:
            return np.full(size, np.nan)
    for b in range(size):
        total[b] = center + total[b] / count[b] if count[b] > 0 else np.nan
    return total


def wilson(share: Array, num: Array) -> tuple[Array, Array]:
    """Compute Wilson's interval of a share that was observed in `num` independent draws; `num` may be fractional.

    At shares of 0 and 1, the width of this interval is above 0, while the width of a bootstrap interval is 0.
    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    z = float(ndtri((1 + LEVEL) / 2))
    scale = 1 + z * z / num
    center = (share + z * z / (2 * num)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return np.clip(center - half, 0.0, share), np.clip(center + half, share, 1.0)
