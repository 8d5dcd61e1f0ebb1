"""Tables `ablation`, `surrogate`, `factor_shap` and `frontier` of a report.

Shapes: R runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.across_runs.ablation import one_factor, surrogate
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.frontier import gain_over_cheaper, pareto
from bench.scoring.across_runs.paired_tests import own_error
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]


class MetricOfRuns(NamedTuple):
    """Values of one metric for R runs, which are scored on the same patients."""

    run_ids: list[str]
    value: Array  # [R]
    covariance: Array  # [R, R]
    own: Array | None = None  # [R]: standard error of each value's own interval


def metrics(scores: pd.DataFrame, gaps: pd.DataFrame, covariances: Covariances) -> dict[str, MetricOfRuns]:
    """Return the values of two metrics by name: "auroc" (external macro AUROC) and "gap" (external macro gap).

    A metric has only the runs with a value and stored influences; a metric without any such run is left out.
    """
    external = select(scores, dataset=EXTERNAL)
    external_gaps = gaps[(gaps["dataset"] == EXTERNAL) & (gaps["finding"] == MACRO)]
    metric_of_runs = {}
    for name, score, rows in (("auroc", "auroc/external", external), ("gap", "gap/external", external_gaps)):
        finite = rows[np.isfinite(rows["value"].to_numpy(np.float64))]
        run_ids = [str(r) for r in finite["run_id"] if covariances.has(str(r), score)]
        if run_ids:
            value, low, high = finite.set_index("run_id").loc[run_ids, ["value", "low", "high"]].to_numpy(np.float64).T
            own = own_error(value, low, high)
            metric_of_runs[name] = MetricOfRuns(run_ids, value, covariances.of_score(score, run_ids), own)
    return metric_of_runs


def ablation(
    configs: Mapping[str, Mapping[str, object]], values: Mapping[str, MetricOfRuns], num_runs: Mapping[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Build the tables `ablation`, `surrogate` and `factor_shap`.

    configs: recipe id -> configuration (dotted key -> value). values: the result of `metrics`. num_runs: recipe id ->
    number of seeds.
    """
    effects: list[tuple[object, ...]] = []
    importance: list[tuple[object, ...]] = []
    contributions_of_runs: list[tuple[object, ...]] = []
    for metric, (run_ids, value, covariance, own) in values.items():
        configs_of_runs = [configs[run_id] for run_id in run_ids]
        sizes = [num_runs[run_id] for run_id in run_ids]
        effects += [(metric, *astuple(effect)) for effect in one_factor(configs_of_runs, value, covariance, sizes, own)]
        model = surrogate(configs_of_runs, value)
        if np.isfinite(model.r2):
            shares: Mapping[str, float] = model.importance or {"": np.nan}
            quality = (model.r2, model.r2_low, model.num_runs)
            importance += [(metric, factor, share, *quality) for factor, share in shares.items()]
            contributions_of_runs += [
                (metric, factor, str(configs[run_id].get(factor)), run_id, contribution)
                for factor, contributions in model.shap.items()
                for run_id, contribution in zip(run_ids, contributions.tolist(), strict=True)
            ]
    return (
        pd.DataFrame(effects, columns=list(SCHEMAS["ablation"])),
        pd.DataFrame(importance, columns=list(SCHEMAS["surrogate"])),
        pd.DataFrame(contributions_of_runs, columns=list(SCHEMAS["factor_shap"])),
    )


def frontier(
    costs: Mapping[str, Mapping[str, float]],
    run_ids: Sequence[str],
    value: Array,
    covariance: Array,
    own: Array | None = None,
) -> pd.DataFrame:
    """Build the table `frontier`: for each kind of cost, one row for each run whose cost is known.

    costs: kind of cost -> run id -> cost. value [R], covariance [R, R] and own [R] (see `with_own_errors`) are in the order
    of run_ids.
    """
    rows: list[tuple[object, ...]] = []
    for kind, by_run in costs.items():
        amount = np.array([by_run.get(run_id, np.nan) for run_id in run_ids], np.float64)
        finite = np.flatnonzero(np.isfinite(amount))
        if not len(finite):
            continue
        values, among, amounts = value[finite], covariance[np.ix_(finite, finite)], amount[finite]
        gains = gain_over_cheaper(values, among, amounts, None if own is None else own[finite])
        columns = (amounts, pareto(values, amounts), *gains[:3])
        rows += [(run_ids[i], kind, *cells) for i, *cells in zip(finite.tolist(), *columns, strict=True)]
    return pd.DataFrame(rows, columns=list(SCHEMAS["frontier"]))
