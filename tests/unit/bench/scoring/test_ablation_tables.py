"""The tables of ablations and of the cost frontier."""

import numpy as np
import pandas as pd
import pytest

from bench.config.run_config import flat
from bench.scoring.across_runs.ablation_tables import ablation, frontier, metrics
from reports.schemas.tables import SCHEMAS, SCORES
from tests.drawn_scores import covariances


def scores(values: dict[str, float]) -> pd.DataFrame:
    row = dict.fromkeys(SCORES, "") | {
        "dataset": "external",
        "finding": "macro",
        "metric": "auroc",
        "calibrator": "none",
    }
    return pd.DataFrame(
        [
            {**row, "subgroup": "all", "run_id": run, "value": v, "low": v - 0.04, "high": v + 0.04}
            for run, v in values.items()
        ]
    )


def test_ablation_compares_pairs_of_runs_from_configurations_and_covariances() -> None:
    values = {"a": 0.8, "b": 0.83, "c": np.nan}
    shared = np.random.default_rng(0).normal(0, 0.02, 200)
    drawn = {run: {"auroc/external": v + shared} for run, v in values.items()}
    gaps = pd.DataFrame(columns=list(SCHEMAS["gaps"]))
    found = metrics(scores(values), gaps, covariances(drawn))
    assert set(found) == {"auroc"}
    assert found["auroc"][0] == ["a", "b"]
    configs = {run: flat({"schedule": {"lr": lr}, "seed": 0}) for run, lr in (("a", 1e-3), ("b", 1e-2), ("c", 1e-1))}
    effects, importance, single = ablation(configs, found, {"a": 3, "b": 2, "c": 1})
    (row,) = effects.to_dict("records")
    assert (row["factor"], row["level"], row["reference"], row["num_pairs"]) == ("schedule.lr", "0.01", "0.001", 1)
    assert row["num_run_pairs"] == 2
    assert row["value"] == pytest.approx(0.03)
    # if no patient has an influence on the difference, the interval is that of independent recipes
    assert row["high"] - 0.03 == pytest.approx(0.04 * np.sqrt(2))
    assert importance.empty
    assert single.empty


def test_the_frontier_has_a_row_for_each_cost_and_run_with_that_cost() -> None:
    costs = {"macs": {"a": 1.0, "b": 2.0}, "device_hours": {"a": 5.0}}
    table = frontier(costs, ["a", "b"], np.array([0.8, 0.75]), np.diag([0.0, 0.02]))
    assert list(table.columns) == list(SCHEMAS["frontier"])
    assert table[["run_id", "cost", "on_front"]].values.tolist() == [
        ["a", "macs", True],
        ["b", "macs", False],
        ["a", "device_hours", True],
    ]
