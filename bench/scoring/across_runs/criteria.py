"""The scores by which recipes can be ranked: macro scores at every hospital, and external AUROCs of each and of all findings."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from bench.config.registry import Entry
from bench.scoring.across_runs.covariances import Values
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.area_intervals import bounds_of_scales, scales_of
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metrics_of_split import AUROC, Key
from bench.scoring.score_run import RANKING_METRICS
from reports.schemas.criterion import Criterion
from reports.schemas.select import select

GAP = "gap"  # the metric of gaps in AUROC
SMALLEST_FIRST = frozenset({GAP, "ece"})  # metrics whose smallest value is best


def scores_to_rank_by(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    further: Iterable[pd.DataFrame],
    of_findings: pd.DataFrame,
    internal: str,
    custom: Sequence[Entry],
) -> pd.DataFrame:
    """Return all scores by which recipes can be ranked: a table with the columns of Criterion, run_id, value, low, high.

    scores, gaps: rows of recipes, as in the tables `scores` and `gaps`. further: rows of recipes of the criteria of extensions.
    of_findings: the result of `external_of_findings`. custom: the custom metrics that the registry adds.
    """
    plain = scores[scores["operating_point"] == ""]
    macros = select(plain, metric=None, calibrator=None, internal=internal)
    keys = (AUROC, *RANKING_METRICS, *(Key(entry.name) for entry in custom if entry.name != GAP))
    tables = [select(macros, key.metric, calibrator=key.calibrator) for key in keys]
    tables += [gaps[gaps["finding"] == MACRO].assign(metric=GAP), of_findings]
    tables += [table[(table["finding"] == MACRO) | (table["dataset"] == EXTERNAL)] for table in further]
    columns = [*Criterion._fields, "run_id", "value", "low", "high"]
    return pd.concat([table[columns] for table in tables if len(table)] or [macros[columns]], ignore_index=True)


def external_of_findings(gaps: pd.DataFrame, scores: pd.DataFrame, values: Values, recipes: Recipes) -> pd.DataFrame:
    """Return the external mean AUROC of each finding and recipe: the rows of `gaps` with the columns value, low and high.

    The finding that most hospitals score is first; of several, that with most positive images.
    gaps, scores: the tables of the runs. values: the stored values of the runs. A run without this value is left out.
    The interval of a mean combines the intervals of the hospitals, whose patients are independent, as `mean_interval` does.
    """
    rows = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] != MACRO)]
    names = [f"auroc/{EXTERNAL}/{finding}" for finding in rows["finding"]]
    known = np.array([name in values.get(run, ()) for run, name in zip(rows["run_id"], names, strict=True)], bool)
    known &= np.isfinite(rows["external"].to_numpy(np.float64))
    rows = rows[known]
    rows = rows.assign(metric=AUROC.metric, value=rows["external"])
    if not len(rows):
        return rows
    key = ["run_id", "dataset", "finding"]
    hospitals = gaps.loc[(gaps["dataset"] != EXTERNAL) & np.isfinite(gaps["value"].to_numpy(np.float64)), key]
    of_finding = scores[(scores["metric"] == AUROC.metric) & (scores["subgroup"] == "all")]
    hospitals = hospitals.merge(of_finding[[*key, "value", "low", "high"]], on=key)
    scales = scales_of(AUROC.metric, *hospitals[["value", "low", "high"]].to_numpy(np.float64).T)
    of_mean = hospitals[["run_id", "finding"]].assign(low=scales[0], high=scales[1]).groupby(["run_id", "finding"])
    mean_scales = of_mean.sum().div(of_mean.size() ** 2, axis=0)
    mean_scales = mean_scales.reindex(pd.MultiIndex.from_frame(rows[["run_id", "finding"]]))
    low, high = bounds_of_scales(AUROC.metric, rows["value"].to_numpy(np.float64), mean_scales.to_numpy(np.float64).T)
    rows = rows.assign(low=low, high=high)
    counts = pd.DataFrame(
        {"hospitals": hospitals.groupby("finding").size(), "images": rows.groupby("finding")["num_positive"].sum()}
    )
    place = {
        finding: i
        for i, finding in enumerate(counts.sort_values(["hospitals", "images"], ascending=False, kind="stable").index)
    }
    rows = recipes.replaced(rows, recipes.averaged(rows, ("finding",)))
    return rows.sort_values("finding", key=lambda names: names.map(place), kind="stable")
