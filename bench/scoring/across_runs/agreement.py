"""Agreement between hospitals on the ranking of runs, measured by rank correlation.

Shapes: D cohorts, R runs, B replicates.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import pair_tests
from bench.scoring.across_runs.ranks import Replicates, stack_replicates
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, enough
from bench.scoring.gaps.gap import EXTERNAL
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

LEAST_RUNS = 3  # minimum number of runs for a rank correlation


def taus(value: Array) -> Array:
    """Compute Kendall's tau-b [D, D] between the rankings of R runs in D cohorts, from value [D, R].

    tau is NaN for a cohort in which all runs have the same value or a value is NaN.
    Source: Kendall 1945. A binary indexed tree (Fenwick 1994, doi:10.1002/spe.4380240306) counts the pairs in O(D^2 R
    log R).
    """
    balance = _balances(value, np.argsort(value, axis=1, kind="stable"))
    untied = np.sqrt(np.outer(np.diag(balance), np.diag(balance)))
    tau: Array = np.divide(balance, untied, out=np.full(balance.shape, np.nan), where=untied > 0)
    return tau


@compiled
def _balances(value: Array, order: NDArray[np.intp]) -> Array:
    """Compute the number of concordant pairs of runs minus that of discordant pairs, for each pair of cohorts [D, D].

    A pair of runs is concordant if both cohorts rank the two runs in the same order, discordant if in opposite order.
    order [D, R]: the indices of the runs by increasing value, for each cohort.
    """
    num_cohorts, num = value.shape
    rank = np.zeros((num_cohorts, num), np.int64)  # ranks from 1; runs with equal values share a rank
    for d in range(num_cohorts):
        for k in range(num):
            run, before = order[d, k], order[d, max(k - 1, 0)]
            rank[d, run] = rank[d, before] + 1 if k == 0 or value[d, run] > value[d, before] else rank[d, before]
    out = np.empty((num_cohorts, num_cohorts))
    for i in range(num_cohorts):
        for j in range(i + 1):
            out[i, j] = out[j, i] = _balance(rank[i], rank[j], order[i])
    for d in range(num_cohorts):
        if num and np.isnan(value[d, order[d, num - 1]]):  # NaN sorts last
            out[d] = out[:, d] = np.nan
    return out


@compiled
def _balance(first: NDArray[np.int64], second: NDArray[np.int64], order: NDArray[np.intp]) -> int:
    """Compute the number of concordant pairs of runs minus that of discordant pairs, for two cohorts.

    first and second [R]: ranks of the runs in the first and in the second cohort. A pair of runs is concordant if both
    cohorts rank the two runs in the same order, discordant if in opposite order.
    order [R]: the indices of the runs by rank in the first cohort.
    """
    num, balance, start = len(first), 0, 0
    # the number of processed runs with each rank in the second cohort: as an array, and as a binary indexed tree
    count, tree = np.zeros(num + 1, np.int64), np.zeros(num + 1, np.int64)
    while start < num:
        stop = start + 1
        while stop < num and first[order[stop]] == first[order[start]]:
            stop += 1
        for k in range(start, stop):  # runs tied in the first cohort form no pair
            rank = second[order[k]]
            below, node = 0, rank - 1
            while node > 0:
                below += tree[node]
                node &= node - 1
            balance += below - (start - below - count[rank])
        for k in range(start, stop):
            node = second[order[k]]
            count[node] += 1
            while node <= num:
                tree[node] += 1
                node += node & -node
        start = stop
    return balance


def agreement(scores: pd.DataFrame, replicates: Replicates, internal: str) -> pd.DataFrame:
    """Build the table `agreement`: for each pair of cohorts, Kendall's tau-b between the runs' macro AUROCs.

    Only runs with a value in every cohort are used; tau is NaN with fewer than three runs. Noise moves tau and its replicates
    towards 0. So the interval counts pairs of runs: a pair whose difference is clear in both cohorts (`pair_tests`, adjusted over
    all pairs) has this order, and any other pair may have the same order or opposite orders.
    """
    value, run_ids = macros_in_every_cohort(macros_by_cohort(scores, replicates, internal), internal)
    rows = []
    datasets = [dataset for dataset in value if dataset != EXTERNAL]
    replicates_of_dataset = (
        {d: stack_replicates(run_ids, f"auroc/{d}", replicates) for d in datasets} if run_ids else {}
    )
    usable = (
        np.all([enough(replicates_RB) for replicates_RB in replicates_of_dataset.values()], axis=0)
        if replicates_of_dataset
        else np.zeros(0, bool)
    )
    enough_runs = int(usable.sum()) >= LEAST_RUNS
    if enough_runs:
        tau = taus(np.stack([value[d][usable] for d in datasets]))
        orders = [_clear_orders(value[d][usable], replicates_of_dataset[d][usable]) for d in datasets]
    for (i, first), (j, second) in combinations(enumerate(datasets), 2):
        value_of_tau = low = high = float("nan")
        if enough_runs:
            value_of_tau = float(tau[i, j])
            alike, num = orders[i] * orders[j], int(usable.sum()) * (int(usable.sum()) - 1)
            unclear = num - np.count_nonzero(alike)
            low, high = ((float(alike.sum()) + side * unclear) / num for side in (-1, 1))
        rows.append((first, second, value_of_tau, low, high, int(usable.sum())))
    return pd.DataFrame(rows, columns=list(SCHEMAS["agreement"]))


def _clear_orders(value: Array, replicates: Array) -> Array:
    """Return for each pair of R runs [R, R] the sign of their difference, 0 if it is not clear; value [R], replicates [R, B]."""
    p = pair_tests(value, replicates).p  # NaN on the diagonal
    return np.where(p < (1 - LEVEL) / 2, np.sign(value[:, None] - value), 0.0)


def macros_in_every_cohort(macros: pd.DataFrame, internal: str) -> tuple[dict[str, Array], list[str]]:
    """Return the macro AUROCs, cohort -> [R] (internal first, "external" last), and the ids of these R runs.

    macros: the result of `macros_by_cohort`, or some of its rows. The R runs have a value in every cohort. A cohort in
    which no run has a value is left out.
    """
    table = macros.dropna(axis="columns", how="all").dropna()
    datasets = sorted(table.columns, key=lambda d: (d == EXTERNAL, d != internal, d))
    return {str(d): table[d].to_numpy(np.float64) for d in datasets}, [str(run) for run in table.index]


def macros_by_cohort(scores: pd.DataFrame, replicates: Replicates, internal: str) -> pd.DataFrame:
    """Return the macro AUROCs of the runs with replicates: a row for each run (sorted by id), a column for each cohort.

    A missing value is NaN. A run or a cohort without any value is left out.
    """
    rows = select(scores, internal=internal)  # by default, of macro AUROCs only
    rows = rows[rows["run_id"].isin(list(replicates)) & np.isfinite(rows["value"].to_numpy(np.float64))]
    table: pd.DataFrame = rows.pivot_table("value", "run_id", "dataset", aggfunc="first")
    return table
