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
def _spreads(value: Array, replicates: Array, fine: NDArray[np.bool_], z: float, out: Array) -> None:
    """Fill distance, low and high [3, C]."""
    size = replicates.shape[2]
    for c in range(value.shape[1]):
        at = np.flatnonzero(fine[:, c])
        if len(at) < 2:
            continue
        drawn, num = np.empty((len(at), size)), 0
        for b in range(size):
            whole = True
            for k, h in enumerate(at):
                drawn[k, num] = replicates[h, c, b]
                whole &= np.isfinite(drawn[k, num])
            num += 1 if whole else 0
        out[0, c] = value[at, c].max() - value[at, c].min()
        known = num > 1
        for k in range(len(at)):
            known &= num > 1 and drawn[k, :num].min() < drawn[k, :num].max()
        if known:
            out[1, c], out[2, c] = _spread(value[at, c], drawn[:, :num], z)


@compiled
def _spread(value: Array, drawn: Array, z: float) -> tuple[float, float]:
    """Return the bounds of the largest difference of value [H], from replicates [H, B] of which all have an error."""
    num = drawn.shape[1]
    pairs = [(k, m) for k in range(len(value)) for m in range(k + 1, len(value))]
    errors, most = np.empty(len(pairs)), np.zeros(num)
    low, high = 0.0, 0.0
    for i, (k, m) in enumerate(pairs):
        apart, difference = drawn[k] - drawn[m], value[k] - value[m]
        errors[i] = np.sqrt(((apart - apart.mean()) ** 2).sum() / (num - 1))
        for b in range(num if errors[i] > 0 else 0):
            most[b] = max(most[b], abs(apart[b] - difference) / errors[i])
        high = max(high, abs(difference) + z * errors[i])
    widest = upper_quantile(most, num, LEVEL)
    for i, (k, m) in enumerate(pairs):
        low = max(low, abs(value[k] - value[m]) - widest * errors[i])
    return low, high


def _most(bounds: Array) -> float:
    return float(np.nanmax(bounds)) if np.isfinite(bounds).any() else float("nan")
