"""A leave-one-out grid from the command: every hospital is external in the run that leaves it out, and in no other."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bench.planning.run import read_run
from bench.store.store import Store
from tests.conftest import bench
from tests.tiny_grids import TINY, tiny_with

POOL = "chexpert+mimic+nih"
FINDING = "Pleural Effusion"


@pytest.mark.grid
def test_a_hospital_is_external_in_the_run_that_leaves_it_out(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    folder = drawn(TINY, tmp_path)
    path = tiny_with(folder, "folds", "{schedule.epochs: 1}", 3)
    pool = "evaluate_on: []\nleave_one_out: true\nphantom: {source: 160}\nbase: {train_on: [mimic, nih, chexpert]}\n"
    path.write_text(path.read_text() + pool)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    store = Store.open(folder / "runs")
    [table_path] = (store.root / "cohorts").glob(f"{POOL}-*.parquet")
    table = pd.read_parquet(table_path).set_index("image_id")
    runs = [read_run(store, run_id) for run_id in store.run_ids()]
    assert sorted(run.config.leave_out for run in runs) == ["chexpert", "mimic", "nih"]
    for run in runs:
        left_out = run.config.leave_out
        scores = pd.read_parquet(store.root / "scores" / run.id / "scores.parquet")
        scores = scores[(scores["metric"] == "auroc") & (scores["calibrator"] == "none")]
        assert set(scores["dataset"]) == {POOL, left_out, "external"}
        of_hospitals = {split.partition(":")[2] for split in scores["split"] if ":" in split}
        assert of_hospitals == {"chexpert", "mimic", "nih"} - {left_out}
        predicted = pd.read_parquet(store.run_dir(run.id) / "predictions" / f"{POOL}.parquet").set_index("image_id")
        state = table.loc[predicted.index, FINDING].fillna(-3).to_numpy(int)
        of_hospital = (table.loc[predicted.index, "hospital"] == left_out).to_numpy()
        assert of_hospital.sum() == (table["hospital"] == left_out).sum()
        certain = of_hospital & np.isin(state, (1, 0, -2))
        expected = roc_auc_score(state[certain] == 1, predicted.loc[certain, FINDING])
        [found] = scores.loc[(scores["dataset"] == left_out) & (scores["finding"] == FINDING), "value"]
        assert found == pytest.approx(expected)
    page = (store.root / "report" / "folds" / "leaderboard.html").read_text()
    assert "each run without one of these hospitals" in page
    assert "AUROC at each training hospital, run by run" in page
    manifest = json.loads((store.root / "grids" / "folds.json").read_text())
    assert [cohort["name"] for cohort in manifest["cohorts"]] == [POOL]
    refused = bench("export", "-o", "folds.zip", "--quiet", cwd=folder, code=2).stderr
    assert "a bundle cannot hold a pool" in refused


@pytest.mark.grid
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("leave_one_out: true", "only one training hospital"),
        ("base: {train_on: [chexpert, mimic]}", "is a training hospital"),
        ("evaluate_on: []\nbase: {train_on: [chexpert, chexpert]}", "must name different hospitals"),
        ("evaluate_on: []\nbase: {train_on: [chexpert, mimic], leave_out: nih}", "leave_out must be one of"),
        ("evaluate_on: [nih]\nleave_one_out: 2\nbase: {train_on: [chexpert, mimic]}", "must be true or false"),
    ],
)
def test_impossible_pools_are_refused_before_anything_is_made(keys: str, message: str, tmp_path: Path) -> None:
    path = tiny_with(tmp_path, "impossible", "{seed: 0}")
    path.write_text(path.read_text() + keys + "\n")
    assert message in bench("run", "--grid", str(path), "--quiet", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs" / "runs").exists()


@pytest.mark.grid
def test_an_algorithm_compares_the_hospitals_on_which_a_run_trains(
    drawn: Callable[[str | Path, Path], Path], tmp_path: Path
) -> None:
    folder = drawn(TINY, tmp_path)
    path = tiny_with(folder, "compared", "{algorithm: groupdro, schedule.epochs: 1}", 3)
    pool = "evaluate_on: []\nleave_one_out: true\nphantom: {source: 160}\nbase: {train_on: [mimic, nih, chexpert]}\n"
    path.write_text(path.read_text() + pool)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    assert len(Store.open(folder / "runs").run_ids()) == 3
    two = pool.replace("nih, ", "")
    path.write_text(path.read_text().replace(pool, two).replace("runs: 3", "runs: 2"))
    refused = bench("run", "--grid", str(path), "--quiet", cwd=folder, code=2).stderr
    assert "an algorithm compares groups, and the images have only the group" in refused
