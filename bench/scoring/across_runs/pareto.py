"""The table `goals`: runs that no other run dominates in external AUROC, gap, heat maps and number of operations.

Shapes: R runs, B replicates, G goals.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.scoring.across_runs.ablation_tables import MetricOfRuns
from bench.scoring.across_runs.frontier import chance_undominated, undominated
from reports.schemas.tables import SCHEMAS

GOALS = ("auroc", "gap", "maps", "macs")
MOST = 500  # maximum number of replicates that are used


def maps_on_finding(attention: pd.DataFrame, internal: str) -> dict[str, float]:
    """Compute for each run how well its heat maps localize findings, relative to the `centre` baseline: run id -> ratio.

    The baseline is a fixed map of the image center. The ratio is the enrichment of the run's maps in the outlines of
    findings, divided by the enrichment of the baseline; the result is the mean of this ratio over external hospitals. A
    ratio of 1 means that the maps localize no better than the baseline. Runs without these measurements are left out.
    attention: the table `attention`.
    """
    rows = attention[(attention["finding"] == "all") & (attention["region"] == "finding")]
    rows = rows[(rows["metric"] == "enrichment") & (rows["dataset"] != internal)]
    sides = [
        rows[rows["by"] == map_source].groupby(["run_id", "dataset"])["value"].mean()
        for map_source in ("network", "centre")
    ]
    ratio = (sides[0] / sides[1]).replace([np.inf, -np.inf], np.nan).dropna()
    return {str(run): float(value) for run, value in ratio.groupby("run_id").mean().items()}


def goals(values: Mapping[str, MetricOfRuns], macs: Mapping[str, float], maps: Mapping[str, float]) -> pd.DataFrame:
    """Build the table `goals`: one row for each run with a value for every goal in use; empty with fewer than two rows.

    A goal is in use if at least one run has a value for this goal. The table is also empty if no run has an external
    AUROC or no run has a gap. values: the result of `ablation_tables.metrics`. macs: run id -> multiply-accumulate
    operations. maps: the result of `maps_on_finding`. maps and macs have no replicates.
    """
    if not {"auroc", "gap"} <= set(values):
        return pd.DataFrame(columns=list(SCHEMAS["goals"]))
    value = {name: dict(zip(ids, of_runs.tolist(), strict=True)) for name, (ids, of_runs, *_) in values.items()}
    value |= {"maps": dict(maps), "macs": dict(macs)}
    used = [goal for goal in GOALS if any(np.isfinite(v) for v in value[goal].values())]
    ids = [r for r in values["auroc"][0] if all(np.isfinite(value[goal].get(r, np.nan)) for goal in used)]
    if len(ids) < 2:
        return pd.DataFrame(columns=list(SCHEMAS["goals"]))
    sign = {"auroc": 1.0, "gap": -1.0, "maps": 1.0, "macs": -1.0}
    goal_RG = np.array([[sign[goal] * value[goal][run_id] for goal in used] for run_id in ids])
    replicates_of_column = {}
    for name in ("auroc", "gap"):
        run_ids, replicates = values[name].run_ids, values[name].replicates
        row = {run_id: k for k, run_id in enumerate(run_ids)}
        replicates_of_column[used.index(name)] = sign[name] * replicates[[row[run_id] for run_id in ids], :MOST]
    columns = {goal: [value[goal].get(run_id, np.nan) for run_id in ids] for goal in GOALS}
    frame = pd.DataFrame({"run_id": ids, "goal": " ".join(used), **columns})
    frame["on_front"], frame["p_front"] = undominated(goal_RG), chance_undominated(goal_RG, replicates_of_column)
    return frame[list(SCHEMAS["goals"])]
