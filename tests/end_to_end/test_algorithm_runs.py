"""Runs with a training algorithm: trained by the command, read again from the store, and in a bundle that others verify."""

import json
from pathlib import Path

import pandas as pd
import pytest

from bench.planning.run import read_run
from bench.store.store import Store
from tests.conftest import Drawn, bench
from tests.tiny_grids import tiny_with


@pytest.mark.grid
def test_runs_with_algorithms_are_trained_stored_and_verified_as_a_bundle(drawn: Drawn, tmp_path: Path) -> None:
    """Runs with ERM and CORAL in a store and in a bundle."""
    path = tiny_with(tmp_path, "grouped", "{groups: sex, algorithm: [erm, coral], schedule.epochs: 1}", 2)
    folder = drawn(path, tmp_path)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    store = Store.open(folder / "runs")
    runs = {run.config.algorithm: run for run in (read_run(store, run_id) for run_id in store.run_ids())}
    assert (runs["erm"].group_column, runs["coral"].group_column) == ("", "sex")
    assert "algorithm" not in runs["erm"].entries
    assert runs["coral"].entries["algorithm"].facts == {"groups": True, "features": True}
    weights = [(store.run_dir(run.id) / "model.safetensors").read_bytes() for run in runs.values()]
    assert weights[0] != weights[1]
    steps = {
        pd.read_parquet(store.run_dir(run.id) / "history.parquet")["gradient_evaluations"].iloc[-1]
        for run in runs.values()
    }
    assert len(steps) == 1
    manifest = json.loads((store.root / "grids" / "grouped.json").read_text())
    titles = {row["config"]["algorithm"]: row["titles"].get("algorithm") for row in manifest["runs"]}
    assert titles == {"erm": None, "coral": "CORAL"}
    assert "CORAL" in (store.root / "report" / "grouped" / "leaderboard.html").read_text()
    pytest.importorskip("bench.extensions.bundles")
    bench("export", "-o", "grouped.zip", "--quiet", cwd=folder)
    bench("verify", "grouped.zip", "--quiet", cwd=folder)


@pytest.mark.grid
def test_hospitals_are_compared_in_a_pool_and_refused_where_there_is_one(drawn: Drawn, tmp_path: Path) -> None:
    sweep = "{algorithm: groupdro, schedule.epochs: 1}"
    path = tiny_with(tmp_path, "hospitals", sweep)
    folder = drawn(path, tmp_path)
    refused = bench("run", "--grid", str(path), "--quiet", cwd=folder, code=2).stderr
    assert "all training images are of one hospital" in refused
    assert "several hospitals in `train_on`" in refused
    assert not Store.open(folder / "runs").run_ids()
    tiny_with(folder, "hospitals", sweep, keys="evaluate_on: [nih]\nbase: {train_on: [chexpert, mimic]}\n")
    (data,) = (folder / "runs" / "phantom").iterdir()
    bench("run", "--grid", str(path), "--data", str(data), "--quiet", cwd=folder)
    store = Store.open(folder / "runs")
    (run_id,) = store.run_ids()
    assert read_run(store, run_id).group_column == "hospital"
