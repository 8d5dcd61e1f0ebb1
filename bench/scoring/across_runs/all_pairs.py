"""Differences between any two of the best runs, over the same resampled patients: what a side-by-side view needs.

Shapes: R runs, P pairs, B replicates.
"""

import numpy as np
import pandas as pd

from bench.scoring.across_runs.paired_tests import all_pairs
from bench.scoring.across_runs.ranks import Replicates, together
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

MOST = 40  # runs, the best externally: 780 pairs; all pairs of 500 runs would be 124,750, of which nobody looks at more than a few


def pairs(scores: pd.DataFrame, gaps: pd.DataFrame, replicates: Replicates, internal: str) -> pd.DataFrame:
    """Return the `pairs` table: first minus second, the better run externally first, of at most MOST runs.

    value is the difference of macro AUROCs (externally, the internal test split, each hospital) or macro gaps; low and high are the
    percentile interval of this difference alone. Runs without a number in a place have no row there.
    """
    tables = {"auroc": _points(scores, internal), "gap": gaps[gaps["finding"] == MACRO]}
    external = tables["auroc"][tables["auroc"]["dataset"] == EXTERNAL].sort_values(
        ["value", "run_id"], ascending=[False, True]
    )
    best = [
        str(r) for r, v in zip(external["run_id"], external["value"], strict=True) if np.isfinite(v) and r in replicates
    ]
    best = best[:MOST]
    found: list[pd.DataFrame] = []
    for metric, table in tables.items():
        for dataset, rows in table.groupby("dataset", sort=False):
            value = dict(zip(rows["run_id"], rows["value"], strict=True))
            name = f"{metric}/{dataset}"
            runs = [r for r in best if np.isfinite(value.get(r, np.nan)) and name in replicates[r]]
            if len(runs) < 2:
                continue
            point = np.array([value[r] for r in runs], np.float64)
            first, second, told = all_pairs(point, together(runs, name, replicates))
            named = np.array(runs, object)
            columns = (named[first], named[second], dataset, metric, told.value, told.low, told.high)
            found.append(pd.DataFrame(dict(zip(SCHEMAS["pairs"], columns, strict=True))))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(SCHEMAS["pairs"]))


def _points(scores: pd.DataFrame, internal: str) -> pd.DataFrame:
    """Return the macro AUROC of each run and place: the internal test split, the headline split of a hospital, and externally."""
    rows = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["subgroup"] == "all")]
    return rows[(rows["dataset"] != internal) | (rows["split"] == "test")]
