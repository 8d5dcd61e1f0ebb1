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

from bench.scoring.compare import simultaneous
from bench.scoring.intervals import LEVEL, enough, percentile

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
    """Return the distance from the least to the largest of value [H]; `at` is unused.

    It is the largest difference of any two, so its interval is made like that of `largest`, from the standard errors of
    all pairs, and does not go below 0. Without bounds where a number is the same in all replicates (0 of 14 images: its error
    is unknown, not 0). NONE for fewer than two numbers that have replicates.
    """
    fine = np.flatnonzero(np.isfinite(value) & enough(replicates))
    if len(fine) < 2:
        return NONE
    chosen = replicates[fine][:, np.isfinite(replicates[fine]).all(0)]
    first, second = np.triu_indices(len(fine), 1)
    difference = value[fine][first] - value[fine][second]
    if (
        chosen.shape[1] < 2 or (chosen.std(-1) == 0).any()
    ):  # a share that is 0 or 1 in every replicate has no known error
        return Extreme(-1, float(np.abs(difference).max()), float("nan"), float("nan"))
    drawn = chosen[first] - chosen[second]
    error = drawn.std(-1, ddof=1)
    deviation = np.abs(drawn - difference[:, None])
    t = np.divide(deviation, error[:, None], out=np.zeros_like(deviation), where=error[:, None] > 0)
    low = (np.abs(difference) - np.quantile(t.max(0), LEVEL) * error).max()
    high = (np.abs(difference) + ndtri((1 + LEVEL) / 2) * error).max()
    return Extreme(-1, float(np.abs(difference).max()), max(0.0, float(low)), float(high))


def _most(bounds: Array) -> float:
    return float(np.nanmax(bounds)) if np.isfinite(bounds).any() else float("nan")
