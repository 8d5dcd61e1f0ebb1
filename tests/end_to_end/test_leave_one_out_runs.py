"""A leave-one-out grid from the command: every hospital is external in the run that leaves it out, and in no other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from bench import api
from bench.app.selectable_runs import runs_with_weights
from bench.diagnostics.symptoms.run_symptoms import symptoms
from bench.planning.imported_run import row
from bench.planning.manifest import Manifest, read_manifest
from bench.results.model_card import card
from bench.runs.imported_run import declared_run
from bench.runs.model_folder import load_folder
from bench.sharing import hub
from bench.store.store import Store
from bench.study.reproduce import headline
from tests.conftest import Command, bench
from tests.tiny_grids import TINY, tiny_with

POOL = "chexpert+mimic+nih"
HOSPITALS = {"chexpert", "mimic", "nih"}
FINDING = "Pleural Effusion"
TITLES = {
    "chexpert": "Hospital A (CheXpert layout)",
    "mimic": "Hospital B (MIMIC layout)",
    "nih": "Hospital C (NIH layout)",
}
KEYS = """evaluate_on: [padchest]
leave_one_out: true
phantom: {source: 160, external: 100}
analyses: {attention: {images: 4, gallery: 1, sanity: 1}}
tta: [three_views]
base: {train_on: [mimic, nih, chexpert]}
"""


@pytest.fixture(scope="module")
def folds(drawn: Callable[[str | Path, Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a leave-one-out grid `folds` with an external hospital is finished; tests only read it."""
    folder = drawn(TINY, tmp_path_factory.mktemp("folds"))
    path = tiny_with(folder, "folds", "{schedule.epochs: 1}", 3)
    path.write_text(path.read_text() + KEYS)
    bench("run", "--grid", str(path), "--quiet", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def manifest(folds: Path) -> Manifest:
    return read_manifest(Store.open(folds / "runs", create=False), "folds")


def macros(manifest: Manifest, run_id: str) -> pd.DataFrame:
    scores = pd.read_parquet(manifest.scores / run_id / "scores.parquet")
    return scores[(scores["metric"] == "auroc") & (scores["calibrator"] == "none")]


@pytest.mark.grid
def test_a_hospital_is_external_in_the_run_that_leaves_it_out(folds: Path, manifest: Manifest) -> None:
    table = manifest.table(manifest.cohorts[0]).set_index("image_id")
    assert [cohort["name"] for cohort in manifest.cohorts] == [POOL, "padchest"]
    assert {run["config"]["leave_out"] for run in manifest.runs} == HOSPITALS
    for run in (*manifest.runs, *manifest.derived):
        left_out = run["config"]["leave_out"]
        scores = macros(manifest, run["id"])
        assert set(scores["dataset"]) == {POOL, left_out, "padchest", "external"}
        of_hospitals = {split.partition(":")[2] for split in scores["split"] if ":" in split}
        assert of_hospitals == HOSPITALS - {left_out}
        folder = manifest.store.run_dir(run["id"])
        predicted = pd.read_parquet(folder / "predictions" / f"{POOL}.parquet").set_index("image_id")
        state = table.loc[predicted.index, FINDING].fillna(-3).to_numpy(int)
        of_hospital = (table.loc[predicted.index, "hospital"] == left_out).to_numpy()
        assert of_hospital.sum() == (table["hospital"] == left_out).sum()
        certain = of_hospital & np.isin(state, (1, 0, -2))
        expected = roc_auc_score(state[certain] == 1, predicted.loc[certain, FINDING])
        [found] = scores.loc[(scores["dataset"] == left_out) & (scores["finding"] == FINDING), "value"]
        assert found == pytest.approx(expected)
        of_macro = scores[scores["finding"] == "macro"].set_index("dataset")["value"]
        assert of_macro["external"] == pytest.approx((of_macro[left_out] + of_macro["padchest"]) / 2)
    page = (manifest.store.root / "report" / "folds" / "leaderboard.html").read_text()
    assert "each run without one of these hospitals" in page
    assert "AUROC at each training hospital, run by run" in page
    refused = bench("export", "-o", "folds.zip", "--quiet", cwd=folds, code=2).stderr
    assert "a bundle cannot hold a pool" in refused


@pytest.mark.grid
def test_heat_maps_of_a_left_out_hospital_are_not_those_of_the_training_hospitals(manifest: Manifest) -> None:
    for run in manifest.runs:
        left_out = run["config"]["leave_out"]
        folder = manifest.store.run_dir(run["id"]) / "attention"
        maps = pd.read_parquet(folder / "sampled_maps.parquet", columns=["dataset", "image_id"])
        hospital_of_map = maps["image_id"].astype(str).str.partition("/")[0]
        trained = set(hospital_of_map[maps["dataset"] == POOL])
        assert trained
        assert trained <= HOSPITALS - {left_out}
        assert set(hospital_of_map[maps["dataset"] == left_out]) == {left_out}
        measured = pd.read_parquet(folder / "attention.parquet")
        assert set(measured["dataset"]) == {POOL, left_out, "padchest"}


@pytest.mark.grid
def test_the_model_card_names_the_hospitals_on_which_the_run_trained_and_the_other_as_external(
    manifest: Manifest,
) -> None:
    for run in (*manifest.runs, *manifest.derived):
        left_out = str(run["config"]["leave_out"])
        text = card(manifest, run)
        trained = [TITLES[name] for name in sorted(HOSPITALS - {left_out})]
        assert f"validation patients of {' + '.join(trained)}." in text
        metadata = yaml.safe_load(text.split("---")[1])["model-index"][0]["results"]
        datasets = {result["dataset"]["type"]: result["task"]["name"] for result in metadata}
        internal = "+".join(sorted(HOSPITALS - {left_out}))
        assert set(datasets) <= {internal, left_out, "padchest"}
        assert "internal" in datasets.get(internal, "internal")
        assert "never trained on" in datasets[left_out]
        rows = [line for line in text.splitlines() if line.endswith("synthetic images |")]
        role = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1].partition(":")[0] for line in rows}
        assert role == {
            **dict.fromkeys(trained, "internal"),
            **dict.fromkeys((TITLES[left_out], "Hospital D (PadChest layout)"), "external"),
        }


@pytest.mark.grid
def test_an_uploaded_run_has_seen_the_hospitals_on_which_it_trained_and_no_other(
    manifest: Manifest, tmp_path: Path
) -> None:
    for run in (*manifest.runs, *manifest.derived):
        folder, trained = tmp_path / run["id"], HOSPITALS - {run["config"]["leave_out"]}
        hub.write_folder(hub.files_of(manifest.store, run["id"])[2], folder)
        found = declared_run(folder, load_folder(folder), ("chexpert", "mimic", "padchest"), synthetic=True).exposure
        assert set(found.cohorts) == trained
        assert not found.others
        config = json.loads((folder / "config.json").read_text())
        stated = config["trained_on"]
        assert stated["hospitals"] == {name: name for name in trained}
        assert stated["title"] == " + ".join(TITLES[name] for name in sorted(trained))
        # in the pool's own grid, the model has seen the pool
        declared = declared_run(folder, load_folder(folder), (POOL, "padchest"), synthetic=True)
        model: Any = SimpleNamespace(id="x", config=manifest.config(run))
        assert row(model, declared, manifest.cohorts)["passport"]["seen"] == [POOL]
        # an older folder, or one from elsewhere that hides its hospitals: the configuration names them, too
        config["trained_on"] = {"cohort": POOL, "layout": "table"}
        (folder / "config.json").write_text(json.dumps(config))
        again = declared_run(folder, load_folder(folder), ("chexpert", "mimic", "padchest"), synthetic=True)
        assert set(again.exposure.cohorts) == trained


@pytest.mark.grid
def test_commands_name_the_hospitals_on_which_a_run_trained(folds: Path, manifest: Manifest, here: Command) -> None:
    listed = json.loads(here("list", "runs", "--json", cwd=folds).stdout)
    trained = [row for row in listed if row["kind"] == "run"]
    assert {row["differences"] for row in trained} == {f"without {name}" for name in HOSPITALS}
    assert {row["differences"].split("without ")[1] for row in listed if row["kind"] == "tta"} == HOSPITALS
    run = {str(run["config"]["leave_out"]): str(run["id"]) for run in manifest.runs}
    compared = here("compare", run["chexpert"], run["nih"], cwd=folds).stdout
    assert f"\n{TITLES['mimic']}, test  auroc" in compared  # the only hospital on which both runs trained
    assert " + " not in compared
    choices = {choice.run_id: choice for choice in runs_with_weights(manifest.store)}
    assert choices[run["nih"]].origins == {
        "unseen": "Other or unknown",
        POOL: f"{TITLES['chexpert']} + {TITLES['mimic']}: training hospitals",
        "padchest": "Hospital D (PadChest layout): never seen in training",
        "nih": f"{TITLES['nih']}: never seen in training",
    }


@pytest.mark.grid
def test_labels_are_drawn_at_the_left_out_hospital_of_each_run(folds: Path, manifest: Manifest) -> None:
    grid = api.open_grid(folds / "runs")
    run = {str(run["config"]["leave_out"]): str(run["id"]) for run in manifest.runs}
    for left_out, run_id in run.items():
        curves = api.labels_needed(grid, run_id).curves
        assert set(curves["dataset"]) - {"external"} == {left_out, "padchest"}
    both = api.labels_needed(grid, run["mimic"], second=run["nih"]).curves
    told_apart = both[both["goal"] == "difference"]
    assert set(told_apart["dataset"]) - {"external"} == {"padchest"}


@pytest.mark.grid
def test_a_run_that_is_tested_at_the_hospital_that_it_leaves_out_cannot_be_registered(
    folds: Path, manifest: Manifest, here: Command, tmp_path: Path
) -> None:
    path = tiny_with(tmp_path, "alone", "{schedule.epochs: 1}", 3)
    path.write_text(path.read_text() + KEYS.replace("[padchest]", "[]"))
    (tmp_path / "runs").symlink_to(folds / "runs")
    said = here("register", "--grid", str(path), "--dry-run", cwd=tmp_path, code=2).stderr
    assert "was already tested at chexpert" in said
    shutil.copytree(folds / "runs" / "phantom", tmp_path / "new" / "phantom")
    said = here("register", "--grid", str(path), "--store", "new", "--dry-run", cwd=tmp_path).stdout
    assert "external hospitals: chexpert (in the runs without it), mimic (in the runs without it), nih" in said


@pytest.mark.grid
def test_the_verdict_of_a_reproduction_uses_the_mean_over_the_training_hospitals(manifest: Manifest) -> None:
    scores = pd.read_parquet(manifest.scores / str(manifest.runs[0]["id"]) / "scores.parquet")
    assert scores["split"].str.startswith("test:").any()
    rows = headline(scores[(scores["metric"] == "auroc") & (scores["subgroup"] == "all")])
    assert rows.loc[rows["dataset"] == POOL, "split"].tolist() == ["test"]


@pytest.mark.grid
def test_sound_runs_have_no_fault(manifest: Manifest) -> None:
    for run in manifest.runs:
        assert not [check.what for check in symptoms(manifest.store, run["id"]) if check.level == "fault"]


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
