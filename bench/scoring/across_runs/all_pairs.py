"""Differences between the best runs, pair by pair on the same resampled patients, for the side-by-side view.

Shapes: R runs, P pairs, B replicates.
"""

import numpy as np
import pandas as pd

from bench.scoring.across_runs.paired_tests import all_pairs
from bench.scoring.across_runs.ranks import Replicates, stack_replicates
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

MOST = 40  # number of best runs by external AUROC: 780 pairs. All pairs of 500 runs would be 124,750, too many to store


def pairs(scores: pd.DataFrame, gaps: pd.DataFrame, replicates: Replicates, internal: str) -> pd.DataFrame:
    """Build the table `pairs`: first minus second for all pairs of the MOST best runs; first has the higher external AUROC.

    value is the difference of macro AUROCs (external mean, internal test split, each hospital) or of macro gaps. low and
    high are its percentile interval, not adjusted for the number of pairs. Runs without a value in a cohort have no row.
    """
    tables = {"auroc": _points(scores, internal), "gap": gaps[gaps["finding"] == MACRO]}
    external = tables["auroc"][tables["auroc"]["dataset"] == EXTERNAL].sort_values(
        ["value", "run_id"], ascending=[False, True]
    )
    best = [
        str(r) for r, v in zip(external["run_id"], external["value"], strict=True) if np.isfinite(v) and r in replicates
    ]
    best = best[:MOST]
    frames: list[pd.DataFrame] = []
    for metric, table in tables.items():
        for dataset, rows in table.groupby("dataset", sort=False):
            value = dict(zip(rows["run_id"], rows["value"], strict=True))
            name = f"{metric}/{dataset}"
            runs = [r for r in best if np.isfinite(value.get(r, np.nan)) and name in replicates[r]]
            if len(runs) < 2:
                continue
            value_R = np.array([value[r] for r in runs], np.float64)
            first, second, differences = all_pairs(value_R, stack_replicates(runs, name, replicates))
            run_ids = np.array(runs, object)
            columns = (
                run_ids[first],
                run_ids[second],
                dataset,
                metric,
                differences.value,
                differences.low,
                differences.high,
            )
            frames.append(pd.DataFrame(dict(zip(SCHEMAS["pairs"], columns, strict=True))))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(SCHEMAS["pairs"]))


def _points(scores: pd.DataFrame, internal: str) -> pd.DataFrame:
    """Select macro AUROC rows: internal test split, headline split of each hospital, and external mean."""
    rows = scores[(scores["finding"] == MACRO) & (scores["metric"] == "auroc") & (scores["subgroup"] == "all")]
    return rows[(rows["dataset"] != internal) | (rows["split"] == "test")]
