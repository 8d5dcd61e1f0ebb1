"""The largest of several numbers, and the distance from the least to the largest, with intervals that hold.

The percentile interval of a maximum is wrong where the numbers are close: each replicate picks the luckiest of them anew
and all its replicates lie above the truth (five equal hospitals: it covers 32 % instead of 95 %). So the lower bound is
the largest of the lower bounds that hold for all at once, the upper bound the largest of the upper ones: with five equal
numbers this covers 97 %, with one far above the others 98 %. It errs on the wide side.
Shapes: H numbers, B replicates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.across_runs.paired_tests import simultaneous
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, enough, percentile, upper_quantile

Array = NDArray[np.float64]


class Extreme(NamedTuple):
    """A largest number with its 95 % interval and where it is; -1 and NaN where there is none."""

    at: int
    value: float
    low: float
    high: float


NONE = Extreme(-1, float("nan"), float("nan"), float("nan"))


def largest(value: Array, replicates: Array) -> Extreme:
    """Return the largest of value [H], from replicates [H, B] that need not be independent."""
    if not np.isfinite(value).any():
        return NONE
    at = int(np.nanargmax(value))
    low, _ = simultaneous(value, replicates)
    _, high = percentile(value, replicates)
    return Extreme(at, float(value[at]), _most(low), _most(high))


def spread(value: Array, replicates: Array) -> Extreme:
    """Return the distance from the least to the largest of value [H]; `at` is unused. NONE where there is none."""
    distance, low, high = (float(each[0]) for each in spreads(value[:, None], replicates[:, None]))
    return Extreme(-1, distance, low, high)


def spreads(value: Array, replicates: Array) -> tuple[Array, Array, Array]:
    """Return the distance from the least to the largest of value [H, C] per column, and its bounds: [C] each.

    It is the largest difference of any two, so its interval is made like that of `largest`, from the standard errors of
    all pairs, and does not go below 0. Without bounds where a number is the same in all replicates (0 of 14 images: its error
    is unknown, not 0). NaN for fewer than two numbers that have replicates.
    """
    fine = np.isfinite(value) & enough(replicates)
    out = np.full((3, value.shape[1]), np.nan)
    _spreads(np.ascontiguousarray(value), np.ascontiguousarray(replicates), fine, float(ndtri((1 + LEVEL) / 2)), out)
    return out[0], out[1], out[2]


@compiled
def _spreads(  # noqa: C901 - loops without a call compile in half the time
    value: Array, replicates: Array, fine: NDArray[np.bool_], z: float, out: Array
) -> None:
    """Fill distance, low and high [3, C]."""
    num_values, num_columns, size = replicates.shape
    kept, drawn = np.empty(num_values), np.empty((num_values, size))
    for c in range(num_columns):
        count, num = 0 * size, 0 * size  # with a plain 0 the call below is compiled twice
        least, most = np.inf, -np.inf
        for h in range(num_values):
            if fine[h, c]:
                kept[count] = value[h, c]
                least, most = min(least, value[h, c]), max(most, value[h, c])
                count += 1
        if count < 2:
            continue
        out[0, c] = most - least
        for b in range(size):  # replicates in which all of them are numbers
            k, whole = 0, True
            for h in range(num_values):
                if fine[h, c]:
                    drawn[k, num] = replicates[h, c, b]
                    whole &= np.isfinite(drawn[k, num])
                    k += 1
            num += 1 if whole else 0
        known = num > 1
        for k in range(count):
            varies = False
            for b in range(1, num):
                varies |= drawn[k, b] != drawn[k, 0]
            known &= varies
        if known:
            out[1, c], out[2, c] = _spread(kept, drawn, count, num, z)


@compiled
def _spread(value: Array, drawn: Array, count: int, num: int, z: float) -> tuple[float, float]:
    """Return the bounds of the largest difference of the first `count` values, from their first `num` replicates, all with an error."""
    errors, most = np.zeros((count, count)), np.zeros(num)
    low, high = 0.0, 0.0
    for k in range(count):
        for m in range(k + 1, count):
            difference, total, squares = value[k] - value[m], 0.0, 0.0
            for b in range(num):
                total += drawn[k, b] - drawn[m, b]
            for b in range(num):
                squares += (drawn[k, b] - drawn[m, b] - total / num) ** 2
            errors[k, m] = np.sqrt(squares / (num - 1))
            for b in range(num if errors[k, m] > 0 else 0):
                most[b] = max(most[b], abs(drawn[k, b] - drawn[m, b] - difference) / errors[k, m])
            high = max(high, abs(difference) + z * errors[k, m])
    widest = upper_quantile(most, num, LEVEL)
    for k in range(count):
        for m in range(k + 1, count):
            low = max(low, abs(value[k] - value[m]) - widest * errors[k, m])
    return low, high


def _most(bounds: Array) -> float:
    return float(np.nanmax(bounds)) if np.isfinite(bounds).any() else float("nan")
