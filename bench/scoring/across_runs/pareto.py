"""Accurate, robust, interpretable and cheap at once: the runs that no other beats in all four.

Shapes: R runs, B replicates, G goals.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.frontier import chance_undominated, undominated
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]
GOALS = ("auroc", "gap", "maps", "macs")
MOST = 500  # replicates that are looked at


def maps_on_finding(attention: pd.DataFrame, internal: str) -> dict[str, float]:
    """Return, by run id, how many times more heat a finding's outline gets than from a map that only knows the middle.

    Enrichment of the network over that of the map `centre`, on the same images; the mean over the external hospitals that have
    both. 1 is a network whose maps know no more than where the middle is. Runs without outlines are not in it.
    """
    rows = attention[(attention["finding"] == "all") & (attention["region"] == "finding")]
    rows = rows[(rows["metric"] == "enrichment") & (rows["dataset"] != internal)]
    sides = [rows[rows["by"] == by].groupby(["run_id", "dataset"])["value"].mean() for by in ("network", "centre")]
    ratio = (sides[0] / sides[1]).replace([np.inf, -np.inf], np.nan).dropna()
    return {str(run): float(value) for run, value in ratio.groupby("run_id").mean().items()}


def goals(
    found: Mapping[str, tuple[Sequence[str], Array, Array]], macs: Mapping[str, float], maps: Mapping[str, float]
) -> pd.DataFrame:
    """Return the table `goals`: one row for each run that has every goal that any run has; without rows for less than two.

    found: by metric (auroc, gap) the runs, values [R] and replicates [R, B]; in a replicate both are of the same patients,
    operations and maps stay as they are.
    """
    if not {"auroc", "gap"} <= set(found):
        return pd.DataFrame(columns=list(SCHEMAS["goals"]))
    value = {name: dict(zip(ids, values.tolist(), strict=True)) for name, (ids, values, _) in found.items()}
    value |= {"maps": dict(maps), "macs": dict(macs)}
    asked = [goal for goal in GOALS if any(np.isfinite(v) for v in value[goal].values())]
    ids = [r for r in found["auroc"][0] if all(np.isfinite(value[goal].get(r, np.nan)) for goal in asked)]
    if len(ids) < 2:
        return pd.DataFrame(columns=list(SCHEMAS["goals"]))
    sign = {"auroc": 1.0, "gap": -1.0, "maps": 1.0, "macs": -1.0}
    goal_RG = np.array([[sign[goal] * value[goal][run_id] for goal in asked] for run_id in ids])
    drawn = {}
    for name in ("auroc", "gap"):
        known, _, replicates = found[name]
        place = {run_id: k for k, run_id in enumerate(known)}
        drawn[asked.index(name)] = sign[name] * replicates[[place[run_id] for run_id in ids], :MOST]
    columns = {goal: [value[goal].get(run_id, np.nan) for run_id in ids] for goal in GOALS}
    frame = pd.DataFrame({"run_id": ids, "goal": " ".join(asked), **columns})
    frame["on_front"], frame["p_front"] = undominated(goal_RG), chance_undominated(goal_RG, drawn)
    return frame[list(SCHEMAS["goals"])]
