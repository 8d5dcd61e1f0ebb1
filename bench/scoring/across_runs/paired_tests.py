"""Paired tests of differences between runs, simultaneous intervals, and adjustments for multiple comparisons.

The standard error of a difference has two parts: the errors of both numbers, and how much of them cancels because the patients are
the same. The resamples measure the second part. They understate the first if few patients have the finding or an AUROC is near
1: two perfect separations are equal in all resamples. So the errors are those of the numbers' own intervals (`own_error`).
Shapes: R runs (each with one value), P pairs of runs, B replicates, m p-values.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.scoring.bootstrap.area_intervals import AREAS, NORMAL_QUANTILE, widened
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, VALID_SHARE, deviation, enough

Array = NDArray[np.float64]
TINY = 1e-6  # share of the error of two numbers below which the error of their difference is rounding


class Differences(NamedTuple):
    """R differences first - second: value, bounds of the 95 % interval and two-sided p-value, [R] each.

    Interval and test both assume a normal distribution, so the interval excludes 0 if and only if p is below .05.
    Interval and p-value are NaN if too few replicates are valid.
    """

    value: Array
    low: Array
    high: Array
    p: Array


def error_of(value: Array, replicates: Array) -> Array:
    """Return the standard error [R] of value [R]: the standard deviation of its replicates [R, B].

    The result is NaN if the value is not finite or too few replicates are valid.
    """
    usable = enough(replicates) & np.isfinite(value)
    error = np.full(value.shape, np.nan)
    if replicates.shape[-1] > 1:
        error[usable] = np.nanstd(replicates[usable], axis=-1, ddof=1)
    return error


def own_error(value: Array, low: Array, high: Array) -> Array:
    """Return the standard error [R] that the 95 % intervals low [R] to high [R] of value [R] have on average over both sides."""
    return np.asarray(np.hypot(value - low, high - value) / np.sqrt(2) / NORMAL_QUANTILE)


def with_own_errors(error: Array, own: Array, alone: Array, num: int = 1) -> Array:
    """Return the standard errors [P] of differences from those of their resamples, with the own errors of the numbers.

    error [P]: standard deviation of the resamples of a difference, or of a mean of `num` differences. own [N, P]: `own_error` of
    the N numbers behind each difference; alone [N, P]: standard deviation of their resamples. The ratio of `error` to
    `alone` is how much cancels. If the resamples do not vary, nothing is known to cancel: the error is that of independent
    numbers. So it is 0 only if all own errors are 0. A difference with an unknown own error keeps `error`.
    """
    of_own, of_alone = (own**2).sum(0), (alone**2).sum(0)
    ratio = np.divide(of_own, of_alone, out=np.zeros(of_own.shape), where=of_alone > 0)
    varies = error > TINY * np.sqrt(of_alone)
    wide = np.where(varies, error * np.sqrt(ratio), np.sqrt(of_own) / num)
    return np.asarray(np.where(np.isfinite(of_own) & np.isfinite(error), wide, error))


def differences_of(value: Array, error: Array) -> Differences:
    """Return `Differences` with interval and p-value, from the differences value [R] and their standard errors [R]."""
    half = NORMAL_QUANTILE * error
    return Differences(value, value - half, value + half, p_value(value, error))


def p_value(value: Array, error: Array) -> Array:
    """Compute two-sided p-values [R] of the hypothesis that value [R] is 0, from its standard error [R] (see `error_of`).

    The test assumes a normal distribution. A p-value from the share of replicates beyond 0 cannot be below 2 / B, which is
    too coarse for an adjustment over fifty runs. If the standard error is 0 (two copies of one run), p is 1 for a value of
    0, and 0 otherwise. p is NaN for a standard error of NaN.
    """
    distance = np.abs(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where((error == 0) & (distance == 0), 0.0, distance / error)
    return np.asarray(2 * ndtr(-z), np.float64)


def holm_tests(value: Array, error: Array) -> tuple[Array, Array]:
    """Test m differences with Holm's adjustment, from the differences value [m] and their standard errors [m].

    Return the adjusted p-values [m] and the half widths [m] of intervals with the same verdicts: an interval excludes 0
    if and only if its p-value is below 1 - LEVEL. A difference without a standard error has NaN and is not counted.
    """
    plain = p_value(value, error)
    adjusted = holm(plain)
    num = float(np.isfinite(plain).sum())
    # number by which Holm's method multiplied each p-value; for a p-value that was cut to 1, this number is unknown, and
    # the largest possible number is used
    with np.errstate(divide="ignore", invalid="ignore"):
        times = np.where((plain > 0) & (adjusted < 1), np.clip(adjusted / plain, 1.0, num), num)
        return adjusted, ndtri(1 - (1 - LEVEL) / 2 / times) * error


class PairTests(NamedTuple):
    """Tests of the differences between all pairs of R runs; NaN on the diagonal and if too few replicates are valid."""

    error: Array  # [R, R] standard error of the difference
    p: Array  # [R, R] two-sided p-value, Holm-adjusted over all pairs
    # [R, R] half width of an interval that is adjusted like p: the interval excludes 0 if and only if p is below 1 - LEVEL
    half: Array


def pair_tests(value: Array, replicates: Array, own: Array | None = None) -> PairTests:
    """Test the differences between all pairs in value [R] from replicates [R, B]; p is Holm-adjusted over all pairs.

    own [R]: see `with_own_errors`; None for numbers without own errors.

    The adjustment covers all pairs, because the same data selected the best run. An adjustment over only the R - 1
    pairs with the best run would assume that this run was chosen beforehand: with 24 equal runs, this adjustment would
    report a difference in 25 % of samples. Before the adjustment, the test is that of `p_value`.
    """
    num = len(value)
    p = np.full((num, num), np.nan)
    errors, half = p.copy(), p.copy()
    usable = np.flatnonzero(enough(replicates) & np.isfinite(value))
    complete = replicates[usable][:, np.isfinite(replicates[usable]).all(0)]
    if len(usable) < 2 or complete.shape[1] < 2:
        return PairTests(errors, p, half)
    covariance = np.cov(complete)
    variance = np.diag(covariance)
    first, second = np.triu_indices(len(usable), 1)
    error = np.sqrt(np.maximum(variance[first] + variance[second] - 2 * covariance[first, second], 0.0))
    if own is not None:
        pair = usable[np.stack([first, second])]
        error = with_own_errors(error, own[pair], np.sqrt(variance)[np.stack([first, second])])
    difference = value[usable[first]] - value[usable[second]]
    adjusted, widths = holm_tests(difference, error)
    first, second = usable[first], usable[second]
    errors[first, second] = errors[second, first] = error
    p[first, second] = p[second, first] = adjusted
    half[first, second] = half[second, first] = widths
    return PairTests(errors, p, half)


def paired(
    value_first: Array, value_second: Array, first: Array, second: Array, own: Array | None = None
) -> Differences:
    """Compute value_first - value_second [R] with interval and p-value.

    first and second [R, B] are the replicates of the two values, computed on the same resamples. own [2, R]: see
    `with_own_errors`. Raises ValueError if the shapes of first and second differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the runs have different numbers of replicates: {first.shape} and {second.shape}")
    value = value_first - value_second
    error = error_of(value, first - second)
    if own is not None:
        error = with_own_errors(error, own, np.stack([deviation(first), deviation(second)]))
    return differences_of(value, error)


def all_pairs(
    value: Array, replicates: Array, own: Array | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], Differences]:
    """Compute the differences of all pairs in value [R], with interval and p-value.

    Return the index of each pair's first element [P], the index of each pair's second element [P], and the differences.
    own [R]: see `with_own_errors`.
    All runs of replicates [R, B] share the resamples. Differences of replicates are in memory for only one pair at a
    time.
    """
    first, second = np.triu_indices(len(value), 1)
    error = _errors(first, second, np.ascontiguousarray(replicates, np.float64), VALID_SHARE)
    if own is not None:
        pair = np.stack([first, second])
        error = with_own_errors(error, own[pair], deviation(replicates)[pair])
    return first, second, differences_of(value[first] - value[second], error)


@compiled
def _errors(first: NDArray[np.intp], second: NDArray[np.intp], replicates: Array, share: float) -> Array:
    """Compute the standard errors [P] of the differences first - second of P pairs of runs.

    first and second [P]: indices of each pair's runs in replicates [R, B]. An error is NaN if the share of finite
    replicates is below `share`.
    """
    errors = np.full(first.shape[0], np.nan)
    for i in range(first.shape[0]):
        pair_replicates = replicates[first[i]] - replicates[second[i]]
        num, total = 0, 0.0
        for x in pair_replicates:
            valid = abs(x) < np.inf
            num += 1 if valid else 0
            total += x if valid else 0.0
        if num < 2 or num / len(pair_replicates) < share:
            continue
        squares, mean = 0.0, total / num
        for x in pair_replicates:
            squares += (x - mean) ** 2 if abs(x) < np.inf else 0.0
        errors[i] = np.sqrt(squares / (num - 1))
    return errors


def simultaneous(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute simultaneous 95 % intervals of value [R]: in 95 % of samples, all R intervals contain the truth.

    The R values share the resamples of replicates [R, B]. The half width is the standard error times the 95th percentile
    of the largest standardized deviation (max-t). A value with too few valid replicates gets NaN and does not change the
    other intervals.
    Source: Romano and Wolf 2005, doi:10.1198/016214504000000539.
    """
    low = np.full(value.shape, np.nan)
    high = low.copy()
    usable = enough(replicates) & np.isfinite(value)
    if not usable.any() or replicates.shape[-1] < 2:
        return low, high
    complete = replicates[usable]
    complete = complete[:, np.isfinite(complete).all(0)]
    if complete.shape[1] < 2:
        return low, high
    error, critical = _max_t(value[usable], complete)
    low[usable], high[usable] = value[usable] - critical * error, value[usable] + critical * error
    return low, high


def _max_t(value: Array, replicates: Array) -> tuple[Array, float]:
    """Return the standard errors of value [R], and the 95th percentile of the largest standardized deviation of replicates [R, B].

    A number that is the same in all replicates has no standardized deviation. Normal random numbers replace it.
    """
    error = replicates.std(-1, ddof=1)
    deviation = np.abs(replicates - value[:, None])
    t = np.divide(deviation, error[:, None], out=np.zeros_like(deviation), where=error[:, None] > 0)
    constant = error == 0
    t[constant] = np.abs(np.random.default_rng(0).standard_normal((np.count_nonzero(constant), replicates.shape[1])))
    return error, float(np.quantile(t.max(0), LEVEL))


def simultaneous_own(metric: str, value: Array, low: Array, high: Array, replicates: Array) -> tuple[Array, Array]:
    """Compute simultaneous 95 % intervals of R numbers from their own intervals, low [R] to high [R].

    The own intervals are widened until all hold together: from the normal quantile to the 95th percentile of the largest
    standardized deviation of replicates [R, B] (max-t). A number whose replicates are all equal, too, has a simultaneous
    interval. Those of areas under a curve (metric: auroc or auprc) are `widened`; for others, the distances of the bounds grow.
    Source: as `simultaneous`.
    """
    usable = enough(replicates) & np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    complete = replicates[usable]
    complete = complete[:, np.isfinite(complete).all(0)]
    all_low, all_high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    if usable.any() and complete.shape[1] > 1:
        factor = max(_max_t(value[usable], complete)[1] / NORMAL_QUANTILE, 1.0)
        own = value[usable], low[usable], high[usable]
        if metric in AREAS:
            all_low[usable], all_high[usable] = widened(metric, *own, factor)
        else:
            all_low[usable], all_high[usable] = (own[0] + factor * (bound - own[0]) for bound in own[1:])
    return all_low, all_high


def holm(p: Array) -> Array:
    """Adjust p-values [m] by Holm's method, which controls the family-wise error rate.

    Use this method for comparisons that were planned beforehand. NaN stays NaN, and does not count as a comparison.
    Source: Holm 1979. The method is written here because scipy does not have it, and importing statsmodels takes
    seconds. A test compares the results with statsmodels.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(6).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = np.full(p.shape, np.nan)
    indices = np.flatnonzero(~np.isnan(p))
    order = indices[np.argsort(p[indices], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """Adjust p-values [m] by the method of Benjamini and Hochberg, which controls the false discovery rate.

    Use this method for exploration. NaN stays NaN, and does not count as a comparison.
    Source: Benjamini and Hochberg 1995. The method is written here for the same reason as Holm's.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005])).round(6).tolist()
    [0.02, 0.04, 0.04, 0.02]
    """
    adjusted = np.full(p.shape, np.nan)
    indices = np.flatnonzero(~np.isnan(p))
    order = indices[np.argsort(p[indices])[::-1]]  # the largest p-value first
    smallest = np.minimum.accumulate(p[order] * len(order) / np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(smallest, 1.0)
    return adjusted
