"""Across runs, by what they were made of: the ablation, surrogate and frontier tables of a report.

Shapes: R runs, B replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.ablation import one_factor, surrogate
from bench.scoring.across_runs.frontier import chance_on_frontier, gain_over_cheaper, pareto
from bench.scoring.across_runs.ranks import Replicates, together
from bench.scoring.bootstrap.intervals import percentile
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]


def metrics(
    scores: pd.DataFrame, gaps: pd.DataFrame, replicates: Replicates
) -> dict[str, tuple[list[str], Array, Array]]:
    """Return, by metric (auroc externally, gap), the runs that have it, its values [R] and its replicates [R, B]."""
    external = scores[(scores["dataset"] == EXTERNAL) & (scores["finding"] == MACRO) & (scores["metric"] == "auroc")]
    external = external[(external["calibrator"] == "none") & (external["subgroup"] == "all")]
    lost = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)]
    out = {}
    for name, drawn, rows in (("auroc", "auroc/external", external), ("gap", "gap/external", lost)):
        fine = rows[np.isfinite(rows["value"].to_numpy(np.float64)) & rows["run_id"].isin(list(replicates))]
        run_ids = [str(r) for r in fine["run_id"] if drawn in replicates[str(r)]]
        if run_ids:
            value = fine.set_index("run_id").loc[run_ids, "value"].to_numpy(np.float64)
            out[name] = (run_ids, value, together(run_ids, drawn, replicates))
    return out


def ablation(
    configs: Mapping[str, Mapping[str, object]], found: Mapping[str, tuple[list[str], Array, Array]]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return the `ablation`, `surrogate` and `factor_shap` tables of runs with these flat configurations."""
    effects: list[tuple[object, ...]] = []
    importance: list[tuple[object, ...]] = []
    single: list[tuple[object, ...]] = []
    for metric, (run_ids, value, drawn) in found.items():
        chosen = [configs[run_id] for run_id in run_ids]
        effects += [(metric, *astuple(effect)) for effect in one_factor(chosen, value, drawn)]
        model = surrogate(chosen, value)
        if np.isfinite(model.r2):
            shares: Mapping[str, float] = model.importance or {"": np.nan}
            quality = (model.r2, model.r2_low, model.num_runs)
            importance += [(metric, factor, share, *quality) for factor, share in shares.items()]
            single += [
                (metric, factor, str(configs[run_id].get(factor)), run_id, each)
                for factor, values in model.shap.items()
                for run_id, each in zip(
                    run_ids, values.tolist(), strict=True
                )  # `metrics` keeps runs with numbers alone
            ]
    columns = (list(SCHEMAS[name]) for name in ("ablation", "surrogate", "factor_shap"))
    made = [pd.DataFrame(rows, columns=c) for rows, c in zip((effects, importance, single), columns, strict=True)]
    return made[0], made[1], made[2]


def frontier(
    costs: Mapping[str, Mapping[str, float]], run_ids: Sequence[str], value: Array, drawn: Array
) -> pd.DataFrame:
    """Return the `frontier` table: for each kind of cost, each run that has it."""
    rows: list[tuple[object, ...]] = []
    for kind, by_run in costs.items():
        amount = np.array([by_run.get(run_id, np.nan) for run_id in run_ids], np.float64)
        known = np.flatnonzero(np.isfinite(amount))
        if not len(known):
            continue
        v, d, a = value[known], drawn[known], amount[known]
        gain, gained = gain_over_cheaper(v, d, a)
        low, high = percentile(gain, gained)
        columns = (a, pareto(v, a), chance_on_frontier(d, a), gain, low, high)
        rows += [(run_ids[i], kind, *cells) for i, *cells in zip(known.tolist(), *columns, strict=True)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["frontier"]))
