"""The scores by which recipes can be ranked: macro scores at every hospital, and external AUROCs of each and of all findings.

Shapes: R rows, B replicates.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.config.registry import Entry
from bench.scoring.across_runs.ranks import Replicates
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.bootstrap.intervals import area_interval
from bench.scoring.gaps.gap import EXTERNAL, MACRO, MACRO_ALL
from bench.scoring.metrics_of_split import AUROC, Key
from bench.scoring.score_run import RANKING_METRICS
from reports.schemas.criterion import Criterion

GAP = "gap"  # the metric of gaps in AUROC
NET_BENEFIT = "net_benefit"  # the metric of net benefit at the stated thresholds
SMALLEST_FIRST = frozenset({GAP, "ece"})  # metrics whose smallest value is best


def scores_to_rank_by(
    scores: pd.DataFrame,
    gaps: pd.DataFrame,
    benefits: pd.DataFrame,
    of_findings: pd.DataFrame,
    internal: str,
    custom: Sequence[Entry],
) -> pd.DataFrame:
    """Return all scores by which recipes can be ranked: a table with the columns of Criterion, run_id, value, low, high.

    scores, gaps, benefits: rows of recipes, as in the tables `scores`, `gaps` and `net_benefit`. of_findings: the result of
    `external_of_findings`. custom: the custom metrics that the registry adds.
    """
    macros = scores[(scores["subgroup"] == "all") & (scores["operating_point"] == "")]
    over_all = macros[(macros["finding"] == MACRO_ALL) & (macros["dataset"] == EXTERNAL)]
    macros = macros[macros["finding"] == MACRO]
    macros = macros[(macros["dataset"] != internal) | (macros["split"] == "test")]
    keys = (AUROC, *RANKING_METRICS, *(Key(entry.name) for entry in custom if entry.name != GAP))
    tables = [macros[(macros["metric"] == key.metric) & (macros["calibrator"] == key.calibrator)] for key in keys]
    of_benefit = benefits[benefits["metric"] == NET_BENEFIT]
    of_benefit = of_benefit[(of_benefit["finding"] == MACRO) | (of_benefit["dataset"] == EXTERNAL)]
    tables += [over_all, gaps[gaps["finding"] == MACRO].assign(metric=GAP), of_findings, of_benefit]
    columns = [*Criterion._fields, "run_id", "value", "low", "high"]
    return pd.concat([table[columns] for table in tables if len(table)] or [macros[columns]], ignore_index=True)


def external_of_findings(gaps: pd.DataFrame, replicates: Replicates, recipes: Recipes) -> pd.DataFrame:
    """Return the external mean AUROC of each finding and recipe: the rows of `gaps` with the columns value, low and high.

    gaps: the table `gaps` of the runs. replicates: those of the runs. A run without a value or replicates is left out.
    """
    rows = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] != MACRO)]
    names = [f"auroc/{EXTERNAL}/{finding}" for finding in rows["finding"]]
    known = np.array([name in replicates.get(run, ()) for run, name in zip(rows["run_id"], names, strict=True)], bool)
    known &= np.isfinite(rows["external"].to_numpy(np.float64))
    rows = rows[known]
    rows = rows.assign(metric=AUROC.metric, value=rows["external"])
    if not len(rows):
        return rows
    value, low, high = rows["value"].to_numpy(np.float64), np.empty(len(rows)), np.empty(len(rows))
    # one finding at a time: the replicates of all findings would need gigabytes in a study of many runs
    for finding, positions in rows.groupby("finding", sort=False).indices.items():
        name = f"auroc/{EXTERNAL}/{finding}"
        replicates_RB = np.stack([replicates[run][name] for run in rows["run_id"].iloc[positions]])
        low[positions], high[positions] = area_interval(value[positions], replicates_RB.astype(np.float64))
    rows = rows.assign(low=low, high=high)
    return recipes.replaced(rows, recipes.averaged(rows, ("finding",), shares=True))
