"""Ranks of runs with groups of ties, and the mean gap of each hospital.

A run is one trained network; each seed is a run of its own. All runs share the resamples, so every comparison is paired.
Shapes: R runs, B replicates.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.paired_tests import between_all, simultaneous, simultaneous_areas
from bench.scoring.bootstrap.intervals import enough, percentile
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
Replicates = Mapping[str, Mapping[str, NDArray[Any]]]  # run id -> RunScores.replicates

SIGNIFICANT = 0.05


def together(run_ids: Sequence[str], name: str, replicates: Replicates) -> Array:
    """Stack one replicate array of all runs as [R, B].

    Raises ValueError when the runs have different resamples: scored on different patients, cohorts or settings.
    """
    draws = {tuple(replicates[run]["draws"].tolist()) for run in run_ids}
    if len(draws) > 1:
        raise ValueError(
            f"{len(run_ids)} runs were resampled in {len(draws)} different ways: score them on the same images first"
        )
    return np.stack([np.asarray(replicates[run][name], np.float64) for run in run_ids])


def ranks(scores: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Return the `ranks` table, best first: by mean macro AUROC at external hospitals, with groups of statistical ties.

    Runs without that value or its replicates are left out. mean_rank, the 95 % interval rank_low to rank_high and
    p_best (ties shared) are over replicates. A group is opened by its anchor, the best run not yet in one; runs below
    join, in order, until one differs from the anchor at .05, Holm-adjusted over all pairs of runs (the anchor was picked
    by its value); that one opens the next. p_anchor: adjusted p against the run's own anchor, NaN for anchors. all_low and
    all_high bound all external AUROCs at once, hence also that of whichever run is first. The bounds of gaps are for
    `with_gaps` to fill.
    """
    chosen = scores[(scores["dataset"] == EXTERNAL) & (scores["finding"] == MACRO) & (scores["metric"] == "auroc")]
    if chosen["run_id"].duplicated().any():
        raise ValueError("scores hold more than one external AUROC per run: give one mapping, subgroup and selection")
    chosen = chosen[np.isfinite(chosen["value"].to_numpy(np.float64)) & chosen["run_id"].isin(list(replicates))]
    chosen = chosen.sort_values(["value", "run_id"], ascending=[False, True], kind="stable")
    run_ids, value = chosen["run_id"].tolist(), chosen["value"].to_numpy(np.float64)
    if run_ids:
        drawn = together(run_ids, "auroc/external", replicates)
        fine = enough(drawn)
        run_ids, value, drawn = [run for run, keep in zip(run_ids, fine, strict=True) if keep], value[fine], drawn[fine]
    if not run_ids:
        return _frame([], SCHEMAS["ranks"])
    group, p_anchor = tie_groups(value, drawn)
    drawn = drawn[:, np.isfinite(drawn).all(0)]
    place = pd.DataFrame(-drawn).rank(axis=0).to_numpy(np.float64)
    low, high = np.quantile(place, 0.025, axis=1), np.quantile(place, 0.975, axis=1)
    bounds, unknown = simultaneous_areas(value, drawn), np.full((2, len(value)), np.nan)
    best = drawn == drawn.max(0)
    p_best = (best / best.sum(0)).mean(1)
    return _frame(
        zip(
            run_ids,
            place.mean(1),
            np.floor(low),
            np.ceil(high),
            p_best,
            group,
            p_anchor,
            *bounds,
            *unknown,
            strict=True,
        ),
        SCHEMAS["ranks"],
    )


def with_gaps(table: pd.DataFrame, run_ids: Sequence[str], value: Array, replicates: Array) -> pd.DataFrame:
    """Add to the `ranks` table gap_low and gap_high, the simultaneous interval of the mean gaps value [R]."""
    bounds = pd.DataFrame(np.stack(simultaneous(value, replicates), 1), list(run_ids), ["gap_low", "gap_high"])
    of_table = bounds.reindex(table["run_id"])
    return table.assign(gap_low=of_table["gap_low"].to_numpy(), gap_high=of_table["gap_high"].to_numpy())


def tie_groups(value: Array, replicates: Array) -> tuple[NDArray[np.int64], Array]:
    """Group runs, sorted from best to worst: return group [R] from 1, and p against the anchor of the group [R].

    The anchor is the best run of a group. It is fixed, because chaining neighbors would merge all runs into one group.
    """
    group = np.ones(len(value), np.int64)
    p_anchor = np.full(len(value), np.nan)
    p = between_all(value, replicates)
    anchor = 0
    while anchor < len(value):
        apart = np.flatnonzero(p[anchor, anchor + 1 :] < SIGNIFICANT)
        end = anchor + 1 + int(apart[0]) if len(apart) else len(value)
        p_anchor[anchor + 1 : end] = p[anchor, anchor + 1 : end]
        group[end:] += 1
        anchor = end
    return group, p_anchor


def mean_gaps(gaps: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Build the `mean_gaps` table: the mean over runs of the macro gap, per hospital (largest first), then "external".

    low and high: interval of the mean over patients, for these runs. all_low and all_high: simultaneous over hospitals;
    "external" keeps its own. num_worse and num_better count the runs whose gap is above and below 0 by an interval that is
    simultaneous over the runs of that hospital.
    """
    rows: list[tuple[Any, ...]] = []
    means: dict[str, tuple[float, Array]] = {}
    macro = gaps[(gaps["finding"] == MACRO) & np.isfinite(gaps["value"].to_numpy(np.float64))]
    macro = macro[macro["run_id"].isin(list(replicates))].sort_values("run_id", kind="stable")
    for dataset, of_hospital in macro.groupby("dataset", sort=True):
        run_ids, value = of_hospital["run_id"].tolist(), of_hospital["value"].to_numpy(np.float64)
        drawn = together(run_ids, f"gap/{dataset}", replicates)
        low, high = percentile(value.mean(keepdims=True), drawn.mean(0, keepdims=True))
        all_low, all_high = simultaneous(value, drawn)
        worse, better = int((all_low > 0).sum()), int((all_high < 0).sum())
        rows.append((dataset, float(value.mean()), float(low[0]), float(high[0]), len(run_ids), worse, better))
        means[str(dataset)] = (float(value.mean()), drawn.mean(0))
    bounds = _at_once({dataset: mean for dataset, mean in means.items() if dataset != EXTERNAL})
    rows = [(*row, *bounds.get(str(row[0]), row[2:4])) for row in rows]
    rows.sort(key=lambda row: (row[0] == EXTERNAL, -row[1], row[0]))
    return _frame(rows, SCHEMAS["mean_gaps"])


def _at_once(means: Mapping[str, tuple[float, Array]]) -> dict[str, tuple[float, float]]:
    """Compute simultaneous intervals by name from (value, replicates [B]) of each mean."""
    if not means:
        return {}
    values, drawn = zip(*means.values(), strict=True)
    low, high = simultaneous(np.array(values), np.stack(drawn))
    return dict(zip(means, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def _frame(rows: Iterable[tuple[Any, ...]], columns: Sequence[str]) -> pd.DataFrame:
    whole = {"rank_low", "rank_high", "group", "num_runs", "num_worse", "num_better"}
    text = {"run_id", "dataset"}
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.astype({name: "int64" if name in whole else "float64" for name in columns if name not in text})
