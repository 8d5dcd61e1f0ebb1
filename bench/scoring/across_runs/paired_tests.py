"""Paired tests of differences between runs, simultaneous intervals, and adjustments for multiple comparisons.

The standard error of a difference has two parts: the errors of both numbers, and how much of them cancels because the patients are
the same. The covariance of the influences measures the second part. It understates the first if few patients have the finding or an
AUROC is near 1: no patient has an influence on a perfect separation. So the errors are those of the numbers' own intervals
(`own_error`).
Shapes: R runs (each with one value), P pairs of runs, m p-values.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from bench.scoring.area_intervals import AREAS, widened
from bench.scoring.influence import LEVEL, correlations
from bench.scoring.intervals import EQUAL, NORMAL_QUANTILE

Array = NDArray[np.float64]
NUM_DRAWS = 4000  # draws of normal numbers, for `largest_deviation`
TINY = 1e-6  # share of the error of two numbers below which the error of their difference is rounding


class Differences(NamedTuple):
    """R differences first - second: value, bounds of the 95 % interval and two-sided p-value, [R] each.

    Interval and test both assume a normal distribution, so the interval excludes 0 if and only if p is below .05.
    Interval and p-value are NaN if the standard error is unknown.
    """

    value: Array
    low: Array
    high: Array
    p: Array


def own_error(value: Array, low: Array, high: Array) -> Array:
    """Return the standard error [R] that the 95 % intervals low [R] to high [R] of value [R] have on average over both sides."""
    return np.asarray(np.hypot(value - low, high - value) / np.sqrt(2) / NORMAL_QUANTILE)


def with_own_errors(error: Array, own: Array, alone: Array, num: int = 1) -> Array:
    """Return the standard errors [P] of differences from those of their influences, with the own errors of the numbers.

    error [P]: from the influences on a difference, or on a mean of `num` differences. own [N, P]: `own_error` of
    the N numbers behind each difference; alone [N, P]: their standard errors from influences. The ratio of `error` to
    `alone` is how much cancels. If no patient has an influence on the difference, nothing is known to cancel: the error is as for
    independent numbers. So it is 0 only if all own errors are 0. With an unknown own error, it is `error`; NaN if no patient has
    an influence on any of the numbers.
    """
    of_own, of_alone = (own**2).sum(0), (alone**2).sum(0)
    ratio = np.divide(of_own, of_alone, out=np.zeros(of_own.shape), where=of_alone > 0)
    varies = error > TINY * np.sqrt(of_alone)
    wide = np.where(varies, error * np.sqrt(ratio), np.sqrt(of_own) / num)
    return np.asarray(np.select([np.isfinite(of_own + error), of_alone > EQUAL**2], [wide, error], np.nan))


def differences_of(value: Array, error: Array) -> Differences:
    """Return `Differences` with interval and p-value, from the differences value [R] and their standard errors [R]."""
    half = NORMAL_QUANTILE * error
    return Differences(value, value - half, value + half, p_value(value, error))


def p_value(value: Array, error: Array) -> Array:
    """Compute two-sided p-values [R] of the hypothesis that value [R] is 0, from its standard error [R].

    The test assumes a normal distribution. If the standard error is 0 (two copies of one run), p is 1 for a value of
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
    """Tests of the differences between all pairs of R runs; NaN on the diagonal and for unknown standard errors."""

    error: Array  # [R, R] standard error of the difference
    p: Array  # [R, R] two-sided p-value, Holm-adjusted over all pairs
    # [R, R] half width of an interval that is adjusted like p: the interval excludes 0 if and only if p is below 1 - LEVEL
    half: Array


def pair_tests(value: Array, covariance: Array, own: Array | None = None) -> PairTests:
    """Test the differences between all pairs in value [R] from covariance [R, R]; p is Holm-adjusted over all pairs.

    own [R]: see `with_own_errors`; None for numbers without own errors.

    The adjustment covers all pairs, because the same data selected the best run. An adjustment over only the R - 1
    pairs with the best run would assume that this run was chosen beforehand: with 24 equal runs, this adjustment would
    report a difference in 25 % of samples. Before the adjustment, the test is `p_value`.
    """
    num = len(value)
    p = np.full((num, num), np.nan)
    errors, half = p.copy(), p.copy()
    usable = np.flatnonzero(np.isfinite(value) & np.isfinite(np.diag(covariance)))
    first, second = (usable[index] for index in np.triu_indices(len(usable), 1))
    error = errors_of_pairs(first, second, covariance, own)
    adjusted, widths = holm_tests(value[first] - value[second], error)
    for matrix, numbers in ((errors, error), (p, adjusted), (half, widths)):
        matrix[first, second] = matrix[second, first] = numbers
    return PairTests(errors, p, half)


def errors_of_pairs(
    first: NDArray[np.intp], second: NDArray[np.intp], covariance: Array, own: Array | None = None
) -> Array:
    """Return the standard errors [P] of the differences first - second of P pairs from covariance [R, R] and own [R] (`with_own_errors`)."""
    pair, variance = np.stack([first, second]), np.diag(covariance)
    error = np.sqrt(np.maximum(variance[pair].sum(0) - 2 * covariance[first, second], 0.0))
    return error if own is None else with_own_errors(error, own[pair], np.sqrt(variance)[pair])


def error_of_mean(
    first: Sequence[int] | NDArray[np.intp],
    second: Sequence[int] | NDArray[np.intp],
    covariance: Array,
    own: Array | None = None,
) -> float:
    """Return the standard error of the mean of P differences first - second from covariance [R, R] and own [R] (`with_own_errors`)."""
    runs = np.concatenate([first, second]).astype(np.intp)
    weight = np.repeat([1.0, -1.0], len(first)) / len(first)
    part = covariance[np.ix_(runs, runs)]
    error = np.sqrt(np.maximum(weight @ part @ weight, 0.0))[None]
    if own is not None:
        error = with_own_errors(error, own[runs][:, None], np.sqrt(np.diag(part))[:, None], len(first))
    return float(error[0])


def paired(
    value_first: Array, value_second: Array, error: Array, own: Array | None = None, alone: Array | None = None
) -> Differences:
    """Compute value_first - value_second [R] with interval and p-value, from the standard errors [R] of these differences.

    own, alone [2, R]: see `with_own_errors`.
    """
    if own is not None and alone is not None:
        error = with_own_errors(error, own, alone)
    return differences_of(value_first - value_second, error)


def all_pairs(
    value: Array, covariance: Array, own: Array | None = None
) -> tuple[NDArray[np.intp], NDArray[np.intp], Differences]:
    """Compute the differences of all pairs in value [R], with interval and p-value, from covariance [R, R].

    Return the index of each pair's first element [P], the index of each pair's second element [P], and the differences.
    own [R]: see `with_own_errors`.
    """
    first, second = np.triu_indices(len(value), 1)
    error = errors_of_pairs(first, second, covariance, own)
    return first, second, differences_of(value[first] - value[second], error)


def largest_deviation(correlations: Array) -> float:
    """Return the 95th percentile of the largest absolute value of normal numbers with these correlations [R, R] (max-t).

    Source: Romano and Wolf 2005, doi:10.1198/016214504000000539.

    >>> round(largest_deviation(np.eye(1)), 2), round(largest_deviation(np.eye(100)), 1)
    (1.96, 3.5)
    """
    return _largest(correlations, np.eye(len(correlations)))


def largest_of_pairs(covariance: Array) -> float:
    """Compute `largest_deviation` for the differences of all pairs of numbers with this covariance [R, R]."""
    if len(covariance) == 2:
        return NORMAL_QUANTILE
    first, second = np.triu_indices(len(covariance), 1)
    return _largest(covariance, np.eye(len(covariance))[first] - np.eye(len(covariance))[second])


def _largest(covariance: Array, combination: Array) -> float:
    """Return the 95th percentile of the largest standardized deviation of combination [m, R] @ numbers of this covariance [R, R]."""
    num, scale = len(covariance), float(np.diag(covariance).max())
    # rounding may make the smallest eigenvalue negative; the normal numbers are the same in every call
    factor = combination @ np.linalg.cholesky(covariance + 1e-8 * scale * np.eye(num))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    if len(factor) == 1:
        return NORMAL_QUANTILE
    largest = [np.abs(normal @ factor.T).max(1) for normal in _normal(num)]
    return float(np.quantile(np.concatenate(largest), LEVEL))


@cache
def _normal(num: int) -> list[Array]:
    """Return NUM_DRAWS draws of `num` normal numbers, in parts, which save memory in products."""
    parts = np.diff(np.linspace(0, NUM_DRAWS, 2 + num // 64).astype(int)).tolist()
    draw = np.random.default_rng(0)
    return [draw.standard_normal((part, num)) for part in parts]


def simultaneous(value: Array, covariance: Array) -> tuple[Array, Array]:
    """Compute simultaneous 95 % intervals of value [R]: in 95 % of samples, all R intervals contain the truth.

    The half width is the standard error times `largest_deviation`. A value without a standard error gets NaN and does not change
    the other intervals.
    """
    error = np.sqrt(np.diag(covariance))
    usable = np.isfinite(value) & np.isfinite(error)
    half = np.full(value.shape, np.nan)
    if usable.any():
        half[usable] = largest_deviation(correlations(covariance[np.ix_(usable, usable)])) * error[usable]
    return value - half, value + half


def simultaneous_own(metric: str, value: Array, low: Array, high: Array, covariance: Array) -> tuple[Array, Array]:
    """Compute simultaneous 95 % intervals of R numbers from their own intervals, low [R] to high [R].

    The own intervals are widened until all hold together: from the normal quantile to `largest_deviation` for covariance [R, R]. A
    number with a variance of 0 is not correlated with the others. Intervals of areas under a curve (metric: auroc or auprc) are
    `widened`; for others, the distances of the bounds grow.
    """
    usable = np.isfinite(value) & np.isfinite(low) & np.isfinite(high) & np.isfinite(np.diag(covariance))
    all_low, all_high = np.full(value.shape, np.nan), np.full(value.shape, np.nan)
    if usable.any():
        critical = largest_deviation(correlations(covariance[np.ix_(usable, usable)]))
        own = value[usable], low[usable], high[usable]
        if metric in AREAS:
            all_low[usable], all_high[usable] = widened(metric, *own, max(critical, NORMAL_QUANTILE))
        else:
            factor = max(critical / NORMAL_QUANTILE, 1.0)
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
