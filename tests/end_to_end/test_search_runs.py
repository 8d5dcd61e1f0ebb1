"""A grid with `search` from the command: each algorithm gets the same trials, and the page shows the chosen ones only."""

import json
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup

from bench.store.store import Store
from tests.conftest import Drawn, bench
from tests.tiny_grids import TWO, tiny_with

TOO_SMALL, USUAL = 1e-9, 6e-3


@pytest.mark.grid
def test_the_page_shows_for_each_algorithm_the_trial_with_the_best_validation_auroc(
    drawn: Drawn, tmp_path: Path
) -> None:
    """A grid with `search`: which trials are scored and shown."""
    keys = (
        f"{TWO}base: {{schedule: {{epochs: 3, lr: {TOO_SMALL}}}}}\n"
        f"search: {{trials: 4, over: {{schedule.lr: [choice, {TOO_SMALL}, {USUAL}]}}}}\n"
    )
    path = tiny_with(tmp_path, "tuned", "{algorithm: [erm, swa], seed: [0, 1]}", 8, keys)
    folder = drawn(path, tmp_path)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    store = Store.open(folder / "runs")
    manifest = json.loads((store.root / "grids" / "tuned.json").read_text())
    search, configs = manifest["search"], {run["id"]: run["config"] for run in manifest["runs"]}
    begun = sorted(configs, key=lambda run_id: (store.run_dir(run_id) / "run.json").stat().st_mtime_ns)
    assert [configs[run_id]["seed"] for run_id in begun[:3]] == [0, 0, 0]  # each recipe has a run early
    tables = store.root / "report" / "tuned" / "tables"

    expected: dict[tuple[str, int], str] = {}  # the run with the better learning rate, for each algorithm and seed
    values: dict[tuple[str, float], list[float]] = {}
    for run_id, config in configs.items():
        history = pd.read_parquet(store.run_dir(run_id) / "history.parquet").set_index("epoch")
        trained = json.loads((store.run_dir(run_id) / "trained.json").read_text())
        key = (config["algorithm"], config["schedule"]["lr"])
        values.setdefault(key, []).append(float(history.loc[trained["best_epoch"], "val_auroc"]))
    for run_id, config in configs.items():
        algorithm = config["algorithm"]
        better = max((TOO_SMALL, USUAL), key=lambda lr: sum(values[algorithm, lr]))
        if config["schedule"]["lr"] == better:
            expected[algorithm, config["seed"]] = run_id
    assert {configs[run_id]["schedule"]["lr"] for run_id in expected.values()} == {USUAL}

    runs = pd.read_parquet(tables / "runs.parquet")
    assert set(runs.loc[runs["kind"] == "run", "run_id"]) == set(expected.values())
    assert {path.name for path in (store.root / "scores").iterdir()} == set(expected.values())
    for name in ("scores", "ranks", "recipes", "history"):
        column = pd.read_parquet(tables / f"{name}.parquet")["run_id"].astype(str)
        assert not set(column) & (set(configs) - set(expected.values())), name
    trials = pd.read_parquet(tables / "trials.parquet")
    assert len(trials) == 2 * 2 * 4
    assert set(trials.loc[trials["chosen"], "run_id"]) == set(expected.values())
    assert {len(trials) for trials in search["runs"]} == {4}
    ablation = pd.read_parquet(tables / "ablation.parquet")
    assert "schedule.lr" not in set(ablation["factor"])

    page = BeautifulSoup((store.root / "report" / "tuned" / "leaderboard.html").read_text(), "html.parser")
    section = page.find(id="search")
    assert section is not None
    rows = [row.get_text(" ", strip=True) for row in section.find_all("tr") if "chosen" in row.get_text()]
    assert len(rows) == 2
    assert all("lr 0.006" in row and "2 of 2" in row for row in rows)
    assert page.find(id="algorithms") is not None
    pytest.importorskip("bench.extensions.bundles")
    refused = bench("export", "-o", "tuned.zip", "--quiet", cwd=folder, code=2).stderr
    assert "a bundle cannot hold a grid with `search`" in refused.replace("\n", " ")
