"""Agreement between hospitals on the ranking of runs, measured by rank correlation.

Shapes: D cohorts, R runs.
"""

from collections.abc import Collection
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.paired_tests import pair_tests
from bench.scoring.gaps.gap import EXTERNAL
from bench.scoring.influence import LEVEL
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

LEAST_RUNS = 3  # minimum number of runs for a rank correlation


def taus(value: Array) -> Array:
    """Compute Kendall's tau-b [D, D] between the rankings of R runs in D cohorts, from value [D, R].

    tau is NaN for a cohort in which all runs have the same value or a value is NaN. Source: Kendall 1945.
    """
    from scipy.stats import kendalltau  # imported here, because the import takes time

    pairs = [[kendalltau(one, other, method="asymptotic").statistic for other in value] for one in value]
    return np.array(pairs, np.float64)


def agreement(scores: pd.DataFrame, covariances: Covariances, internal: str) -> pd.DataFrame:
    """Build the table `agreement`: for each pair of cohorts, Kendall's tau-b between the runs' macro AUROCs.

    Only runs with a value in every cohort are used; tau is NaN with fewer than three runs. Noise moves tau
    towards 0. So the interval counts pairs of runs: a pair whose difference is clear in both cohorts (`pair_tests`, adjusted over
    all pairs) has this order, and any other pair may have the same order or opposite orders.
    """
    value, run_ids = macros_in_every_cohort(macros_by_cohort(scores, covariances.ids, internal), internal)
    rows = []
    datasets = [dataset for dataset in value if dataset != EXTERNAL]
    usable = np.array([all(covariances.has(run, f"auroc/{d}") for d in datasets) for run in run_ids], bool)
    enough_runs = bool(datasets) and int(usable.sum()) >= LEAST_RUNS
    if enough_runs:
        ids = [run for run, used in zip(run_ids, usable, strict=True) if used]
        of_usable = {d: value[d][usable] for d in datasets}
        tau = taus(np.stack(list(of_usable.values())))
        orders = [_clear_orders(aurocs, covariances.of_score(f"auroc/{d}", ids)) for d, aurocs in of_usable.items()]
    for (i, first), (j, second) in combinations(enumerate(datasets), 2):
        value_of_tau = low = high = float("nan")
        if enough_runs:
            value_of_tau = float(tau[i, j])
            alike, num = orders[i] * orders[j], int(usable.sum()) * (int(usable.sum()) - 1)
            unclear = num - np.count_nonzero(alike)
            low, high = ((float(alike.sum()) + side * unclear) / num for side in (-1, 1))
        rows.append((first, second, value_of_tau, low, high, int(usable.sum())))
    return pd.DataFrame(rows, columns=list(SCHEMAS["agreement"]))


def _clear_orders(value: Array, covariance: Array) -> Array:
    """Return for each pair of R runs [R, R] the sign of their difference, 0 if it is not clear; value [R], covariance [R, R]."""
    p = pair_tests(value, covariance).p  # NaN on the diagonal
    return np.where(p < (1 - LEVEL) / 2, np.sign(value[:, None] - value), 0.0)


def macros_in_every_cohort(macros: pd.DataFrame, internal: str) -> tuple[dict[str, Array], list[str]]:
    """Return the macro AUROCs, cohort -> [R] (internal first, "external" last), and the ids of these R runs.

    macros: the result of `macros_by_cohort`, or some of its rows. The R runs have a value in every cohort. A cohort in
    which no run has a value is left out.
    """
    table = macros.dropna(axis="columns", how="all").dropna()
    datasets = sorted(table.columns, key=lambda d: (d == EXTERNAL, d != internal, d))
    return {str(d): table[d].to_numpy(np.float64) for d in datasets}, [str(run) for run in table.index]


def macros_by_cohort(scores: pd.DataFrame, run_ids: Collection[str], internal: str) -> pd.DataFrame:
    """Return the macro AUROCs of some runs: a row for each run (sorted by id), a column for each cohort.

    A missing value is NaN. A run or a cohort without any value is left out.
    """
    rows = select(scores, internal=internal)  # by default, of macro AUROCs only
    rows = rows[rows["run_id"].isin(list(run_ids)) & np.isfinite(rows["value"].to_numpy(np.float64))]
    table: pd.DataFrame = rows.pivot_table("value", "run_id", "dataset", aggfunc="first")
    return table
