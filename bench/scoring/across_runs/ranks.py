"""Ranks of runs with groups of ties, and the mean gap of each hospital.

A report ranks recipes: their replicates have the variation over patients and over seeds (`recipes`). All share the resamples
of patients, so every comparison is paired.
Shapes: R runs or recipes, B replicates.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from bench.scoring.across_runs.paired_tests import p_of_all_pairs, p_value, simultaneous, simultaneous_areas
from bench.scoring.bootstrap.intervals import enough, percentile
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
Replicates = Mapping[str, Mapping[str, NDArray[Any]]]  # run id -> name of a macro -> its replicates [B]

SIGNIFICANT = 0.05


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


def ranks(scores: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Build the table `ranks`: runs sorted by mean macro AUROC at external hospitals, best first, with tie groups.

    Runs without this value or without valid replicates are left out. mean_rank is the mean over replicates; rank_low and
    rank_high are the 95 % interval. p_best: share of replicates in which the run is best; if several runs are equally good,
    they share the replicate. group: number of the run's tie group, from 1. p_anchor: adjusted p of the difference to
    the anchor (the best run of the group), NaN for anchors. all_low and all_high are simultaneous over all external
    AUROCs, so they are also valid for the run that is first by chance. gap_low and gap_high are NaN until `with_gaps`
    fills them in. lead: difference to the next row, with lead_low and lead_high; NaN in the last row.
    """
    rows = scores[(scores["dataset"] == EXTERNAL) & (scores["finding"] == MACRO) & (scores["metric"] == "auroc")]
    if rows["run_id"].duplicated().any():
        raise ValueError(
            "the scores have more than one external AUROC per run: select one mapping, subgroup and selection"
        )
    rows = rows[np.isfinite(rows["value"].to_numpy(np.float64)) & rows["run_id"].isin(list(replicates))]
    rows = rows.sort_values(["value", "run_id"], ascending=[False, True], kind="stable")
    run_ids, value = rows["run_id"].tolist(), rows["value"].to_numpy(np.float64)
    if run_ids:
        replicates_RB = stack_replicates(run_ids, "auroc/external", replicates)
        usable = enough(replicates_RB)
        run_ids, value, replicates_RB = (
            [run for run, keep in zip(run_ids, usable, strict=True) if keep],
            value[usable],
            replicates_RB[usable],
        )
    if not run_ids:
        return _frame([], SCHEMAS["ranks"])
    p = p_of_all_pairs(value, replicates_RB)
    group, p_anchor = tie_groups(p)
    replicates_RB = replicates_RB[:, np.isfinite(replicates_RB).all(0)]
    rank_RB = pd.DataFrame(-replicates_RB).rank(axis=0).to_numpy(np.float64)
    low, high = np.quantile(rank_RB, 0.025, axis=1), np.quantile(rank_RB, 0.975, axis=1)
    bounds, gap_bounds = simultaneous_areas(value, replicates_RB), np.full((2, len(value)), np.nan)
    best = replicates_RB == replicates_RB.max(0)
    p_best = (best / best.sum(0)).mean(1)
    return _frame(
        zip(
            run_ids,
            rank_RB.mean(1),
            np.floor(low),
            np.ceil(high),
            p_best,
            group,
            p_anchor,
            *bounds,
            *gap_bounds,
            *leads(value, replicates_RB, p),
            strict=True,
        ),
        SCHEMAS["ranks"],
    )


def with_gaps(table: pd.DataFrame, run_ids: Sequence[str], value: Array, replicates: Array) -> pd.DataFrame:
    """Return the `ranks` table with gap_low and gap_high: simultaneous intervals of the runs' mean gaps, value [R]."""
    bounds = pd.DataFrame(np.stack(simultaneous(value, replicates), 1), list(run_ids), ["gap_low", "gap_high"])
    of_table = bounds.reindex(table["run_id"])
    return table.assign(gap_low=of_table["gap_low"].to_numpy(), gap_high=of_table["gap_high"].to_numpy())


def tie_groups(p: Array) -> tuple[NDArray[np.int64], Array]:
    """Divide runs, sorted from best to worst, into tie groups. p [R, R]: the result of `p_of_all_pairs`.

    Return the number of each run's group [R], from 1, and the p-value [R] of its difference to the anchor. The anchor is the
    best run of a group. The next runs join the group until a run differs from the anchor at .05; this run is the anchor of
    the next group. p is Holm-adjusted over all pairs of runs, because the anchor was selected by its value. Comparing
    neighbors instead of the anchor could merge all runs into one group.
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


def leads(value: Array, replicates: Array, adjusted: Array) -> tuple[Array, Array, Array]:
    """Return the difference of each run to the next one, in value [R] sorted from best to worst, and its interval.

    adjusted [R, R]: the result of `p_of_all_pairs`. The interval is adjusted like this p-value, so it excludes 0 where the
    p-value is below .05.
    """
    difference, low, high = (np.full(len(value), np.nan) for _ in range(3))
    for first in range(len(value) - 1):
        second = first + 1
        error = float(np.nanstd(replicates[first] - replicates[second], ddof=1))
        difference[first] = value[first] - value[second]
        plain = float(p_value(difference[first:second], (replicates[first] - replicates[second])[None])[0])
        num_pairs = len(value) * (len(value) - 1) / 2
        times = min(max(adjusted[first, second] / plain, 1.0), num_pairs) if plain > 0 else num_pairs
        half = float(ndtri(1 - SIGNIFICANT / 2 / times)) * error
        low[first], high[first] = difference[first] - half, difference[first] + half
    return difference, low, high


def mean_gaps(gaps: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Build the table `mean_gaps`: each hospital's macro gap averaged over runs, largest first, then "external".

    low and high: interval of the mean, which describes the variation over patients with these runs fixed. all_low and
    all_high: interval that is simultaneous over hospitals; for "external" it equals low and high. num_worse and
    num_better: numbers of runs whose gap has an interval entirely above 0, and entirely below 0. These intervals are
    simultaneous over the hospital's runs.
    """
    rows: list[tuple[Any, ...]] = []
    means: dict[str, tuple[float, Array]] = {}
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(list(replicates))].sort_values("run_id", kind="stable")
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        run_ids, value = of_hospital["run_id"].tolist(), of_hospital["value"].to_numpy(np.float64)
        replicates_RB = stack_replicates(run_ids, f"gap/{dataset}", replicates)
        low, high = percentile(value.mean(keepdims=True), replicates_RB.mean(0, keepdims=True))
        all_low, all_high = simultaneous(value, replicates_RB)
        worse, better = int((all_low > 0).sum()), int((all_high < 0).sum())
        rows.append((dataset, float(value.mean()), float(low[0]), float(high[0]), len(run_ids), worse, better))
        means[str(dataset)] = (float(value.mean()), replicates_RB.mean(0))
    bounds = _simultaneous_intervals({dataset: mean for dataset, mean in means.items() if dataset != EXTERNAL})
    rows = [(*row, *bounds.get(str(row[0]), row[2:4])) for row in rows]
    rows.sort(key=lambda row: (row[0] == EXTERNAL, -row[1], row[0]))
    return _frame(rows, SCHEMAS["mean_gaps"])


def _simultaneous_intervals(means: Mapping[str, tuple[float, Array]]) -> dict[str, tuple[float, float]]:
    """Compute simultaneous intervals: name -> (low, high). means: name -> (value, replicates [B])."""
    if not means:
        return {}
    values, replicates_of_means = zip(*means.values(), strict=True)
    low, high = simultaneous(np.array(values), np.stack(replicates_of_means))
    return dict(zip(means, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _frame(rows: Iterable[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    integers = {"rank_low", "rank_high", "group", "num_runs", "num_worse", "num_better"}
    text = {"run_id", "dataset"}
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.astype({name: "int64" if name in integers else "float64" for name in columns if name not in text})
