"""Differences between runs: paired where the resamples are shared, and adjusted for how many are looked at."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, bounds_of, enough, percentile, quantile

Array = NDArray[np.float64]


class Differences(NamedTuple):
    """value [R] = first - second with its 95 % interval and two-sided p; NaN where there are too few replicates."""

    value: Array
    low: Array
    high: Array
    p: Array


def p_value(value: Array, replicates: Array) -> Array:
    """Return the two-sided p [R] of value [R] against 0, from replicates [R, B].

    Normal, with the bootstrap standard error: counting replicates beyond 0 could not go below 2 / B, which no
    adjustment over fifty runs survives. A difference whose replicates all equal it (two copies of one run) has p 1 at
    0, else 0. Too few replicates: NaN.
    """
    fine = enough(replicates) & np.isfinite(value)
    error = np.full(value.shape, np.nan)
    if replicates.shape[-1] > 1:
        error[fine] = np.nanstd(replicates[fine], axis=-1, ddof=1)
    return _p_of(value, error)


def _p_of(value: Array, error: Array) -> Array:
    distance = np.abs(value)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where((error == 0) & (distance == 0), 0.0, distance / error)
    return np.asarray(2 * ndtr(-z), np.float64)


def between_all(value: Array, replicates: Array) -> Array:
    """Return the two-sided p [R, R] of each two of value [R], Holm-adjusted over all pairs, from replicates [R, B].

    For comparisons with a run that was picked as the best of many: whichever it is, the pair is in the family. Adjusting
    over the others alone would be for a run named beforehand; with 24 equal runs it would part them in 25 % of samples.
    Normal, as in `p_value`; NaN on the diagonal and where there are too few replicates.
    """
    num = len(value)
    p = np.full((num, num), np.nan)
    fine = np.flatnonzero(enough(replicates) & np.isfinite(value))
    chosen = replicates[fine][:, np.isfinite(replicates[fine]).all(0)]
    if len(fine) < 2 or chosen.shape[1] < 2:
        return p
    covariance = np.cov(chosen)
    own = np.diag(covariance)
    first, second = np.triu_indices(len(fine), 1)
    error = np.sqrt(np.maximum(own[first] + own[second] - 2 * covariance[first, second], 0.0))
    distance = np.abs(value[fine[first]] - value[fine[second]])
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(distance == 0, 0.0, distance / error)
    adjusted = holm(np.asarray(2 * ndtr(-z), np.float64))
    p[fine[first], fine[second]] = p[fine[second], fine[first]] = adjusted
    return p


def paired(value_first: Array, value_second: Array, first: Array, second: Array) -> Differences:
    """Return first - second of each row, from replicates [R, B] on the same resamples.

    Raises ValueError for replicates of different number.
    """
    if first.shape != second.shape:
        raise ValueError(f"replicates of different number cannot be paired: {first.shape} and {second.shape}")
    value, replicates = value_first - value_second, first - second
    return Differences(value, *percentile(value, replicates), p_value(value, replicates))


def all_pairs(value: Array, replicates: Array) -> tuple[NDArray[np.intp], NDArray[np.intp], Differences]:
    """Return the places of the first and the second of each pair of value [R], in their order, and `paired` of each pair.

    The replicates [R, B] share their resamples. No more than one pair's replicates are held at a time.
    """
    first, second = np.triu_indices(len(value), 1)
    difference, found = value[first] - value[second], np.empty((3, len(first)))
    _all_pairs(difference, first, second, np.ascontiguousarray(replicates, np.float64), (1 - LEVEL) / 2, found)
    low, high, error = found
    return first, second, Differences(difference, low, high, _p_of(difference, error))


@compiled
def _all_pairs(
    difference: Array,
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    replicates: Array,
    share: float,
    found: Array,
) -> None:
    """Fill low, high and standard error of each pair [3, P]."""
    for i in range(first.shape[0]):
        drawn = replicates[first[i]] - replicates[second[i]]
        found[0, i], found[1, i] = bounds_of(difference[i], drawn, share)
        found[2, i] = np.nan
        if found[0, i] == found[0, i]:
            total, num = 0.0, 0
            for x in drawn:
                total += x if x == x else 0.0
                num += 1 if x == x else 0
            squares, mean = 0.0, total / num
            for x in drawn:
                squares += (x - mean) ** 2 if x == x else 0.0
            if num > 1:
                found[2, i] = np.sqrt(squares / (num - 1))


def simultaneous(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return intervals [R] that hold all R values at once in 95 % of samples, from replicates [R, B].

    The replicates share their resamples. Half width = standard error x the 95th percentile of the largest standardised
    deviation (max-t).
    Source: Romano and Wolf 2005, doi:10.1198/016214504000000539. Cells with too few replicates are NaN and not counted.
    """
    low = np.full(value.shape, np.nan)
    high = low.copy()
    fine = enough(replicates) & np.isfinite(value)
    if not fine.any() or replicates.shape[-1] < 2:
        return low, high
    chosen = replicates[fine]
    chosen = chosen[:, np.isfinite(chosen).all(0)]
    if chosen.shape[1] < 2:
        return low, high
    error = chosen.std(-1, ddof=1)
    deviation = np.abs(chosen - value[fine, None])
    t = np.divide(deviation, error[:, None], out=np.zeros_like(deviation), where=error[:, None] > 0)
    half = quantile(t.max(0), LEVEL) * error
    low[fine], high[fine] = value[fine] - half, value[fine] + half
    return low, high


def simultaneous_areas(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return intervals [R] that hold all R areas under a curve at once in 95 % of samples: `simultaneous` on logits.

    For the reason given in `intervals.of_area`: near 1 estimates lie skewed and a symmetric interval misses the truth. An
    area that is 0 or 1 itself or in a replicate has no logit: then all of them keep their own scale, cut at 0 and 1.
    """
    fine = enough(replicates) & np.isfinite(value)
    known = np.concatenate([value[fine, None], replicates[fine]], axis=1)
    if ((known <= 0) | (known >= 1)).any():
        low, high = simultaneous(value, replicates)
        return np.clip(low, 0, 1), np.clip(high, 0, 1)
    scaled = np.where(fine[:, None], replicates, np.nan)
    low, high = simultaneous(logit(np.where(fine, value, np.nan)), logit(scaled))
    return expit(low), expit(high)


def holm(p: Array) -> Array:
    """Return p-values [m] adjusted so that the chance of any false claim stays below the level.

    NaN stays, uncounted. Source: Holm 1979. For comparisons declared beforehand.

    >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).round(6).tolist()
    [0.03, 0.06, 0.06, 0.02]
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * steps), 1.0)
    return adjusted


def benjamini_hochberg(p: Array) -> Array:
    """Return p-values [m] adjusted so that the expected share of false claims stays below the level.

    NaN stays, uncounted. Source: Benjamini and Hochberg 1995. For exploration.

    >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03, 0.005])).round(6).tolist()
    [0.02, 0.04, 0.04, 0.02]
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(-p[known], kind="stable")]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * len(order) / ranks), 1.0)
    return adjusted
