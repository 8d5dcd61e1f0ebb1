"""From replicates to 95 % intervals.

Shapes: value [...], replicates [..., B] with NaN where a replicate could not be computed. A cell has an interval only
if at least 95 % of its replicates could be.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtri

from bench.scoring.bootstrap.compiled import compiled

Array = NDArray[np.float64]

LEVEL = 0.95
VALID_SHARE = 0.95
GUESS = 64  # replicates that tell about where the tail of all begins


def enough(replicates: Array) -> NDArray[np.bool_]:
    """Return where at least 95 % of the replicates are numbers."""
    *shape, num = replicates.shape
    if num == 0:
        return np.zeros(shape, bool)
    rows = np.ascontiguousarray(replicates, np.float64).reshape(-1, num)
    return np.asarray(_num_finite(rows) / num >= VALID_SHARE).reshape(shape)


@compiled
def _num_finite(rows: Array) -> NDArray[np.int64]:
    """Return how many numbers of each row are finite."""
    out = np.zeros(rows.shape[0], np.int64)
    for r in range(rows.shape[0]):
        num = 0
        for b in range(rows.shape[1]):
            num += 1 if abs(rows[r, b]) < np.inf else 0
        out[r] = num
    return out


def percentile(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the 2.5th and 97.5th percentile of the valid replicates; NaN without a value or enough of them.

    The same numbers as np.nanquantile, hundreds of times sooner.
    """
    shape, num = np.shape(value), replicates.shape[-1]
    rows = np.ascontiguousarray(replicates, np.float64).reshape(int(np.prod(shape)), num)
    low, high = _bounds(np.ascontiguousarray(value, np.float64).ravel(), rows, (1 - LEVEL) / 2)
    return low.reshape(shape), high.reshape(shape)


def quantile(drawn: Array, share: float) -> float:
    """Return a quantile of numbers [B], the same as np.quantile's, of which none is NaN; best near an end."""
    row = np.ascontiguousarray(drawn, np.float64)
    return float((upper_quantile if share >= 0.5 else lower_quantile)(row, len(row), share))


@compiled
def _between(first: float, second: float, part: float) -> float:
    """Return the number at a part of the way, rounded as numpy rounds it."""
    step = second - first
    return second - step * (1 - part) if part >= 0.5 else first + step * part


@compiled
def _nearest(drawn: Array, sign: float, num: int) -> tuple[float, float]:
    """Return the last two of the `num` least of sign x the numbers [B] that are no NaN; of one, it twice.

    Each number between the bounds so far is tried, and how many are no more is counted, many at a time: in order of chance
    few are tried, and the least need not be put in order.
    """
    below, above = -np.inf, np.inf
    num_below = _no_more(drawn, sign, below)
    if num_below >= num:
        return below, below
    for i in range(drawn.shape[0]):
        x = sign * drawn[i]
        if below < x < above:
            count = _no_more(drawn, sign, x)
            if count >= num:
                above = x
            else:
                below, num_below = x, count
    return below if 1 < num == num_below + 1 else above, above


@compiled
def _no_more(drawn: Array, sign: float, bound: float) -> int:
    """Return how many of sign x the numbers are no more than a bound."""
    count = 0
    for i in range(drawn.shape[0]):
        count += 1 if sign * drawn[i] <= bound else 0
    return count


@compiled
def _likely(drawn: Array, sign: float, num: int) -> Array:
    """Return some of the numbers [B], among them the `num` least of sign x these: all where the guess fails."""
    if drawn.shape[0] < 2 * GUESS:
        return drawn
    mean = GUESS * num / drawn.shape[0]  # of the first ones so many are expected among the least
    bound = _nearest(drawn[:GUESS], sign, min(int(mean + 3 * np.sqrt(mean)) + 1, GUESS))[1]
    some, found = np.empty(drawn.shape[0]), 0
    for i in range(drawn.shape[0]):  # without a branch: one that is not kept is written over
        some[found] = drawn[i]
        found += sign * drawn[i] <= bound
    return some[:found] if found >= num else drawn


@compiled
def lower_quantile(drawn: Array, num: int, share: float) -> float:
    """Return a quantile of the `num` numbers of a row [B] that are no NaN, as np.quantile; the less the share the sooner."""
    place = (num - 1) * share
    below = int(place)
    size = min(below + 2, num)
    first, second = _nearest(_likely(drawn, 1.0, size), 1.0, size)
    return _between(first if size > below + 1 else second, second, place - below)


@compiled
def upper_quantile(drawn: Array, num: int, share: float) -> float:
    """Return the same; the more the share the sooner."""
    place = (num - 1) * share
    below = int(place)
    second, first = _nearest(_likely(drawn, -1.0, num - below), -1.0, num - below)
    return _between(-first, -second, place - below)


@compiled
def bounds_of(value: float, drawn: Array, share: float) -> tuple[float, float]:
    """Return the quantiles of `share` and of 1 - share of the valid replicates [B]; NaN without a value or enough of them."""
    if not np.isfinite(value):
        return np.nan, np.nan
    finite, num = 0, 0 * drawn.shape[0]  # with a plain 0 the calls below are compiled twice
    for i in range(drawn.shape[0]):
        if abs(drawn[i]) < np.inf:
            finite += 1
        if drawn[i] == drawn[i]:
            num += 1
    if num == 0 or finite / len(drawn) < VALID_SHARE:
        return np.nan, np.nan
    return lower_quantile(drawn, num, share), upper_quantile(drawn, num, 1 - share)


@compiled
def _bounds(value: Array, replicates: Array, share: float) -> tuple[Array, Array]:
    """Return both of each row."""
    low, high = np.empty(value.shape[0]), np.empty(value.shape[0])
    for r in range(value.shape[0]):
        low[r], high[r] = bounds_of(value[r], replicates[r], share)
    return low, high


def area_interval(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the interval of an area under a curve: normal on the logit scale, with the replicates' standard deviation.

    Near 1 an area's estimates lie skewed, and percentiles miss the truth above too often: in `benchmarks/coverage.py` they
    hold it in 92 % of cases at AUROC .95. Where a replicate is 0 or 1 the logit has no value and percentiles are given.
    Source: Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2.4; Boyd et al. 2013,
    doi:10.1007/978-3-642-40994-3_29, for precision and recall.
    """
    fine = enough(replicates) & np.isfinite(value)
    inside = fine & (value > 0) & (value < 1) & ~((replicates <= 0) | (replicates >= 1)).any(-1)
    low, high = percentile(np.where(inside, np.nan, value), replicates)
    if inside.any():
        drawn = logit(replicates[inside])
        deviation = np.nanstd if np.isnan(drawn).any() else np.std  # the same, in half the time
        half = float(ndtri((1 + LEVEL) / 2)) * deviation(drawn, axis=-1, ddof=1)
        centre = logit(value[inside])
        low[inside], high[inside] = expit(centre - half), expit(centre + half)
    return low, high


def reflected(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the mirrored interval of what is never below 0."""
    low, high = mirrored(value, replicates)
    return np.maximum(low, 0.0), high


def mirrored(value: Array, replicates: Array) -> tuple[Array, Array]:
    """Return the percentile interval mirrored at the value and stretched to hold it.

    For the calibration error: a distance grows when noise is added, so its replicates lie above the estimate just as
    the estimate lies above the truth. Mirroring takes that bias out instead of doubling it (the "basic" bootstrap).
    Source: Davison and Hinkley 1997, equation 5.6.
    """
    low, high = percentile(value, replicates)
    return np.minimum(2 * value - high, value), np.maximum(2 * value - low, value)


def mean_of(value: Array, replicates: Array) -> tuple[float, Array]:
    """Return the mean over the cells that have a value, and its replicates [B], from value [K] and replicates [K, B].

    A replicate that lacks a cell takes the mean deviation of the others: leaving the cell out would mix the
    differences between cells into the noise. All NaN when a cell has too few replicates for an interval of its own.
    """
    known = np.isfinite(value)
    num = np.count_nonzero(known)
    if not num:
        return float("nan"), np.full(replicates.shape[-1], np.nan)
    centre = float(value[known].sum()) / num
    return centre, _mean(np.ascontiguousarray(value, np.float64), np.ascontiguousarray(replicates), known, centre)


@compiled
def _mean(value: Array, replicates: Array, known: NDArray[np.bool_], centre: float) -> Array:
    """Return the replicates [B] of the mean of the known cells."""
    size = replicates.shape[1]
    total, count = np.zeros(size), np.zeros(size)
    for k in range(value.shape[0]):
        if not known[k]:
            continue
        finite = 0
        for b in range(size):
            deviation = replicates[k, b] - value[k]
            fine = np.isfinite(deviation)
            finite += 1 if fine else 0
            total[b] += deviation if fine else 0.0
            count[b] += 1.0 if fine else 0.0
        if size == 0 or finite / size < VALID_SHARE:
            return np.full(size, np.nan)
    for b in range(size):
        total[b] = centre + total[b] / count[b] if count[b] > 0 else np.nan
    return total


def wilson(share: Array, num: Array) -> tuple[Array, Array]:
    """Return Wilson's interval of a share seen in `num` independent draws (num may be fractional: an effective number).

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953. Unlike the bootstrap it has a width at 0 and at 1.
    """
    z = float(ndtri((1 + LEVEL) / 2))
    scale = 1 + z * z / num
    centre = (share + z * z / (2 * num)) / scale
    half = z / scale * np.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return np.clip(centre - half, 0.0, share), np.clip(centre + half, share, 1.0)
