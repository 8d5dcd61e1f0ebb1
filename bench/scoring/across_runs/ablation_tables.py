"""The ablation, surrogate, factor_shap and frontier tables of a report.

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
    """Collect external macro AUROC and gap: metric -> (run ids, values [R], replicates [R, B]), for runs with a value."""
    external = scores[(scores["dataset"] == EXTERNAL) & (scores["finding"] == MACRO) & (scores["metric"] == "auroc")]
    external = external[(external["calibrator"] == "none") & (external["subgroup"] == "all")]
    external_gaps = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)]
    out = {}
    for name, drawn, rows in (("auroc", "auroc/external", external), ("gap", "gap/external", external_gaps)):
        fine = rows[np.isfinite(rows["value"].to_numpy(np.float64)) & rows["run_id"].isin(list(replicates))]
        run_ids = [str(r) for r in fine["run_id"] if drawn in replicates[str(r)]]
        if run_ids:
            value = fine.set_index("run_id").loc[run_ids, "value"].to_numpy(np.float64)
            out[name] = (run_ids, value, together(run_ids, drawn, replicates))
    return out


def ablation(
    configs: Mapping[str, Mapping[str, object]], values: Mapping[str, tuple[list[str], Array, Array]]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Build the `ablation`, `surrogate` and `factor_shap` tables; `configs` are flat, `values` as `metrics` returns them."""
    effects: list[tuple[object, ...]] = []
    importance: list[tuple[object, ...]] = []
    single: list[tuple[object, ...]] = []
    for metric, (run_ids, value, drawn) in values.items():
        chosen = [configs[run_id] for run_id in run_ids]
        effects += [(metric, *astuple(effect)) for effect in one_factor(chosen, value, drawn)]
        model = surrogate(chosen, value)
        if np.isfinite(model.r2):
            shares: Mapping[str, float] = model.importance or {"": np.nan}
            quality = (model.r2, model.r2_low, model.num_runs)
            importance += [(metric, factor, share, *quality) for factor, share in shares.items()]
            single += [
                (metric, factor, str(configs[run_id].get(factor)), run_id, contribution)
                for factor, contributions in model.shap.items()
                for run_id, contribution in zip(
                    run_ids, contributions.tolist(), strict=True
                )  # `metrics` keeps only runs with numbers
            ]
    columns = (list(SCHEMAS[name]) for name in ("ablation", "surrogate", "factor_shap"))
    made = [pd.DataFrame(rows, columns=c) for rows, c in zip((effects, importance, single), columns, strict=True)]
    return made[0], made[1], made[2]


def frontier(
    costs: Mapping[str, Mapping[str, float]], run_ids: Sequence[str], value: Array, drawn: Array
) -> pd.DataFrame:
    """Build the `frontier` table: one row per kind of cost and run with a known cost."""
    rows: list[tuple[object, ...]] = []
    for kind, by_run in costs.items():
        amount = np.array([by_run.get(run_id, np.nan) for run_id in run_ids], np.float64)
        finite = np.flatnonzero(np.isfinite(amount))
        if not len(finite):
            continue
        v, d, a = value[finite], drawn[finite], amount[finite]
        gain, gained = gain_over_cheaper(v, d, a)
        low, high = percentile(gain, gained)
        columns = (a, pareto(v, a), chance_on_frontier(d, a), gain, low, high)
        rows += [(run_ids[i], kind, *cells) for i, *cells in zip(finite.tolist(), *columns, strict=True)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["frontier"]))
