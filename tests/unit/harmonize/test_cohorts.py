"""Tests of `harmonize.load`, from files on disk to a cohort."""

import pickle
from pathlib import Path

import pandas as pd
import pytest
from native_tables import TABLES, on_disk, touch

import harmonize
from harmonize import CohortSpec
from harmonize.datasets import BASE, mimic, padchest, vindr
from harmonize.datasets.image_files import are_files
from harmonize.errors import DatasetError
from harmonize.labels.findings import FINDINGS


@pytest.mark.parametrize("layout", TABLES)
def test_a_cohort_has_frontal_images_and_counts_all_others(layout: str, tmp_path: Path) -> None:
    cohort = harmonize.load(on_disk(layout, tmp_path))
    assert set(cohort.table["view"]) <= {"PA", "AP", "FRONTAL"}
    assert [*BASE] == list(cohort.table)[: len(BASE)]
    assert list(FINDINGS) == list(cohort.table)[-len(FINDINGS) :]
    assert all(cohort.table[finding].dtype == pd.Int8Dtype() for finding in FINDINGS)
    flow = dict(cohort.flow)
    del flow["contradictory"]
    found, kept = flow.pop("found"), flow.pop("kept")
    assert found - sum(flow.values()) == kept == len(cohort.table)
    assert not cohort.phantom
    assert cohort.quarantine.empty


def test_dropped_rows_are_counted_by_reason(tmp_path: Path) -> None:
    flow = harmonize.load(on_disk("padchest", tmp_path)).flow
    assert flow == {
        "found": 7,
        "no_labels": 1,
        "pediatric": 1,
        "not_frontal": 2,
        "absent": 0,
        "kept": 3,
        "contradictory": 0,
    }


def test_a_listed_image_without_a_file_goes_to_the_quarantine(tmp_path: Path) -> None:
    spec = on_disk("brax", tmp_path)
    path = TABLES["brax"]()["path"][0]
    other = tmp_path / "images/id_z/other.png"
    other.parent.mkdir(parents=True)
    other.touch()
    (tmp_path / path).unlink()
    with pytest.raises(DatasetError, match="the cohort has no images"):
        harmonize.load(spec)
    spec = on_disk("nih", tmp_path / "nih")
    (tmp_path / "nih/images_012/images/00000013_005.png").unlink()
    cohort = harmonize.load(spec)
    assert cohort.quarantine.to_dict("records") == [
        {"image_id": "00000013_005.png", "path": "", "reason": "listed but absent"}
    ]
    assert cohort.flow["absent"] == 1


def test_a_loop_of_links_hides_no_other_image_of_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    names = [f"{k}.png" for k in range(6)]
    for name in names:
        (folder / name).touch()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "linked.png").symlink_to("0.png")
    (folder / "inner.png").mkdir()
    paths = pd.Series([f"images/{name}" for name in (*names, "linked.png", "loop.png", "inner.png", "none.png")])
    assert are_files(tmp_path, paths).tolist() == [True] * 7 + [False] * 3


def test_a_patient_in_two_official_splits_raises_an_error_without_the_patient_id(tmp_path: Path) -> None:
    table = TABLES["mimic"]()
    table["split"] = ["train", "train", "val", "test", "test"]
    mimic.write(table, tmp_path)
    touch(table, tmp_path)
    with pytest.raises(DatasetError, match="1 patients are in more than one split") as caught:
        harmonize.load(CohortSpec("mimic", "mimic", tmp_path))
    assert "10000002" not in str(caught.value)
    assert str(tmp_path) in caught.value.where


def test_contradictory_labels_are_kept_and_counted(tmp_path: Path) -> None:
    table = TABLES["vindr"]()
    table.loc[0, "native:Edema"] = 1
    table.loc[3, "native:No finding"] = 1
    table.loc[3, "native:Lung tumor"] = 1
    vindr.write(table, tmp_path)
    touch(table, tmp_path)
    assert harmonize.load(CohortSpec("vindr", "vindr", tmp_path)).flow["contradictory"] == 2


def test_phantoms_are_recognized_by_their_settings_file(tmp_path: Path) -> None:
    spec = on_disk("nih", tmp_path / "nih")
    (tmp_path / "phantom.json").write_text("{}")
    assert harmonize.load(spec).phantom


def test_the_id_depends_on_the_table_and_the_mapping(tmp_path: Path) -> None:
    spec = on_disk("padchest", tmp_path)
    cohort = harmonize.load(spec)
    assert len(cohort.id) == 12
    assert cohort.id == harmonize.load(spec).id
    table = TABLES["padchest"]()
    table.loc[0, "device"] = "another"
    padchest.write(table, tmp_path)
    assert harmonize.load(spec).id != cohort.id
    own = on_disk("table", tmp_path / "own")
    before = harmonize.load(own).id
    mapping = tmp_path / "own/mapping.yaml"
    mapping.write_text(mapping.read_text() + "# a remark\n")
    assert harmonize.load(own).id != before


def test_errors_can_be_pickled() -> None:
    error = DatasetError("what", "where", "fix")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
