"""Pareto frontiers of score and cost.

Shapes: R runs.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import Differences, differences_of, errors_of_pairs

Array = NDArray[np.float64]


def pareto(value: Array, cost: Array) -> NDArray[np.bool_]:
    """Return the mask [R] of the runs on the Pareto frontier of value and cost.

    A run is on the frontier if no other run dominates it. A run dominates another run if it is at least as good and at
    least as cheap, and in addition better or cheaper. Of runs with equal value and cost, either all are on the frontier
    or none. A run with a NaN value or cost is not on the frontier.

    >>> pareto(np.array([0.8, 0.9, 0.7]), np.array([1.0, 2.0, 3.0])).tolist()
    [True, True, False]
    """
    on_frontier = np.zeros(len(value), np.bool_)
    finite = np.flatnonzero(np.isfinite(value) & np.isfinite(cost))
    order = finite[np.argsort(cost[finite])]
    value, cost = value[order], cost[order]
    best = np.concatenate([[-np.inf], np.maximum.accumulate(value)])
    of_cheaper, of_as_cheap = best[np.searchsorted(cost, cost, "left")], best[np.searchsorted(cost, cost, "right")]
    on_frontier[order] = (value > of_cheaper) & (value == of_as_cheap)
    return on_frontier


def gain_over_cheaper(value: Array, covariance: Array, cost: Array, own: Array | None) -> Differences:
    """Compute the gain of each run [R], with covariance [R, R]: its value minus the value of the best cheaper run.

    own [R]: see `with_own_errors`; so the interval is that of this pair of runs in the table `pairs`. The gain is NaN for the
    cheapest run and for a run with a NaN value. The choice of the best cheaper run uses the same patients as the difference,
    which makes the gain slightly too small.
    """
    runs, best_cheaper = [], []
    for run in range(len(value)):
        cheaper = np.flatnonzero((cost < cost[run]) & np.isfinite(value))
        if len(cheaper) and np.isfinite(value[run]):
            runs.append(run)
            best_cheaper.append(cheaper[np.argmax(value[cheaper])])
    first, second = np.array([runs, best_cheaper], np.intp)
    gains = differences_of(value[first] - value[second], errors_of_pairs(first, second, covariance, own))
    of_runs = np.full((len(gains), len(value)), np.nan)
    of_runs[:, runs] = gains
    return Differences(*of_runs)


def device_hours(seconds: Mapping[str, float], devices: Mapping[str, str]) -> dict[str, float]:
    """Compute device-hours: run id -> training hours, only for runs on the most frequent type of device.

    If several types are equally frequent, the first is used. Hours on different types of devices cannot be compared, so
    runs on other types are left out. Runs without a known time are left out, too. seconds: run id -> training time,
    summed over the devices that train the run. devices: run id -> type of device.
    """
    seconds_of_run = {run_id: time for run_id, time in seconds.items() if np.isfinite(time) and devices.get(run_id)}
    most_common = Counter(devices[run_id] for run_id in seconds_of_run).most_common(1)
    return {run_id: time / 3600 for run_id, time in seconds_of_run.items() if devices[run_id] == most_common[0][0]}
