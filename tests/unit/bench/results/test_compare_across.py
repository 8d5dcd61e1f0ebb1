"""`bench compare` of two runs from grids that differ in one key. The runs have made-up logits: no network is trained."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.manifest import write_manifest
from bench.planning.plan import Plan, make_plan
from bench.results.compare_two_runs import Contrast, contrast
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, write_table
from harmonize.datasets.chexpert import LABELS, TRAIN
from harmonize.errors import ConfigError, CxrError, StoreError

MAPPING = """
image: "{file}"
patient: patient
view: {column: view, PA: [PA], AP: [AP]}
sex: {column: sex, M: [M], F: [F]}
age: {column: age}
findings:
  Edema: {column: edema, present: [1], absent: [0]}
  Cardiomegaly: {column: cardiomegaly, present: [1], absent: [0]}
"""
BASE: Mapping[str, Any] = {
    "train_on": "east",
    "architecture": "seresnet_tiny",
    "optimizer": "adamw",
    "loss": "bce",
    "uncertainty": "u_ignore",
    "preprocessing": "imagenet_64",
    "channels": 1,
    "space": "shared-9",
}
GRID: Mapping[str, Any] = {
    "min_count": 2,
    "split": {"train": 0.4, "val": 0.3, "test": 0.3},
    "evaluate_on": ["west", "north"],
    "analyses": False,
    "base": BASE,
}
MakeRun = Callable[..., str]
pytestmark = pytest.mark.slow  # each test plans and scores two grids


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def write_hospital(root: Path, seed: int, num: int = 160) -> None:
    draw = np.random.default_rng(seed)
    root.mkdir(parents=True)
    table = pd.DataFrame(
        {
            "file": [f"{root.name}{i}.png" for i in range(num)],
            "patient": [f"{root.name}-p{i // 2}" for i in range(num)],
            "view": draw.choice(["PA", "AP"], num),
            "sex": np.repeat(draw.choice(["M", "F"], num // 2), 2),
            "age": np.repeat(draw.integers(20, 90, num // 2), 2),
            "edema": draw.integers(0, 2, num),
            "cardiomegaly": draw.integers(0, 2, num),
        }
    )
    for name in table["file"]:
        (root / name).touch()
    table.to_csv(root / "table.csv", index=False)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return an empty store, next to a data file with three hospitals."""
    for seed, name in enumerate(("east", "west", "north")):
        write_hospital(tmp_path / name, seed)
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    write_data(tmp_path / "data.yaml")
    return Store.open(tmp_path / "runs")


def write_data(path: Path, **changes: Mapping[str, Any]) -> None:
    entry = {"layout": "table", "table": "table.csv", "mapping": "mapping.yaml"}
    path.write_text(yaml.safe_dump({n: {**entry, "root": n, **changes.get(n, {})} for n in ("east", "west", "north")}))


@pytest.fixture
def make_run(store: Store, tmp_path: Path) -> MakeRun:
    """Return a function that plans a grid with one run, gives the run logits, and returns its id."""

    def make(name: str, base: Mapping[str, Any] | None = None, data: Path | None = None, **keys: Any) -> str:
        raw = {**GRID, **keys, "name": name, "base": {**BASE, **(base or {})}}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(raw))
        registry = Registry.read()
        plan = make_plan(
            Grid.read(str(path), registry),
            registry,
            store,
            data or tmp_path / "data.yaml",
            None,
            1,
            "bench run",
            silent,
        )
        write_manifest(plan, {}, 0)
        predict(plan)
        return plan.runs[0].id

    return make


def predict(plan: Plan) -> None:
    """Store logits of the plan's run that follow the labels, with noise of the run."""
    [run] = plan.runs
    folder = plan.store.begin(run.id, run.document)
    for ref in plan.refs:
        table = plan.cohorts[ref.name].table
        rows = table[ref.predicted_rows(ref.split_of(table, run.config))]
        draw = np.random.default_rng(int(run.id[:6], 16))
        frame = pd.DataFrame({"image_id": rows["image_id"].to_numpy(str)})
        for finding in run.config.findings:
            truth = rows[finding].astype("float64").fillna(0).to_numpy() if finding in rows else np.zeros(len(rows))
            frame[finding] = (truth + draw.normal(size=len(rows))).astype(np.float32)
        write_table(folder / "predictions" / f"{ref.name}.parquet", frame)
        (folder / "features").mkdir(exist_ok=True)
        (folder / "features" / f"{ref.name}.npz").touch()
    CheckedFolder(folder).mark_done()


def counts(result: Contrast) -> dict[str, int]:
    """Return the number of images with a label of Edema for each cohort."""
    rows = result.table[(result.table["finding"] == "Edema") & (result.table["dataset"] != "external")]
    return {f"{dataset}/{split}": n for dataset, split, n in rows[["dataset", "split", "n"]].itertuples(index=False)}


DIFFERENCES: Mapping[str, tuple[Mapping[str, Any], set[str]]] = {
    # key that differs -> (keys of the second grid, compared cohorts)
    "train_on": ({"base": {"train_on": "west"}, "evaluate_on": ["east", "north"]}, {"east/test", "west/test", "north/all"}),
    "evaluate_on": ({"evaluate_on": ["west"]}, {"east/test", "west/all"}),
    "cohort.views": ({"base": {"cohort": {"views": "pa"}}}, {"east/test", "west/all", "north/all"}),
    "cohort.per_study": ({"base": {"cohort": {"per_study": "one"}}}, {"east/test", "west/all", "north/all"}),
    "cohort.min_age": ({"base": {"cohort": {"min_age": 40}}}, {"east/test", "west/all", "north/all"}),
    "cohort.limit": ({"base": {"cohort": {"limit": 20}}}, {"east/test", "west/all", "north/all"}),
    "split": ({"split": {"train": 0.5, "val": 0.2, "test": 0.3}}, {"east/test", "west/all", "north/all"}),
    "space": ({"base": {"space": "chexpert-5"}}, {"east/test", "west/all", "north/all"}),
    "finding": ({"base": {"task": "binary", "finding": "Edema"}}, {"east/test", "west/all", "north/all"}),
    "mapping": ({"base": {"mapping": "strict"}}, {"east/test", "west/all", "north/all"}),
    "blank": ({"base": {"blank": "ignore"}}, {"east/test", "west/all", "north/all"}),
    "min_count": ({"min_count": 5}, {"east/test", "west/all", "north/all"}),
    "loss": ({"base": {"loss": "focal"}}, {"east/test", "west/all", "north/all"}),
}  # fmt: skip


@pytest.mark.parametrize("key", DIFFERENCES)
def test_runs_of_grids_that_differ_in_one_key_are_compared(key: str, store: Store, make_run: MakeRun) -> None:
    keys, cohorts = DIFFERENCES[key]
    runs = [make_run("first"), make_run("second", **keys)]
    assert runs[0] != runs[1] or key in {"evaluate_on", "min_count"}
    if runs[0] == runs[1]:
        runs[1] = make_run("second", **{**keys, "base": {"seed": 1}})
    first, second = runs
    result = contrast(store, first, second, "auroc")
    assert set(counts(result)) == cohorts
    macro = result.table[(result.table["finding"] == "macro")].set_index("dataset")
    assert np.isfinite(macro["difference"].astype(float)).all()
    back = contrast(store, second, first, "auroc").table
    keys_of_row = ["dataset", "split", "finding"]
    both = result.table.merge(back, on=keys_of_row, suffixes=("", "_back"), validate="one_to_one")
    assert len(both) == len(result.table) == len(back)
    for name, other in (("difference", "difference"), ("low", "high"), ("high", "low")):
        np.testing.assert_allclose(both[name], -both[f"{other}_back"], atol=1e-12)


def write_stanford(root: Path, num: int = 160) -> None:
    """Write a hospital in the layout of CheXpert; in the table of CheXbert, every fifth label of Edema is the opposite."""
    draw = np.random.default_rng(7)
    paths = [f"train/patient{i // 2:05d}/study{i % 2}/view1_frontal.jpg" for i in range(num)]
    table = pd.DataFrame({"Path": paths, "Sex": "Female", "Age": 60, "Frontal/Lateral": "Frontal", "AP/PA": "PA"})
    table[list(LABELS)] = draw.integers(0, 2, (num, len(LABELS))).astype(float)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    others = [label for label in LABELS if label != "No Finding"]
    for source in ("default", "chexbert"):
        table["No Finding"] = (table[others] == 0).all(axis=1).astype(float)
        table.to_csv(root / TRAIN[source], index=False)
        table.loc[::5, "Edema"] = 1 - table.loc[::5, "Edema"]


@pytest.mark.parametrize("role", ["internal", "external"])
def test_data_files_with_other_label_sources_are_compared_with_the_labels_of_the_first(
    role: str, store: Store, make_run: MakeRun, tmp_path: Path
) -> None:
    write_stanford(tmp_path / "stanford")
    data = yaml.safe_load((tmp_path / "data.yaml").read_text())
    for name, source in (("own.yaml", "default"), ("chexbert.yaml", "chexbert")):
        stanford = {"layout": "chexpert", "root": "stanford", "label_source": source}
        (tmp_path / name).write_text(yaml.safe_dump({**data, "stanford": stanford}))
    where, cohorts = {
        "internal": ({"train_on": "stanford"}, ["west"]),
        "external": ({}, ["west", "stanford"]),
    }[role]
    first = make_run("first", where, tmp_path / "own.yaml", evaluate_on=cohorts)
    second = make_run("second", {**where, "seed": 1}, tmp_path / "chexbert.yaml", evaluate_on=cohorts)
    result, back = contrast(store, first, second, "auroc"), contrast(store, second, first, "auroc")
    split = "stanford/test" if role == "internal" else "stanford/all"
    assert split in counts(result)
    assert counts(result) == counts(back)
    assert any("with the labels of the first" in note for note in result.notes)
    rows = [table.set_index(["dataset", "finding"])["difference"] for table in (result.table, back.table)]
    # the logits of a run follow the labels of its own data file, and Edema at Stanford has other labels there
    assert rows[0]["stanford", "Edema"] > 0
    assert rows[1]["stanford", "Edema"] > 0
    assert rows[0]["west", "Edema"] == pytest.approx(-rows[1]["west", "Edema"])


def test_the_images_are_those_of_both_runs(store: Store, make_run: MakeRun) -> None:
    first = make_run("first")
    second = make_run("second", {"cohort": {"views": "pa"}})
    result = contrast(store, first, second, "auroc")
    assert any("only common images" in note for note in result.notes)
    assert (
        0
        < counts(result)["east/test"]
        < counts(contrast(store, first, make_run("third", {"seed": 1}), "auroc"))["east/test"]
    )


def test_a_run_of_one_cohort_alone_is_compared_there(store: Store, make_run: MakeRun) -> None:
    result = contrast(store, make_run("first"), make_run("alone", {"seed": 1}, evaluate_on=[]), "auroc")
    assert set(counts(result)) == {"east/test"}


def test_thresholds_are_those_of_each_run(store: Store, make_run: MakeRun) -> None:
    second = make_run("second", {"train_on": "west"}, evaluate_on=["east", "north"])
    result = contrast(store, make_run("first"), second, "sensitivity", "youden")
    assert set(counts(result)) == {"east/test", "west/test", "north/all"}
    assert any("trained at east (first) and west (second)" in note for note in result.notes)


def refusal(store: Store, first: str, second: str, metric: str = "auroc", **options: Any) -> CxrError:
    with pytest.raises(ConfigError) as error:
        contrast(store, first, second, metric, **options)
    return error.value


def test_runs_without_a_common_finding_are_refused(store: Store, make_run: MakeRun) -> None:
    edema, heart = (make_run(f, {"task": "binary", "finding": f}) for f in ("Edema", "Cardiomegaly"))
    error = refusal(store, edema, heart)
    assert "no finding in common: the first learned Edema and the second learned Cardiomegaly" in error.what
    assert "panels" in error.fix


def test_runs_without_a_common_cohort_are_refused(store: Store, make_run: MakeRun) -> None:
    north = make_run("far", {"train_on": "north"}, evaluate_on=["west"])
    error = refusal(store, make_run("near", evaluate_on=[]), north)
    assert "no cohort in common: the first predicted east and the second predicted north, west" in error.what
    assert "evaluate_on" in error.fix


def test_runs_without_a_common_image_are_refused(store: Store, make_run: MakeRun) -> None:
    young = make_run("young", {"cohort": {"max_age": 50}}, evaluate_on=[])
    old = make_run("old", {"cohort": {"min_age": 60}}, evaluate_on=[])
    error = refusal(store, young, old)
    assert "no scored image in common in east" in error.what
    assert "`cohort`" in error.fix


def test_a_cohort_without_a_common_image_is_named(store: Store, make_run: MakeRun) -> None:
    young, old = (make_run(name, {"cohort": {key: 55}}) for name, key in (("young", "max_age"), ("old", "min_age")))
    result = contrast(store, young, make_run("older", {"cohort": {"min_age": 60}}), "auroc")
    assert set(counts(result)) == {"west/all", "north/all"}
    assert any("Not compared: east" in note for note in result.notes)
    assert old != young


def test_gaps_from_different_hospitals_are_refused(store: Store, make_run: MakeRun) -> None:
    west = make_run("second", {"train_on": "west"}, evaluate_on=["east", "north"])
    error = refusal(store, make_run("first"), west, "auroc_gap")
    assert "different internal hospitals: that of the first is east and that of the second is west" in error.what
    assert "auroc" in error.fix


def test_gaps_without_a_common_external_hospital_are_refused(store: Store, make_run: MakeRun) -> None:
    near, far = make_run("near", evaluate_on=["west"]), make_run("far", {"seed": 1}, evaluate_on=["north"])
    assert "no gap in common" in refusal(store, near, far, "auroc_gap").what
    assert set(counts(contrast(store, near, far, "auroc"))) == {"east/test"}


def test_two_datasets_with_one_name_are_refused(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run("first")
    other = tmp_path / "other"
    write_hospital(other / "north", 9)
    table = pd.read_csv(other / "north" / "table.csv")
    table["patient"] = "x" + table["patient"]
    table.to_csv(other / "north" / "table.csv", index=False)
    write_data(tmp_path / "other.yaml", north={"root": "other/north"})
    second = make_run("second", {"seed": 1}, tmp_path / "other.yaml")
    error = refusal(store, first, second)
    assert "160 images of north belong to other patients" in error.what
    assert "--cohort" in error.fix
    assert set(counts(contrast(store, first, second, "auroc", datasets=["east"]))) == {"east/test"}


def test_lists_of_excluded_patients_may_differ(store: Store, make_run: MakeRun, tmp_path: Path) -> None:
    first = make_run("first")
    pd.DataFrame({"patient_id": [f"{name}-p{i}" for name in ("east", "north") for i in range(20)]}).to_csv(
        tmp_path / "patients.csv", index=False
    )
    write_data(tmp_path / "fewer.yaml", **{name: {"exclude": "patients.csv"} for name in ("east", "north")})
    second = make_run("second", {"seed": 1}, tmp_path / "fewer.yaml")
    assert counts(contrast(store, first, second, "auroc"))["north/all"] == 120


def test_unknown_runs_are_refused(store: Store, make_run: MakeRun) -> None:
    with pytest.raises(StoreError, match="no run 'ffff"):
        contrast(store, make_run("first"), "ffffffffffff", "auroc")
