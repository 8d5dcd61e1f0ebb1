"""Ranks of runs with groups of ties, and the mean gap of each hospital.

A report ranks recipes (means over seeds). The covariances of their scores contain the variation over patients and over seeds.
All recipes share the patients, so every comparison is paired.
Shapes: R runs or recipes, D draws.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.covariances import Covariances, draws
from bench.scoring.across_runs.paired_tests import (
    PairTests,
    differences_of,
    own_error,
    pair_tests,
    simultaneous,
    simultaneous_own,
)
from bench.scoring.area_intervals import mean_interval
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.influence import correlations
from reports.schemas.criterion import DEFAULT, Criterion
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

SIGNIFICANT = 0.05
LEADS = ("lead", "lead_low", "lead_high", "lead_all_low", "lead_all_high")


def rankings(scores: pd.DataFrame, covariances: Covariances, smallest_first: Collection[str]) -> pd.DataFrame:
    """Build the table `ranks`: the result of the function `ranks` for each criterion; the default criterion comes first.

    The default criterion is DEFAULT; the external AUROC of the first finding in `scores` if there is no mean over findings; or the
    internal macro AUROC if no external hospital was tested.

    scores: the rows of all criteria, with the columns of Criterion, run_id, value, low and high. smallest_first:
    metrics of which the smallest value is best. Every ranking has only runs that are ranked by the default criterion. A ranking by
    another criterion is left out if fewer than two of these runs have the value, or if a run with the value has no
    stored influences.
    """
    was_tested = bool((scores["dataset"] == EXTERNAL).any())
    scores = scores[np.isfinite(scores["value"].to_numpy(np.float64))]
    rows_of = {Criterion(*map(str, key)): rows for key, rows in scores.groupby(list(Criterion._fields), sort=False)}
    others_of_auroc = (of for of in rows_of if of.metric == DEFAULT.metric and (of.dataset == EXTERNAL) == was_tested)
    first = DEFAULT if DEFAULT in rows_of else next(others_of_auroc, DEFAULT)
    default = ranks(rows_of.pop(first, scores[:0]), covariances, first)
    others = []
    for criterion, all_rows in rows_of.items():
        rows = all_rows[all_rows["run_id"].isin(default["run_id"])]
        run_ids = rows["run_id"]
        if len(run_ids) > 1 and all(covariances.has(run, criterion.estimate) for run in run_ids):
            others.append(_columns(rows, covariances, criterion, smallest_first=criterion.metric in smallest_first))
    if not others:
        return default
    columns = {name: np.concatenate([table[name] for table in others]) for name in SCHEMAS["ranks"]}
    return pd.concat([default, _typed(pd.DataFrame(columns))], ignore_index=True)


def ranks(
    scores: pd.DataFrame, covariances: Covariances, criterion: Criterion = DEFAULT, smallest_first: bool = False
) -> pd.DataFrame:
    """Rank runs by one criterion, best first, with tie groups; `smallest_first`: the smallest value is best.

    Runs without this value or its standard error are left out. value, low and high are copied from `scores`.
    mean_rank is the mean of the rank over normal draws around the values. rank_low and rank_high: see `rank_sets`. p_best: share
    of draws in which the run is best; a draw with several best runs counts in equal parts for each of them. It is not the
    probability that the run is truly best. group: number of the run's tie group, from 1. all_low and all_high: interval of
    the value that is simultaneous over all runs, so it is also valid for the run that is first by chance. lead: difference
    to the next row, positive if the row is better, with its own interval (lead_low, lead_high) and an interval that is
    adjusted for all pairs (lead_all_low, lead_all_high); NaN in the last row. Raises ValueError if `scores` has several
    rows of one run for the criterion.
    """
    return _typed(pd.DataFrame(_columns(scores, covariances, criterion, smallest_first)))


def _columns(
    scores: pd.DataFrame, covariances: Covariances, criterion: Criterion, smallest_first: bool
) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of `ranks`."""
    rows = criterion.rows(scores)
    if rows["run_id"].duplicated().any():
        raise ValueError(
            f"the scores have more than one {criterion.estimate} per run: select one mapping, subgroup and selection"
        )
    known = np.array([covariances.has(run, criterion.estimate) for run in rows["run_id"]], bool)
    rows = rows[np.isfinite(rows["value"].to_numpy(np.float64)) & known]
    rows = rows.sort_values(["value", "run_id"], ascending=[smallest_first, True], kind="stable")
    covariance = covariances.of_score(criterion.estimate, rows["run_id"].tolist())
    usable = np.isfinite(np.diag(covariance))
    rows, covariance = rows[usable], covariance[np.ix_(usable, usable)]
    if not len(rows):
        return {name: np.empty(0, object) for name in SCHEMAS["ranks"]}
    value, low, high = rows[["value", "low", "high"]].to_numpy(np.float64).T
    sign = -1.0 if smallest_first else 1.0
    # intervals of the metrics in BIASED also allow for a bias, which is about the same in all runs
    is_biased = criterion.metric in BIASED
    tests = pair_tests(value, covariance, None if is_biased else own_error(value, low, high))
    lead = leads(sign * value, tests)
    rank_low, rank_high = rank_sets(tests.p)
    if is_biased:
        all_low, all_high = simultaneous(value, covariance)
    else:
        all_low, all_high = simultaneous_own(criterion.metric, value, low, high, covariance)
    mean_rank, p_best = drawn_ranks(sign * (value + draws(covariance)).T)
    columns = {
        **{name: np.full(len(rows), text, object) for name, text in criterion._asdict().items()},
        "run_id": rows["run_id"].to_numpy(object),
        "value": value,
        "low": low,
        "high": high,
        "mean_rank": mean_rank,
        "rank_low": rank_low,
        "rank_high": rank_high,
        "p_best": p_best,
        "group": tie_groups(tests.p),
        "all_low": all_low,
        "all_high": all_high,
        **lead,
    }
    return {name: columns[name] for name in SCHEMAS["ranks"]}


def drawn_ranks(value: Array) -> tuple[Array, Array]:
    """Return the mean rank [R] of each run over D draws of the values [R, D], and the share of draws in which it is best."""
    best = value == value.max(0)
    return pd.DataFrame(-value).rank(axis=0).to_numpy(np.float64).mean(1), (best / best.sum(0)).mean(1)


def tie_groups(p: Array) -> NDArray[np.int64]:
    """Divide runs, sorted from best to worst, into tie groups; return the number of each run's group [R], from 1.

    p [R, R]: p-values of `pair_tests`. The anchor is the best run of a group. The next runs join the
    group until a run differs from the anchor at .05; this run is the anchor of the next group. p is Holm-adjusted over
    all pairs of runs, because the anchor was selected by its value. If each run were compared with the previous run
    instead, all runs could end in one group.
    """
    group = np.ones(len(p), np.int64)
    anchor = 0
    while anchor < len(p):
        different = np.flatnonzero(p[anchor, anchor + 1 :] < SIGNIFICANT)
        anchor = anchor + 1 + int(different[0]) if len(different) else len(p)
        group[anchor:] += 1
    return group


def rank_sets(p: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the smallest and the largest rank [R] of each of R runs, sorted from best to worst.

    p [R, R]: p-values of `pair_tests`. The smallest rank is 1 + the number of runs that are better at .05; the largest is R - the
    number of runs that are worse at .05. If no such verdict is wrong, all sets contain the true ranks. So they hold
    together in 95 % of samples, also for the run that is first by chance, and they agree with `tie_groups`. Percentiles of
    the ranks in resamples do not hold for close runs: a resample adds noise to noise, and so spreads equal runs.
    Source: Mogstad, Romano, Shaikh and Wilhelm 2024, doi:10.1093/restud/rdad006.

    >>> low, high = rank_sets(np.array([[np.nan, 0.2, 0.01], [0.2, np.nan, 0.03], [0.01, 0.03, np.nan]]))
    >>> low.tolist(), high.tolist()
    ([1, 1, 3], [2, 2, 3])
    """
    better = np.triu(p < SIGNIFICANT, 1)
    return 1 + better.sum(0), len(p) - better.sum(1)


def leads(value: Array, tests: PairTests) -> dict[str, Array]:
    """Return {column: numbers [R]} for the columns LEADS: the difference of each run to the next run, with two intervals.

    value [R] is sorted from best to worst. tests: the result of `pair_tests`. lead_low and lead_high are the interval of
    this difference alone. lead_all_low and lead_all_high are the interval that is adjusted for all pairs of runs; this
    interval excludes 0 where the p-value of `tests` is below .05.
    """
    columns = {name: np.full(len(value), np.nan) for name in LEADS}
    if len(value) < 2:
        return columns
    alone = differences_of(value[:-1] - value[1:], tests.error.diagonal(1))
    half = tests.half.diagonal(1)
    bounds = (alone.value, alone.low, alone.high, alone.value - half, alone.value + half)
    for name, numbers in zip(LEADS, bounds, strict=True):
        columns[name][:-1] = numbers
    return columns


def mean_gaps(gaps: pd.DataFrame, covariances: Covariances, prefix: str = "gap") -> pd.DataFrame:
    """Build the table `mean_gaps`: each hospital's macro gap averaged over runs, largest first, then "external".

    low and high: interval of the mean, which describes the variation over patients, but not over runs. It combines the
    intervals of the runs' gaps in `gaps`, so perfect separations have an interval, too. Gaps on which no patient has an influence
    count as fully correlated, because the patients are the same. all_low and all_high: interval that is simultaneous over hospitals;
    for "external", the same as low and high. num_worse: number of runs with a gap above 0. num_better: number of runs with a
    gap below 0. A gap counts as above or below 0 if its interval, which is simultaneous over the hospital's runs, is
    entirely above or below 0. prefix: start of the names of the gaps in `covariances`.
    """
    rows: list[tuple[Any, ...]] = []
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    names = [f"{prefix}/{dataset}" for dataset in macro["dataset"]]
    known = [covariances.has(run, name) for run, name in zip(macro["run_id"], names, strict=True)]
    macro = macro[np.array(known, bool)]
    macro = macro.sort_values("run_id", kind="stable")
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        value, lows, highs = of_hospital[["value", "low", "high"]].to_numpy(np.float64).T
        covariance = covariances.of_score(f"{prefix}/{dataset}", of_hospital["run_id"].tolist())
        bounds = mean_interval("gap", value, (lows, highs), correlations(covariance, unknown=1.0))
        all_low, all_high = simultaneous_own("gap", value, lows, highs, covariance)
        worse, better = int((all_low > 0).sum()), int((all_high < 0).sum())
        rows.append((dataset, float(value.mean()), *bounds, len(value), worse, better))
    of_hospitals = [row for row in rows if row[0] != EXTERNAL]
    widened: dict[str, tuple[float, float]] = {}
    if of_hospitals:
        ids = list(dict.fromkeys(macro["run_id"]))
        at = {row[0]: set(macro.loc[macro["dataset"] == row[0], "run_id"]) for row in of_hospitals}
        weights = {
            f"{prefix}/{name}": np.outer(np.arange(len(at)) == k, [run in runs for run in ids]) / len(runs)
            for k, (name, runs) in enumerate(at.items())
        }
        value, lows, highs = (np.array(column, np.float64) for column in list(zip(*of_hospitals, strict=True))[1:4])
        bounds_of_all = simultaneous_own("gap", value, lows, highs, covariances.of_combinations(ids, weights))
        widened = dict(zip(at, zip(*(bound.tolist() for bound in bounds_of_all), strict=True), strict=True))
    rows = [(*row, *widened.get(row[0], row[2:4])) for row in rows]
    rows.sort(key=lambda row: (row[0] == EXTERNAL, -row[1], row[0]))
    return _typed(pd.DataFrame(rows, columns=list(SCHEMAS["mean_gaps"])))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Convert each column to its type (int64, float64 or text), even if the table has no rows."""
    integers = {"rank_low", "rank_high", "group", "num_runs", "num_worse", "num_better"}
    text = {"metric", "dataset", "finding", "run_id"}
    return table.astype({name: "int64" if name in integers else "float64" for name in table if name not in text})
