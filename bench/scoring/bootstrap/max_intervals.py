"""Computation of intervals of the maximum of several numbers, and of their spread (largest minus smallest).

The percentile interval of a maximum is wrong if the numbers are close. Each replicate picks the number that is highest
by chance, so nearly all replicates are above the truth. With five equal hospitals, the percentile interval contains the
truth in 32 % of cases instead of 95 %. Here the lower bound is the largest of the numbers' simultaneous lower bounds.
The upper bound is the largest of the numbers' own upper bounds. This interval contains the truth in 97 % of
cases with five equal numbers, and in 98 % with one number far above the others, so it is slightly too wide.
Shapes: H numbers, C columns, B replicates.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.across_runs.paired_tests import simultaneous_own
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, enough

Array = NDArray[np.float64]


class Extreme(NamedTuple):
    """The largest of several numbers, with its index (`position`) and 95 % interval.

    If no number is finite, `position` is -1, and value and bounds are NaN.
    """

    position: int
    value: float
    low: float
    high: float


NONE = Extreme(-1, float("nan"), float("nan"), float("nan"))


def largest(value: Array, bounds: Array, replicates: Array) -> Extreme:
    """Compute the largest of value [H] with its interval, from their own intervals bounds [2, H] and replicates [H, B].

    The numbers may be correlated over the replicates. The bounds are NaN if the largest number has no interval of its own.
    """
    if not np.isfinite(value).any():
        return NONE
    position = int(np.nanargmax(value))
    if not np.isfinite(bounds[:, position]).all():
        return Extreme(position, float(value[position]), *NONE[2:])
    low, _ = simultaneous_own("", value, bounds[0], bounds[1], replicates)
    return Extreme(position, float(value[position]), _nanmax(low), _nanmax(bounds[1]))


def spreads(value: Array, replicates: Array) -> tuple[Array, Array, Array]:
    """Compute the spread of each column of value [H, C] with its lower and upper bound: [C] each.

    The spread is the largest of the H numbers minus the smallest, so it is the largest difference over all pairs. So
    the interval of the spread is computed like the interval of `largest`, from the standard errors of all pairs; the
    lower bound is at least 0. Spread and bounds are NaN if fewer than two numbers have enough valid replicates. The
    bounds are NaN if a number is the same in all replicates, such as 0 of 14 images, because then the standard error of
    this number is unknown.
    """
    valid = np.isfinite(value) & enough(replicates)
    out = np.full((3, value.shape[1]), np.nan)
    _spreads(np.ascontiguousarray(value), np.ascontiguousarray(replicates), valid, float(ndtri((1 + LEVEL) / 2)), out)
    return out[0], out[1], out[2]


@compiled
def _spreads(  # noqa: C901 - without further functions it compiles in half the time
    value: Array, replicates: Array, valid: NDArray[np.bool_], z: float, out: Array
) -> None:
    """Compute the spread, its lower bound and its upper bound for each column; write them to out [3, C]."""
    num_values, num_columns, size = replicates.shape
    numbers, rows = np.empty(num_values), np.empty((num_values, size))
    for c in range(num_columns):
        # the products are 0; with the constant 0 instead, numba would compile the call below for two types
        count, num = 0 * size, 0 * size
        smallest, greatest = np.inf, -np.inf
        for h in range(num_values):
            if valid[h, c]:
                numbers[count] = value[h, c]
                smallest, greatest = min(smallest, value[h, c]), max(greatest, value[h, c])
                count += 1
        if count < 2:
            continue
        out[0, c] = greatest - smallest
        for b in range(size):  # keep only replicates in which all numbers are finite
            k, all_finite = 0, True
            for h in range(num_values):
                if valid[h, c]:
                    rows[k, num] = replicates[h, c, b]
                    all_finite &= np.isfinite(rows[k, num])
                    k += 1
            num += 1 if all_finite else 0
        all_vary = num > 1
        for k in range(count):
            varies = False
            for b in range(1, num):
                varies |= rows[k, b] != rows[k, 0]
            all_vary &= varies
        if all_vary:
            out[1, c], out[2, c] = _bounds_of_spread(numbers, rows, count, num, z)


@compiled
def _bounds_of_spread(value: Array, replicates: Array, count: int, num: int, z: float) -> tuple[float, float]:
    """Compute the bounds of the largest difference between the first `count` values, from their first `num` replicates.

    Each replicate must be finite, and each value must vary over its replicates.
    """
    errors, largest_z = np.zeros((count, count)), np.zeros(num)
    low, high = 0.0, 0.0
    for k in range(count):
        for m in range(k + 1, count):
            difference, total, squares = value[k] - value[m], 0.0, 0.0
            for b in range(num):
                total += replicates[k, b] - replicates[m, b]
            for b in range(num):
                squares += (replicates[k, b] - replicates[m, b] - total / num) ** 2
            errors[k, m] = np.sqrt(squares / (num - 1))
            for b in range(num if errors[k, m] > 0 else 0):
                largest_z[b] = max(largest_z[b], abs(replicates[k, b] - replicates[m, b] - difference) / errors[k, m])
            high = max(high, abs(difference) + z * errors[k, m])
    position, above, critical_z = (num - 1) * LEVEL, 0.0, 0.0
    # the largest numbers in falling order, because numba needs 1 CPU second to compile np.sort
    for _ in range(num - int(position)):
        top = 0
        for b in range(1, num):
            top = b if largest_z[b] > largest_z[top] else top
        above, critical_z, largest_z[top] = critical_z, largest_z[top], -1.0
    critical_z += (position - int(position)) * (above - critical_z)
    for k in range(count):
        for m in range(k + 1, count):
            low = max(low, abs(value[k] - value[m]) - critical_z * errors[k, m])
    return low, high


def _nanmax(bounds: Array) -> float:
    return float(np.nanmax(bounds)) if np.isfinite(bounds).any() else float("nan")
