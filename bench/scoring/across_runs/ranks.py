"""Ranks of runs with groups of ties, and the mean gap of each hospital.

A report ranks recipes (means over seeds). The module `recipes` computes the replicates of recipes, which contain the
variation over patients and over seeds. All recipes share the resamples of patients, so every comparison is paired.
Shapes: R runs or recipes, B replicates.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import (
    PairTests,
    differences_of,
    own_error,
    pair_tests,
    simultaneous,
    simultaneous_own,
)
from bench.scoring.bootstrap.area_intervals import mean_interval
from bench.scoring.bootstrap.intervals import enough
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.criterion import DEFAULT, Criterion
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
Replicates = Mapping[str, Mapping[str, NDArray[Any]]]  # run id -> name of a macro -> its replicates [B]

SIGNIFICANT = 0.05
LEADS = ("lead", "lead_low", "lead_high", "lead_all_low", "lead_all_high")


def stack_replicates(run_ids: Sequence[str], name: str, replicates: Replicates) -> Array:
    """Return the replicates called `name` of all runs as one array [R, B].

    Raises ValueError if the runs have different resamples, because patients, cohorts or settings differ.
    """
    draws = {tuple(replicates[run]["draws"].tolist()) for run in run_ids}
    if len(draws) > 1:
        raise ValueError(
            f"{len(run_ids)} runs were resampled in {len(draws)} different ways: score them on the same images first"
        )
    return np.stack([np.asarray(replicates[run][name], np.float64) for run in run_ids])


def rankings(scores: pd.DataFrame, replicates: Replicates, smallest_first: Collection[str]) -> pd.DataFrame:
    """Build the table `ranks`: the result of the function `ranks` for each criterion; the default criterion comes first.

    The default criterion is DEFAULT, or the internal macro AUROC if no external hospital was tested.

    scores: the rows of all criteria, with the columns of Criterion, run_id, value, low and high. smallest_first:
    metrics of which the smallest value is best. Every ranking has only runs that are ranked by the default criterion. A ranking by
    another criterion is left out if fewer than two of these runs have the value, or if a run with the value has no
    replicates.
    """
    rows_of = {Criterion(*map(str, key)): rows for key, rows in scores.groupby(list(Criterion._fields), sort=False)}
    macros = (criterion for criterion in rows_of if criterion[::2] == DEFAULT[::2])
    first = DEFAULT if DEFAULT in rows_of else next(macros, DEFAULT)
    default = ranks(rows_of.pop(first, scores[:0]), replicates, first)
    others = []
    for criterion, all_rows in rows_of.items():
        rows = all_rows[
            all_rows["run_id"].isin(default["run_id"]) & np.isfinite(all_rows["value"].to_numpy(np.float64))
        ]
        run_ids = rows["run_id"]
        if len(run_ids) > 1 and all(criterion.replicates in replicates.get(run, ()) for run in run_ids):
            others.append(_columns(rows, replicates, criterion, criterion.metric in smallest_first))
    if not others:
        return default
    columns = {name: np.concatenate([table[name] for table in others]) for name in SCHEMAS["ranks"]}
    return pd.concat([default, _typed(pd.DataFrame(columns))], ignore_index=True)


def ranks(
    scores: pd.DataFrame, replicates: Replicates, criterion: Criterion = DEFAULT, smallest_first: bool = False
) -> pd.DataFrame:
    """Rank runs by one criterion, best first, with tie groups; `smallest_first`: the smallest value is best.

    Runs without this value or without valid replicates are left out. value, low and high are copied from `scores`.
    mean_rank is the mean of the rank over replicates. rank_low and rank_high: see `rank_sets`. p_best: share of replicates in
    which the run is best; a replicate with several best runs counts in equal parts for each of them. It is not the
    probability that the run is truly best. group: number of the run's tie group, from 1. p_anchor: adjusted p of the difference to the anchor (the best
    run of the group), NaN for anchors. all_low and all_high: interval of the value that is simultaneous over all runs,
    so it is also valid for the run that is first by chance. lead: difference to the next row, positive if the row is
    better, with its own interval (lead_low, lead_high) and an interval that is adjusted for all pairs (lead_all_low,
    lead_all_high); NaN in the last row. Raises ValueError if `scores` has several rows of one run for the criterion.
    """
    return _typed(pd.DataFrame(_columns(scores, replicates, criterion, smallest_first)))


def _columns(
    scores: pd.DataFrame, replicates: Replicates, criterion: Criterion, smallest_first: bool
) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of `ranks`."""
    rows = criterion.rows(scores)
    if rows["run_id"].duplicated().any():
        raise ValueError(
            f"the scores have more than one {criterion.replicates} per run: select one mapping, subgroup and selection"
        )
    rows = rows[np.isfinite(rows["value"].to_numpy(np.float64)) & rows["run_id"].isin(list(replicates))]
    rows = rows.sort_values(["value", "run_id"], ascending=[smallest_first, True], kind="stable")
    if len(rows):
        replicates_RB = stack_replicates(rows["run_id"].tolist(), criterion.replicates, replicates)
        usable = enough(replicates_RB)
        rows, replicates_RB = rows[usable], replicates_RB[usable]
    if not len(rows):
        return {name: np.empty(0, object) for name in SCHEMAS["ranks"]}
    value, sign = rows["value"].to_numpy(np.float64), -1.0 if smallest_first else 1.0
    # noise makes the replicates of the metrics in BIASED too large, so the replicates are shifted: their mean becomes
    # the value
    if criterion.metric in BIASED:
        replicates_RB = replicates_RB + (value - np.nanmean(replicates_RB, axis=1))[:, None]
    low, high = rows["low"].to_numpy(np.float64), rows["high"].to_numpy(np.float64)
    # intervals of the metrics in BIASED also allow for a bias, which is about the same in all runs
    is_biased = criterion.metric in BIASED
    tests = pair_tests(value, replicates_RB, None if is_biased else own_error(value, low, high))
    group, p_anchor = tie_groups(tests.p)
    lead = leads(sign * value, tests)
    replicates_RB = replicates_RB[:, np.isfinite(replicates_RB).all(0)]
    rank_RB = pd.DataFrame(-sign * replicates_RB).rank(axis=0).to_numpy(np.float64)
    rank_low, rank_high = rank_sets(tests.p)
    all_low, all_high = (
        simultaneous(value, replicates_RB)
        if is_biased
        else simultaneous_own(criterion.metric, value, low, high, replicates_RB)
    )
    best = sign * replicates_RB == (sign * replicates_RB).max(0)
    columns = {
        **{name: np.full(len(rows), text, object) for name, text in criterion._asdict().items()},
        "run_id": rows["run_id"].to_numpy(object),
        "value": value,
        "low": low,
        "high": high,
        "mean_rank": rank_RB.mean(1),
        "rank_low": rank_low,
        "rank_high": rank_high,
        "p_best": (best / best.sum(0)).mean(1),
        "group": group,
        "p_anchor": p_anchor,
        "all_low": all_low,
        "all_high": all_high,
        **lead,
    }
    return {name: columns[name] for name in SCHEMAS["ranks"]}


def tie_groups(p: Array) -> tuple[NDArray[np.int64], Array]:
    """Divide runs, sorted from best to worst, into tie groups.

    p [R, R]: p-values of `pair_tests`. Return the number of each run's group [R], from 1, and the p-value [R] of the
    run's difference from the anchor, NaN for anchors. The anchor is the best run of a group. The next runs join the
    group until a run differs from the anchor at .05; this run is the anchor of the next group. p is Holm-adjusted over
    all pairs of runs, because the anchor was selected by its value. If each run were compared with the previous run
    instead, all runs could end in one group.
    """
    group = np.ones(len(p), np.int64)
    p_anchor = np.full(len(p), np.nan)
    anchor = 0
    while anchor < len(p):
        different = np.flatnonzero(p[anchor, anchor + 1 :] < SIGNIFICANT)
        end = anchor + 1 + int(different[0]) if len(different) else len(p)
        p_anchor[anchor + 1 : end] = p[anchor, anchor + 1 : end]
        group[end:] += 1
        anchor = end
    return group, p_anchor


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
    alone, half = differences_of(value[:-1] - value[1:], tests.error.diagonal(1)), tests.half.diagonal(1)
    bounds = (alone.value, alone.low, alone.high, alone.value - half, alone.value + half)
    for name, numbers in zip(LEADS, bounds, strict=True):
        columns[name][:-1] = numbers
    return columns


def mean_gaps(gaps: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Build the table `mean_gaps`: each hospital's macro gap averaged over runs, largest first, then "external".

    low and high: interval of the mean, which describes the variation over patients, but not over runs. It combines the
    intervals of the runs' gaps in `gaps`, so perfect separations have an interval, too. Gaps whose replicates do not vary count as
    fully correlated, because the patients are the same. all_low and all_high: interval that is simultaneous over hospitals;
    for "external", the same as low and high. num_worse: number of runs with a gap above 0. num_better: number of runs with a
    gap below 0. A gap counts as above or below 0 if its interval, which is simultaneous over the hospital's runs, is
    entirely above or below 0.
    """
    rows: list[tuple[Any, ...]] = []
    means: dict[str, tuple[float, float, float, Array]] = {}
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(list(replicates))].sort_values("run_id", kind="stable")
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        run_ids, value = of_hospital["run_id"].tolist(), of_hospital["value"].to_numpy(np.float64)
        replicates_RB = stack_replicates(run_ids, f"gap/{dataset}", replicates)
        lows, highs = of_hospital[["low", "high"]].to_numpy(np.float64).T
        low, high = mean_interval("gap", value, (lows, highs), replicates_RB, correlation=1.0)
        all_low, all_high = simultaneous_own("gap", value, lows, highs, replicates_RB)
        worse, better = int((all_low > 0).sum()), int((all_high < 0).sum())
        rows.append((dataset, float(value.mean()), low, high, len(run_ids), worse, better))
        means[str(dataset)] = (float(value.mean()), low, high, replicates_RB.mean(0))
    widened = _simultaneous_intervals({dataset: mean for dataset, mean in means.items() if dataset != EXTERNAL})
    rows = [(*row, *widened.get(str(row[0]), row[2:4])) for row in rows]
    rows.sort(key=lambda row: (row[0] == EXTERNAL, -row[1], row[0]))
    return _typed(pd.DataFrame(rows, columns=list(SCHEMAS["mean_gaps"])))


def _simultaneous_intervals(means: Mapping[str, tuple[float, float, float, Array]]) -> dict[str, tuple[float, float]]:
    """Compute simultaneous intervals, name -> (low, high), of `means`: name -> (value, low, high, replicates [B])."""
    if not means:
        return {}
    value, own_low, own_high, replicates_of_means = zip(*means.values(), strict=True)
    own = np.array(value), np.array(own_low), np.array(own_high)
    low, high = simultaneous_own("gap", own[0], own[1], own[2], np.stack(replicates_of_means))
    return dict(zip(means, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Convert each column to its type (int64, float64 or text), even if the table has no rows."""
    integers = {"rank_low", "rank_high", "group", "num_runs", "num_worse", "num_better"}
    text = {"metric", "dataset", "finding", "run_id"}
    return table.astype({name: "int64" if name in integers else "float64" for name in table if name not in text})
