"""Agreement of hospitals on the ranking of runs, and the variance of scores over seeds and over patients.

Shapes: D cohorts, R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from bench.scoring.across_runs.ranks import Replicates, together
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import LEVEL, enough, percentile
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

LEAST_RUNS = 3  # of a rank correlation
LEAST_SEEDS = 3  # of an interval over seeds


def taus(value: Array) -> Array:
    """Compute Kendall's tau-b [D, D] between the rankings of R runs by D cohorts, from value [D, R].

    NaN where a cohort gives all runs the same value, or lacks a run. Source: Kendall 1945; counted in O(D^2 R log R) with a
    binary indexed tree, Fenwick 1994, doi:10.1002/spe.4380240306.
    """
    agree = _balances(value, np.argsort(value, axis=1, kind="stable"))
    whole = np.sqrt(np.outer(np.diag(agree), np.diag(agree)))
    tau: Array = np.divide(agree, whole, out=np.full(agree.shape, np.nan), where=whole > 0)
    return tau


@compiled
def _balances(value: Array, order: NDArray[np.intp]) -> Array:
    """Count concordant minus discordant pairs of runs [D, D] of each two cohorts.

    order [D, R]: the runs of each cohort by increasing value.
    """
    num_cohorts, num = value.shape
    rank = np.zeros((num_cohorts, num), np.int64)  # from 1; equal runs share a rank
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
    """Count concordant minus discordant pairs from the ranks [R] in two cohorts; order [R]: runs by rank in the first."""
    num, balance, start = len(first), 0, 0
    times, tree = np.zeros(num + 1, np.int64), np.zeros(num + 1, np.int64)  # of the runs so far, by rank in the second
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
            balance += below - (start - below - times[rank])
        for k in range(start, stop):
            node = second[order[k]]
            times[node] += 1
            while node <= num:
                tree[node] += 1
                node += node & -node
        start = stop
    return balance


def agreement(scores: pd.DataFrame, replicates: Replicates, internal: str) -> pd.DataFrame:
    """Build the `agreement` table: Kendall's tau-b of the runs' macro AUROC for each two cohorts.

    Uses the runs that have a value in every cohort; NaN below three runs. Patients of each cohort are resampled
    independently. Resampling adds noise, which moves tau towards 0, so the interval is conservative.
    """
    value, run_ids = _macros(scores, replicates, internal)
    rows = []
    datasets = [dataset for dataset in value if dataset != EXTERNAL]
    drawn = {d: together(run_ids, f"auroc/{d}", replicates) for d in datasets} if run_ids else {}
    fine = np.all([enough(replicates_of) for replicates_of in drawn.values()], axis=0) if drawn else np.zeros(0, bool)
    enough_runs = int(fine.sum()) >= LEAST_RUNS
    if enough_runs:
        tau = taus(np.stack([value[d][fine] for d in datasets]))
        stacked = np.stack([drawn[d][fine].T for d in datasets], 1)  # [B, D, R]
        resampled = np.stack([taus(replicate) for replicate in stacked], axis=2)
    for (i, first), (j, second) in combinations(enumerate(datasets), 2):
        centre = low = high = float("nan")
        if enough_runs:
            centre = float(tau[i, j])
            low, high = (float(bound[0]) for bound in percentile(np.array([centre]), resampled[i, j][None]))
        rows.append((first, second, centre, low, high, int(fine.sum())))
    return pd.DataFrame(rows, columns=list(SCHEMAS["agreement"]))


def seed_variance(
    groups: Sequence[Sequence[str]], scores: pd.DataFrame, replicates: Replicates, internal: str
) -> pd.DataFrame:
    """Build the `seeds` table: variance of macro AUROC, by cohort, for groups of runs that differ only in their seed.

    seed_sd: standard deviation between seeds on the same patients. patient_sd: between resampled patients of one run (root
    mean square over seeds). low and high: interval of the mean over new seeds and new patients, NaN below three seeds.
    Groups of one run are left out.
    """
    rows = []
    for group in groups:
        value, run_ids = _macros(scores[scores["run_id"].isin(list(group))], replicates, internal)
        for dataset, of_runs in value.items() if len(run_ids) > 1 else ():
            drawn = together(run_ids, f"auroc/{dataset}", replicates)
            num = len(drawn)
            patient_sd = (
                float(np.sqrt(np.nanvar(drawn, axis=1, ddof=1).mean())) if enough(drawn).all() else float("nan")
            )
            mean, seed_sd = float(of_runs.mean()), float(of_runs.std(ddof=1))
            half = _half_width(seed_sd, drawn) if num >= LEAST_SEEDS else float("nan")
            rows.append((group[0], dataset, num, mean, mean - half, mean + half, seed_sd, patient_sd))
    return pd.DataFrame(rows, columns=list(SCHEMAS["seeds"]))


def _half_width(seed_sd: float, drawn: Array) -> float:
    """Compute half the width of the 95 % interval of the mean over seeds, from replicates [S, B]; NaN with too few.

    The variance of the mean is the variance between seeds / S plus the variance over resampled patients. The quantile is
    Student's t with Welch-Satterthwaite degrees of freedom. A bootstrap over three seeds would give only two thirds of the
    variance between seeds: where seeds vary twice as much as patients it covers 89 %, not 95 %.
    Source: Satterthwaite 1946, Biometrics Bulletin 2, 110.
    """
    if not enough(drawn).all():
        return float("nan")
    num, patients = len(drawn), float(np.nanvar(drawn.mean(0), ddof=1))
    seeds = seed_sd**2 / num
    freedom = (seeds + patients) ** 2 * (num - 1) / seeds**2 if seeds else np.inf
    times = stdtrit(freedom, (1 + LEVEL) / 2) if np.isfinite(freedom) else ndtri((1 + LEVEL) / 2)
    return float(times * np.sqrt(seeds + patients))


def seed_groups(configs: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Group run ids whose configurations differ only in the seed, in the order of `configs` (by run id)."""
    groups: dict[str, list[str]] = {}
    for run_id, config in configs.items():
        groups.setdefault(repr(sorted((k, repr(v)) for k, v in config.items() if k != "seed")), []).append(run_id)
    return list(groups.values())


def _macros(scores: pd.DataFrame, replicates: Replicates, internal: str) -> tuple[dict[str, Array], list[str]]:
    """Return macro AUROC [R] by cohort (internal first, "external" last), and the runs with a value in every cohort.

    A cohort in which no run has a value is left out.
    """
    chosen = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["calibrator"] == "none")]
    chosen = chosen[(chosen["dataset"] != internal) | (chosen["split"] == "test")]
    chosen = chosen[chosen["run_id"].isin(list(replicates)) & np.isfinite(chosen["value"].to_numpy(np.float64))]
    table = chosen.pivot_table("value", "run_id", "dataset", aggfunc="first").dropna()
    ordered = sorted(table.columns, key=lambda d: (d == EXTERNAL, d != internal, d))
    return {str(d): table[d].to_numpy(np.float64) for d in ordered}, [str(run) for run in table.index]
