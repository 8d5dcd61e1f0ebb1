"""Pareto frontiers of score and cost, and the anytime curve: the best AUROC of a run within a given training time.

Shapes: R runs, B replicates, G goals.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import Differences, paired
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]


def pareto(value: Array, cost: Array) -> NDArray[np.bool_]:
    """Return the mask [R] of the runs on the Pareto frontier of value and cost.

    A run is on the frontier if no other run dominates it. A run dominates another run if it is at least as good and at
    least as cheap, and in addition better or cheaper. Of runs with equal value and cost, either all are on the frontier
    or none. A run with a NaN value or cost is not on the frontier.

    >>> pareto(np.array([0.8, 0.9, 0.7]), np.array([1.0, 2.0, 3.0])).tolist()
    [True, True, False]
    """
    finite = np.isfinite(value) & np.isfinite(cost)
    on_frontier = np.zeros(len(value), np.bool_)
    on_frontier[finite] = _fronts(value[finite, None], cost[finite])[:, 0]
    return on_frontier


def _fronts(value: Array, cost: Array) -> NDArray[np.bool_]:
    """Return the mask [R, B] of the runs on the Pareto frontier of value [R, B] and cost [R], for each replicate.

    All values and costs must be finite.
    """
    order = np.argsort(cost)
    value, cost = value[order], cost[order]
    best = np.concatenate([np.full((1, value.shape[1]), -np.inf), np.maximum.accumulate(value, axis=0)])
    of_cheaper, of_as_cheap = best[np.searchsorted(cost, cost, "left")], best[np.searchsorted(cost, cost, "right")]
    on_frontier = np.empty(value.shape, np.bool_)
    on_frontier[order] = (value > of_cheaper) & (value == of_as_cheap)
    return on_frontier


def undominated(goal_RG: Array) -> NDArray[np.bool_]:
    """Return the mask [R] of the runs that no other run dominates.

    A run dominates another run if it is at least as good in every goal and better in at least one goal. Higher is
    better in every column of goal_RG. A run with a NaN goal dominates no run, and its mask is False. Equal runs do not
    dominate each other. With the two goals value and -cost, the result is that of `pareto`.

    >>> undominated(np.array([[0.8, -0.1], [0.7, -0.2], [0.7, 0.0]])).tolist()
    [True, False, True]
    """
    on_front = np.zeros(len(goal_RG), np.bool_)
    candidates = np.flatnonzero(np.isfinite(goal_RG).all(1))
    candidates = candidates[np.lexsort(goal_RG[candidates].T)][::-1]
    # No other candidate dominates the first one. Most runs are dominated by one of a few runs, so comparing all pairs would
    # take much longer.
    while len(candidates):
        best, others = goal_RG[candidates[0]], goal_RG[candidates[1:]]
        on_front[candidates[0]] = True
        candidates = candidates[1:][(others > best).any(1) | (others == best).all(1)]
    return on_front


def chance_undominated(goal_RG: Array, replicates: Mapping[int, Array]) -> Array:
    """Compute for each run [R] the share of replicates in which no other run dominates it.

    replicates: index of a goal's column in goal_RG -> replicates [R, B] of this goal. A goal without replicates has the
    same value in every replicate. A replicate counts only if it is finite for all runs that have no NaN goal. If no
    replicate counts, the share is NaN.
    """
    replicates_GRB = np.stack(list(replicates.values())) if replicates else np.empty((0, len(goal_RG), 0))
    complete = np.isfinite(replicates_GRB[:, np.isfinite(goal_RG).all(1)]).all((0, 1)) & (replicates_GRB.shape[1] > 0)
    if not complete.any():
        return np.full(len(goal_RG), np.nan)
    columns, count = list(replicates), np.zeros(len(goal_RG))
    for b in np.flatnonzero(complete):
        goal = goal_RG.copy()
        goal[:, columns] = replicates_GRB[:, :, b].T
        count += undominated(goal)
    return np.asarray(count / complete.sum(), np.float64)


def chance_on_frontier(replicates: Array, cost: Array) -> Array:
    """Compute for each run [R] the share of replicates in which the run is on the frontier of value and cost.

    A replicate of `replicates` [R, B] counts only if it is finite for all runs. If no replicate counts, the share is
    NaN. A run with a NaN cost has the share 0.
    """
    complete = replicates[:, np.isfinite(replicates).all(0)]
    if not complete.shape[1]:
        return np.full(len(cost), np.nan)
    share, finite = np.zeros(len(cost)), np.isfinite(cost)
    share[finite] = _fronts(complete[finite], cost[finite]).mean(1)
    return share


def gain_over_cheaper(value: Array, replicates: Array, cost: Array, own: Array | None) -> Differences:
    """Compute the gain of each run [R] with replicates [R, B]: its value minus the value of the best cheaper run.

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
    pair = np.array([runs, best_cheaper], np.intp)
    value_pair, replicates_pair = value[pair], replicates[pair]
    own_pair = None if own is None else own[pair]
    gains = paired(value_pair[0], value_pair[1], replicates_pair[0], replicates_pair[1], own_pair)
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


def anytime(
    histories: Mapping[str, pd.DataFrame], devices: Mapping[str, str], chosen_on: Mapping[str, str]
) -> pd.DataFrame:
    """Build the table `anytime`: training hours and internal AUROC after each epoch of each run.

    histories: run id -> table with epoch, seconds and <split>_auroc. devices: run id -> device. chosen_on: run id ->
    the split on which the run chooses its epoch, or "last" if the run uses its last epoch. Column reached: AUROC of the
    run if training had stopped after this epoch. This is the best AUROC so far; for a run with "last", it is the AUROC
    of this epoch. Column on_front: True if no run on the same device reached the same AUROC in less time. The AUROC of
    the chosen epoch is slightly optimistic, because this AUROC decided the choice. There are no intervals, because
    predictions of earlier epochs are not stored. If the time of an epoch is unknown, this epoch and all later epochs
    are left out.
    """
    # one data frame for all runs, because a data frame for each of 2,000 runs takes two seconds
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in SCHEMAS["anytime"] if name != "on_front"}
    for run_id, history in histories.items():
        selection_split = chosen_on.get(run_id, "val")
        column = f"{'val' if selection_split == 'last' else selection_split}_auroc"
        if not len(history) or column not in history:
            continue
        value = history[column].to_numpy(np.float64)
        hours = np.cumsum(history["seconds"].to_numpy(np.float64)) / 3600
        reached = value if selection_split == "last" else np.fmax.accumulate(value)
        known = np.isfinite(hours) & np.isfinite(reached)
        names = [np.full(len(history), name, object) for name in (run_id, devices.get(run_id, ""))]
        epoch = history["epoch"].to_numpy(np.int64)
        for of_runs, numbers in zip(columns.values(), (*names, epoch, hours, value, reached), strict=True):
            of_runs.append(numbers[known])
    table = pd.DataFrame({name: np.concatenate(parts) if parts else [] for name, parts in columns.items()})
    table["on_front"] = False
    for _, rows in table.groupby("device"):
        best = pareto(rows["reached"].to_numpy(np.float64), rows["hours"].to_numpy(np.float64))
        table.loc[rows.index, "on_front"] = best
    return table[list(SCHEMAS["anytime"])]
