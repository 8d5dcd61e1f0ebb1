"""What a bigger budget buys: the runs that no cheaper run beats.

Shapes: R runs, B replicates.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def pareto(value: Array, cost: Array) -> NDArray[np.bool_]:
    """Return which runs [R] are on the frontier: no other has a value at least as high for a cost at most as high.

    Of runs equal in both, all are on it. A run without value or cost is not.

    >>> pareto(np.array([0.8, 0.9, 0.7]), np.array([1.0, 2.0, 3.0])).tolist()
    [True, True, False]
    """
    known = np.isfinite(value) & np.isfinite(cost)
    better = (value[None, :] >= value[:, None]) & (cost[None, :] <= cost[:, None])
    strictly = (value[None, :] > value[:, None]) | (cost[None, :] < cost[:, None])
    beaten = (better & strictly & known[None, :]).any(1)
    return np.asarray(known & ~beaten)


def chance_on_frontier(replicates: Array, cost: Array) -> Array:
    """Return the share of replicates [R, B] in which each run is on the frontier; NaN without any whole replicate."""
    whole = replicates[:, np.isfinite(replicates).all(0)]
    if not whole.shape[1]:
        return np.full(len(cost), np.nan)
    return np.asarray(np.mean([pareto(column, cost) for column in whole.T], axis=0), np.float64)


def gain_over_cheaper(value: Array, replicates: Array, cost: Array) -> tuple[Array, Array]:
    """Return what each run [R] adds to the best of the cheaper runs, and its replicates [R, B].

    The cheapest run adds to nothing: NaN. The best of the cheaper is the best by value, the same in every replicate, so
    that the difference is paired; it is chosen on the same patients, which flatters the cheaper one a little.
    """
    gain, drawn = np.full(value.shape, np.nan), np.full(replicates.shape, np.nan)
    for run in range(len(value)):
        cheaper = np.flatnonzero((cost < cost[run]) & np.isfinite(value))
        if len(cheaper) and np.isfinite(value[run]):
            best = cheaper[np.argmax(value[cheaper])]
            gain[run], drawn[run] = value[run] - value[best], replicates[run] - replicates[best]
    return gain, drawn
