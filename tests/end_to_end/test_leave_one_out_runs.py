"""A leave-one-out grid from the command: every hospital is external in the run that leaves it out, and in no other."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from bench import api
from bench.config.grid_file import merge
from bench.diagnostics.symptoms.run_symptoms import symptoms
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.protocol import internal_split
from bench.results.cohort_tables import ExposureTable, cohort_tables
from bench.results.compare_two_runs import contrast
from bench.results.model_card import card
from bench.results.report_tables import _notes
from bench.results.worst_errors import mistakes
from bench.store.store import Store, canonical_json
from harmonize.errors import ConfigError
from tests.conftest import Command, Drawn, bench
from tests.nonempty import nonempty
from tests.tiny_grids import SMALL_ANALYSES, tiny_with

POOL = "chexpert+mimic+nih"
HOSPITALS = {"chexpert", "mimic", "nih"}
FINDING = "Pleural Effusion"
TITLES = {
    "chexpert": "Hospital A (CheXpert layout)",
    "mimic": "Hospital B (MIMIC layout)",
    "nih": "Hospital C (NIH layout)",
}
KEYS = f"""evaluate_on: [padchest]
leave_one_out: true
phantom: {{source: 160, external: 100}}
tta: [three_views]
base: {{train_on: [mimic, nih, chexpert]}}
{SMALL_ANALYSES}"""


@pytest.fixture(scope="module")
def folds(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a leave-one-out grid `folds` with an external hospital is finished; tests only read it."""
    folder = tmp_path_factory.mktemp("folds")
    path = tiny_with(folder, "folds", "{schedule.epochs: 1}", 3, KEYS)
    drawn(path, folder)
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
    """A leave-one-out grid: scores of the hospital that is left out, compared with scikit-learn."""
    table = manifest.table(manifest.cohorts[0]).set_index("image_id")
    assert [cohort.name for cohort in manifest.cohorts] == [POOL, "padchest"]
    assert {run.config.leave_out for run in manifest.runs} == HOSPITALS
    for run in (*manifest.runs, *manifest.derived):
        left_out = run.config.leave_out
        scores = macros(manifest, run.id)
        assert set(scores["dataset"]) == {POOL, left_out, "padchest", "external"}
        of_hospitals = {split.partition(":")[2] for split in scores["split"] if ":" in split}
        assert of_hospitals == HOSPITALS - {left_out}
        folder = manifest.store.run_dir(run.id)
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
    pytest.importorskip("bench.extensions.bundles")
    refused = bench("export", "-o", "folds.zip", "--quiet", cwd=folds, code=2).stderr
    assert "a bundle cannot hold a pool" in refused


@pytest.mark.grid
def test_heat_maps_of_a_left_out_hospital_are_not_those_of_the_training_hospitals(manifest: Manifest) -> None:
    pytest.importorskip("bench.extensions.heat_maps")
    for run in nonempty(manifest.runs):
        left_out = run.config.leave_out
        folder = manifest.store.run_dir(run.id) / "attention"
        measured = pd.read_parquet(folder / "attention.parquet")
        assert set(measured["dataset"]) == {POOL, left_out, "padchest"}


@pytest.mark.grid
def test_the_model_card_names_the_hospitals_on_which_the_run_trained_and_the_other_as_external(
    manifest: Manifest,
) -> None:
    for run in (*manifest.runs, *manifest.derived):
        left_out = run.config.leave_out
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
def test_an_uploaded_run_states_the_hospitals_on_which_it_trained_and_no_other(
    manifest: Manifest, tmp_path: Path
) -> None:
    hub = pytest.importorskip("bench.extensions.tracking.hub")
    for run in (*manifest.runs, *manifest.derived):
        folder, trained = tmp_path / run.id, HOSPITALS - {run.config.leave_out}
        hub.write_folder(hub.files_of(manifest.store, run.id)[2], folder)
        stated = json.loads((folder / "config.json").read_text())["trained_on"]
        assert stated["hospitals"] == {name: name for name in trained}
        assert stated["title"] == " + ".join(TITLES[name] for name in sorted(trained))


@pytest.mark.grid
def test_commands_name_the_hospitals_on_which_a_run_trained(folds: Path, manifest: Manifest, here: Command) -> None:
    listed = json.loads(here("list", "runs", "--json", cwd=folds).stdout)
    trained = [row for row in listed if row["kind"] == "run"]
    assert {row["differences"] for row in trained} == {f"without {name}" for name in HOSPITALS}
    assert {row["differences"].split("without ")[1] for row in listed if row["kind"] == "tta"} == HOSPITALS
    run = {run.config.leave_out: run.id for run in manifest.runs}
    compared = here("compare", run["chexpert"], run["nih"], "--all", cwd=folds).stdout
    assert f"\n{TITLES['mimic']}, test  auroc" in compared  # the only hospital on which both runs trained
    sections = [line for line in compared.splitlines() if line.endswith("  auroc")]
    assert not [line for line in sections if " + " in line]
    assert len(sections) == len(set(sections))
    trained = [" + ".join(TITLES[name] for name in sorted(HOSPITALS - {left_out})) for left_out in ("chexpert", "nih")]
    assert f"The runs were trained at {trained[0]} (first) and {trained[1]} (second)." in " ".join(compared.split())


@pytest.mark.grid
def test_runs_that_leave_out_the_same_hospital_can_be_compared_there(manifest: Manifest) -> None:
    run = next(run.id for run in manifest.runs if run.config.leave_out == "nih")
    with_views = next(row.id for row in manifest.derived if row.of == (run,))
    found = contrast(manifest.store, run, with_views, "auroc", datasets=["nih"])
    assert set(found.table["dataset"]) == {"nih"}
    scores = macros(manifest, run)
    [expected] = scores.loc[(scores["dataset"] == "nih") & (scores["finding"] == "macro"), "value"]
    assert found.table.set_index("finding").loc["macro", "first"] == pytest.approx(expected)
    everywhere = contrast(manifest.store, run, with_views, "auroc")
    places = zip(everywhere.table["dataset"], everywhere.table["split"], strict=True)
    hospital_of = {split: everywhere.hospital(dataset, split) for dataset, split in places if dataset == POOL}
    trained = f"{TITLES['chexpert']} + {TITLES['mimic']}"
    assert hospital_of["test"] == trained
    assert hospital_of["test:chexpert"] == TITLES["chexpert"]
    assert hospital_of["test:mimic"] == TITLES["mimic"]
    assert not [note for note in everywhere.notes if "trained at" in note]


@pytest.mark.grid
def test_tables_of_a_report_count_each_hospital_once(folds: Path, manifest: Manifest) -> None:
    report = manifest.store.root / "report" / "folds"
    table = manifest.table(manifest.cohorts[0])
    splits = pd.read_parquet(report / "tables" / "splits.parquet").set_index("dataset")
    assert "left_out" not in set(splits["split"])
    assert splits.loc[POOL, "images"].sum() == len(table)  # of all hospitals, not of those of the first run
    external = len(manifest.table(manifest.cohorts[1]))
    used = len(table) + external
    page = (report / "leaderboard.html").read_text()
    assert re.search(rf"{used:,} of [0-9,]+ ", page)


def with_runs(manifest: Manifest, *left_out: str) -> Manifest:
    """Return the manifest with only those trained runs that leave out one of the hospitals."""
    runs = [run for run in manifest.runs if run.config.leave_out in left_out]
    return replace(manifest, runs=tuple(runs), derived=())


@pytest.mark.grid
def test_a_hospital_that_all_runs_leave_out_is_external_and_no_training_hospital(
    folds: Path, manifest: Manifest, tmp_path: Path
) -> None:
    alone = with_runs(manifest, "nih")
    trained = f"{TITLES['chexpert']} + {TITLES['mimic']}"
    assert [hospital.name for hospital in alone.pooled] == ["chexpert", "mimic"]
    assert not alone.leaves_one_out
    assert alone.titles[POOL] == alone.hospital(alone.cohorts[0]).title == trained
    table, external = manifest.table(manifest.cohorts[0]), manifest.table(manifest.cohorts[1])
    sizes = table["hospital"].value_counts()
    found = cohort_tables(alone, ["Edema"])
    cohorts = found.frames["cohorts"].set_index("dataset")
    assert cohorts.loc[POOL, "title"] == trained
    assert cohorts.loc[POOL, "used"] == sizes["chexpert"] + sizes["mimic"]
    left_out = sum(cohorts.loc[POOL, ["absent", "not_frontal", "unreadable"]])
    assert cohorts.loc[POOL, "found"] == cohorts.loc[POOL, "used"] + left_out
    assert cohorts.loc["nih", "used"] == sizes["nih"]
    splits = found.frames["splits"].set_index(["dataset", "split"])["images"]
    assert set(splits[POOL].index) == {"train", "val", "test", "expert_valid", "expert_test"}
    assert splits[POOL].sum() == sizes["chexpert"] + sizes["mimic"]
    assert found.test_images == splits[POOL, "test"] + sizes["nih"] + len(external)


@pytest.mark.grid
def test_notes_are_about_the_hospitals_that_the_runs_use(manifest: Manifest) -> None:
    def notes(*left_out: str) -> str:
        content = json.loads(canonical_json(with_runs(manifest, *left_out).document))
        content["phantom_settings"]["shortcut"] = 0.9
        return " ".join(_notes(Manifest.of(content, store=manifest.store)))

    assert "Hospital A prints a PORT tag" in notes("nih")
    assert "prints a PORT tag" not in notes("chexpert")


@pytest.mark.grid
def test_images_are_counted_once_if_the_runs_leave_out_some_hospitals_of_the_pool(manifest: Manifest) -> None:
    some = with_runs(manifest, "mimic", "nih")
    assert some.leaves_one_out
    assert {hospital.name for hospital in some.pooled} == HOSPITALS
    table, external = manifest.table(manifest.cohorts[0]), manifest.table(manifest.cohorts[1])
    test = internal_split(table, replace(manifest.runs[0].config, leave_out="")) == "test"
    of_chexpert = table["hospital"] == "chexpert"
    found = cohort_tables(some, ["Edema"])
    assert found.test_images == (test & of_chexpert).sum() + (~of_chexpert).sum() + len(external)


@pytest.mark.grid
def test_what_a_model_had_seen_is_stated_for_the_hospital_that_its_run_leaves_out(manifest: Manifest) -> None:
    tables = manifest.store.root / "report" / "folds" / "tables"
    frames = {name: pd.read_parquet(tables / f"{name}.parquet") for name in ("scores", "recipes")}
    assert ExposureTable.of(manifest, frames).empty  # random weights had seen nothing
    seen = {"nih": {"answer": "unknown"}}
    exposed = replace(manifest, runs=tuple(replace(run, exposure=seen) for run in manifest.runs))
    of_recipe = ExposureTable.of(exposed, frames).set_index("dataset")
    assert of_recipe["answer"].to_dict() == {"chexpert": "no", "mimic": "no", "nih": "unknown", "padchest": "no"}
    assert np.isfinite(of_recipe["value"].astype(float)).all()
    assert (of_recipe["rank"] > 0).to_dict() == {"chexpert": True, "mimic": True, "nih": False, "padchest": True}
    without = {**frames, "recipes": frames["recipes"].iloc[:0]}
    of_runs = ExposureTable.of(exposed, without)
    left_out = {run.id: run.config.leave_out for run in manifest.runs}
    external = of_runs.groupby("run_id")["dataset"].agg(set).to_dict()
    assert external == {run: {hospital, "padchest"} for run, hospital in left_out.items()}


@pytest.mark.grid
def test_the_tracked_metrics_count_the_images_of_each_hospital(manifest: Manifest) -> None:
    table = manifest.table(manifest.cohorts[0])
    sizes = table["hospital"].value_counts()
    tracking = pytest.importorskip("bench.extensions.tracking.mlflow")
    logged = {name: value for name, value, _ in tracking.metrics(manifest, manifest.runs[0])}
    assert {name: logged[f"data/{name}/images"] for name in HOSPITALS} == sizes.to_dict()
    assert not [name for name in logged if name.startswith("data/chexpert_") or POOL in name]


@pytest.mark.grid
def test_labels_are_drawn_at_the_left_out_hospital_of_each_run(folds: Path, manifest: Manifest) -> None:
    grid = api.open_grid(folds / "runs")
    run = {run.config.leave_out: run.id for run in manifest.runs}
    for left_out, run_id in run.items():
        curves = api.labels_needed(grid, run_id).curves
        assert set(curves["dataset"]) - {"external"} == {left_out, "padchest"}


@pytest.mark.grid
def test_the_verdict_of_a_reproduction_uses_the_mean_over_the_training_hospitals(manifest: Manifest) -> None:
    scores = pd.read_parquet(manifest.scores / str(manifest.runs[0].id) / "scores.parquet")
    assert scores["split"].str.startswith("test:").any()
    headline = pytest.importorskip("bench.extensions.reproduction.compared_scores").headline
    rows = headline(scores[(scores["metric"] == "auroc") & (scores["subgroup"] == "all")])
    assert rows.loc[rows["dataset"] == POOL, "split"].tolist() == ["test"]


@pytest.mark.grid
def test_errors_are_listed_at_the_hospital_that_a_run_leaves_out(manifest: Manifest) -> None:
    run = next(run for run in manifest.runs if run.config.leave_out == "nih")
    listed = mistakes(manifest.store, run.id, cohort=["nih"], most=10)
    paths = manifest.table(manifest.cohorts[0]).set_index("image_id")["path"]
    assert set(listed["dataset"]) == {"nih"}
    assert listed["path"].tolist() == paths[listed["image_id"]].tolist()
    with pytest.raises(ConfigError, match="unknown value of --cohort: 'mimic'"):
        mistakes(manifest.store, run.id, cohort=["mimic"])


@pytest.mark.grid
def test_sound_runs_have_no_fault(manifest: Manifest) -> None:
    for run in nonempty(manifest.runs):
        assert not [check.what for check in symptoms(manifest.store, run.id) if check.level == "fault"]


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
    path = tiny_with(tmp_path, "impossible", "{seed: 0}", keys=keys)
    assert message in bench("run", "--grid", str(path), "--quiet", cwd=tmp_path, code=2).stderr
    assert not (tmp_path / "runs" / "runs").exists()


@pytest.mark.grid
def test_runs_that_leave_out_different_hospitals_must_be_able_to_learn_the_same_findings(tmp_path: Path) -> None:
    pool = "evaluate_on: []\nleave_one_out: true\nphantom: {source: 180}\nbase: {train_on: [mimic, vindr]}\n"
    path = tiny_with(tmp_path, "unequal", "{schedule.epochs: 1}", 2, pool)
    said = bench("run", "--grid", str(path), "--quiet", cwd=tmp_path, code=2).stderr
    assert re.search(
        "the run that leaves out mimic cannot learn .*, but other runs do, so nothing could be ranked", said
    )
    assert "without `leave_one_out`" in said


@pytest.mark.parametrize("keys", ["leave_one_out: true\nexpect: {runs: 2}\n", "base: {leave_out: mimic}\n"])
def test_a_model_trained_elsewhere_is_not_compared_with_runs_that_leave_a_hospital_out(
    keys: str, tmp_path: Path
) -> None:
    request = pytest.importorskip("bench.extensions.imported.request")
    path = tiny_with(tmp_path, "out", "{seed: 0}")
    pool = {"evaluate_on": [], "base": {"train_on": ["chexpert", "mimic"]}}
    path.write_text(yaml.safe_dump(merge(merge(yaml.safe_load(path.read_text()), pool), yaml.safe_load(keys))))
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mimic.csv").write_text("image_id,Edema\n")
    (tmp_path / "model.yaml").write_text(
        "name: Other\nmodel: {predictions: p}\noutputs: {kind: probability}\ntrained_on: {cohorts: []}\n"
    )
    with pytest.raises(ConfigError, match="runs of out leave out a hospital") as error:
        request.EvaluationRequest.read(tmp_path / "model.yaml", str(path), None, None)
    assert keys.partition(":")[0] in error.value.where


@pytest.mark.grid
def test_an_algorithm_compares_the_hospitals_on_which_a_run_trains(folds: Path, tmp_path: Path) -> None:
    pool = "evaluate_on: []\nleave_one_out: true\nbase: {train_on: [mimic, nih, chexpert]}\n"
    path = tiny_with(tmp_path, "compared", "{algorithm: groupdro, schedule.epochs: 1}", 3, pool)
    (data,) = (folds / "runs" / "phantom").iterdir()
    words = ("run", "--grid", str(path), "--data", str(data), "--quiet")
    bench(*words, cwd=tmp_path)
    assert len(Store.open(tmp_path / "runs").run_ids()) == 3
    two = pool.replace("nih, ", "")
    path.write_text(path.read_text().replace(pool, two).replace("runs: 3", "runs: 2"))
    refused = bench(*words, cwd=tmp_path, code=2).stderr
    assert "an algorithm compares groups, and the images have only the group" in refused
