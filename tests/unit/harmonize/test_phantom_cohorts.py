"""Tests of the files of phantom cohorts: layouts, determinism, interruption, labels."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from harmonize.cohorts.cohort import Cohort, load
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import LABELS, adapter
from harmonize.errors import ConfigError, SetupError
from harmonize.images.pixels import read_gray
from harmonize.labels.findings import ABSENT, FINDINGS, NOT_MENTIONED, PRESENT, UNCERTAIN
from harmonize.phantom import PhantomSettings, cohorts, twin, write_cohorts
from harmonize.phantom.folder import PARTIAL, SETTINGS_FILE
from harmonize.phantom.records import Records
from harmonize.phantom.sites import DRAWN, SITES
from harmonize.phantom.writers import write_dicom

SMALL = PhantomSettings(seed=1, size=64, images={"chexpert": 120, **dict.fromkeys(list(SITES)[1:], 60)})
TINY = PhantomSettings(seed=1, size=64, images={"chexpert": 8, "nih": 8, "vindr": 4})
pytestmark = pytest.mark.slow  # the cohorts that they share are drawn for ten seconds


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantoms")
    write_cohorts(root, SMALL)
    return root


def _cohort(root: Path, site: str) -> Cohort:
    return load(CohortSpec(site, site, root / site))


def _digest(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _truth(root: Path, site: str) -> pd.DataFrame:
    truth = pd.read_parquet(root / "truth" / f"{site}.parquet").set_index("image_id")
    assert truth.index.is_unique
    return truth


@pytest.mark.parametrize("site", SITES)
def test_every_layout_can_be_loaded_with_the_planned_number_of_images(phantoms: Path, site: str) -> None:
    cohort = _cohort(phantoms, site)
    truth = _truth(phantoms, site)
    extra = {"chexpert": 24 + 30, "vindr": 12}.get(site, 0)  # images with expert labels; the small training split
    assert cohort.flow["kept"] == SMALL.images[site] + extra
    assert cohort.flow["absent"] == cohort.flow["contradictory"] == 0
    assert cohort.flow["found"] == len(truth)
    assert cohort.phantom
    assert set(FINDINGS) <= set(cohort.table)
    assert set(cohort.table["image_id"]) <= set(truth.index)


def test_the_phantom_has_images_that_cohorts_exclude(phantoms: Path) -> None:
    padchest, brax = _cohort(phantoms, "padchest"), _cohort(phantoms, "brax")
    assert padchest.flow["pediatric"] == padchest.flow["no_labels"] == brax.flow["strip"] == 1
    assert brax.flow["not_frontal"] >= 6  # images without a stated view
    for site in ("chexpert", "mimic", "padchest"):
        laterals = int((_truth(phantoms, site)["view"] == "LATERAL").sum())
        assert laterals == _cohort(phantoms, site).flow["not_frontal"] > 0


def test_chexpert_has_the_number_of_the_settings_in_train_and_extra_expert_images(phantoms: Path) -> None:
    table = _cohort(phantoms, "chexpert").table
    assert table["split"].value_counts().to_dict() == {"train": 120, "expert_test": 30, "expert_valid": 24}
    expert = table[table["split"].str.startswith("expert")]
    assert set(expert[list(FINDINGS)].to_numpy().ravel()) <= {PRESENT, ABSENT}
    truth = _truth(phantoms, "chexpert").loc[expert["image_id"]]
    for finding in DRAWN:
        assert expert[finding].to_list() == truth[f"true:{finding}"].to_list()


def test_some_patients_have_several_studies_and_no_patient_is_in_two_splits(phantoms: Path) -> None:
    for site in ("chexpert", "mimic", "nih", "padchest", "brax"):
        table = _cohort(phantoms, site).table
        assert table.groupby("patient_id")["study_id"].nunique().max() > 1
        assert table.groupby("patient_id")["split"].nunique().max() == 1


def test_the_chexpert_family_has_uncertain_and_unmentioned_findings(phantoms: Path) -> None:
    train = _cohort(phantoms, "chexpert").table.query("split == 'train'")
    assert set(train["No Finding"].unique()) == {PRESENT, NOT_MENTIONED}
    states = train[list(DRAWN)].to_numpy(dtype=int)
    assert 0.03 < np.mean(states == UNCERTAIN) < 0.12
    assert np.sum(states == NOT_MENTIONED) > 4 * np.sum(states == ABSENT)


def test_most_labels_agree_with_the_truth(phantoms: Path) -> None:
    for site in SITES:
        table = _cohort(phantoms, site).table
        truth = _truth(phantoms, site).loc[table["image_id"]]
        for finding in DRAWN:
            label, true = table[finding].to_numpy(dtype=int, na_value=-9), truth[f"true:{finding}"].to_numpy()
            is_certain = label != UNCERTAIN
            assert (label[is_certain] == PRESENT).sum() > 0 or true.sum() < 6
            assert np.mean((label[is_certain] == PRESENT) == true[is_certain]) > 0.93


def test_token_families_have_unmapped_words_and_padchest_has_leading_spaces(phantoms: Path) -> None:
    nih = adapter("nih").read(phantoms / "nih")[LABELS]
    assert nih.str.contains("Infiltration").any()
    assert not nih.str.contains(r"No Finding\||\|No Finding").any()
    raw = pd.concat([pd.read_csv(path) for path in (phantoms / "padchest").glob("*.csv")])["Labels"].dropna()
    assert raw.str.contains("', ' ").any()


def test_sex_and_age_are_missing_where_the_release_has_none(phantoms: Path) -> None:
    for site in ("mimic", "vindr"):
        table = _cohort(phantoms, site).table
        assert (table["sex"] == "").all()
        assert table["age"].isna().all()
    assert set(_cohort(phantoms, "nih").table["sex"]) == {"F", "M"}
    assert (_cohort(phantoms, "brax").table["age"] % 5 == 0).all()


def test_stored_images_equal_the_twins_of_their_patients(phantoms: Path) -> None:
    row = _truth(phantoms, "nih").iloc[3]
    stored = read_gray(phantoms / "nih" / row["path"])
    radiograph = twin(SMALL, "nih", int(row["patient"]), int(row["study"]))
    assert radiograph.token == row["token"]
    assert np.array_equal(stored, np.rint(radiograph.image * 255).astype(np.uint8))


def test_masks_have_the_image_size_and_fill_their_boxes(phantoms: Path) -> None:
    for site in ("chexpert", "brax", "vindr"):
        boxes = pd.read_parquet(phantoms / "truth" / f"{site}-boxes.parquet")
        truth = _truth(phantoms, site)
        assert set(DRAWN) & set(boxes["finding"])
        for box in boxes.head(20).itertuples():
            row = truth.loc[box.image_id]
            mask = twin(SMALL, site, int(row["patient"]), int(row["study"])).masks[box.finding]
            assert mask.shape == read_gray(phantoms / site / row["path"]).shape
            inside = mask[int(box.y_min) : int(box.y_max), int(box.x_min) : int(box.x_max)]
            assert inside.any(0).all() or inside.any(1).all()


def test_boxes_are_also_in_the_box_files_of_the_datasets(phantoms: Path) -> None:
    truth_boxes = pd.read_parquet(phantoms / "truth" / "nih-boxes.parquet")
    nih = adapter("nih").boxes(phantoms / "nih")
    first = nih.iloc[0]
    match = truth_boxes[(truth_boxes["image_id"] == first["image_id"]) & (truth_boxes["finding"] == first["finding"])]
    assert (match["x_min"] * 1024 / SMALL.size == first["x_min"]).any()
    vindr = adapter("vindr").boxes(phantoms / "vindr")
    assert len(vindr) > 0
    assert set(vindr["finding"]) <= set(DRAWN)


def test_monochrome1_and_monochrome2_give_the_same_gray_values(tmp_path: Path) -> None:
    image = twin(TINY, "vindr", 0).image
    for inverted in (False, True):
        path = tmp_path / f"{inverted}.dicom"
        write_dicom(path, image, uid="2.25.7", bits=12, window=(200, 3500), inverted=inverted)
    normal, decoded_inverted = (read_gray(tmp_path / f"{inverted}.dicom").astype(int) for inverted in (False, True))
    assert np.abs(normal - decoded_inverted).max() <= 1
    assert np.abs(normal - image * 255).max() < 1.5


def test_twelve_bits_in_a_16_bit_png_give_the_image_back(phantoms: Path) -> None:
    row = _truth(phantoms, "padchest").query("view != 'LATERAL'").iloc[0]
    raw = cv2.imread(str(phantoms / "padchest" / row["path"]), cv2.IMREAD_UNCHANGED)
    assert raw.dtype == np.uint16
    assert 2000 < raw.max() < 4096
    radiograph = twin(SMALL, "padchest", int(row["patient"]), int(row["study"]))
    stored = read_gray(phantoms / "padchest" / row["path"])
    assert np.corrcoef(stored.ravel(), radiograph.image.ravel())[0, 1] > 0.99


def _killed(_: object) -> Records:
    os.kill(os.getpid(), signal.SIGKILL)
    return Records()


def test_a_drawing_process_that_is_killed_is_an_error_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohorts, "_run_task", _killed)
    monkeypatch.setattr(cohorts, "PIXELS_PER_WORKER", 1)
    with pytest.raises(SetupError, match="a drawing process died") as error:
        write_cohorts(tmp_path / "phantoms", TINY, workers=2)
    assert error.value.where == str(tmp_path / "phantoms")


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cohorts(tmp_path / "one", TINY, workers=1)
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(cohorts, "PIXELS_PER_WORKER", 1)
    write_cohorts(tmp_path / "two", TINY, workers=2, progress=lambda *call: calls.append(call))
    assert _digest(tmp_path / "one") == _digest(tmp_path / "two")
    assert {site: done for site, done, _ in calls} == {site: total for site, _, total in calls}
    assert list(dict.fromkeys(site for site, _, _ in calls)) == list(TINY.images)


def test_few_images_are_drawn_by_few_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used, run = [], cohorts._run

    def noted(tasks: list[cohorts._Task], workers: int) -> Iterator[Records]:
        used.append(workers)
        return run(tasks, 1)

    monkeypatch.setattr(cohorts, "_run", noted)
    write_cohorts(tmp_path / "one", TINY, workers=8)
    monkeypatch.setattr(cohorts, "PIXELS_PER_WORKER", 5 * TINY.canvas**2)
    write_cohorts(tmp_path / "four", TINY, workers=8)
    write_cohorts(tmp_path / "two", TINY, workers=2)
    assert used == [0, 4, 2]


def test_the_strength_of_the_shortcut_does_not_change_labels(tmp_path: Path) -> None:
    for strength in (0.0, 1.0):
        settings = PhantomSettings(seed=1, size=64, images=TINY.images, shortcut=strength)
        write_cohorts(tmp_path / str(strength), settings)
    weak, strong = (adapter("chexpert").read(tmp_path / name / "chexpert") for name in ("0.0", "1.0"))
    pd.testing.assert_frame_equal(weak, strong)
    tokens = [_truth(tmp_path / name, "chexpert")["token"] for name in ("0.0", "1.0")]
    assert (tokens[0] != tokens[1]).any()
    truth = _truth(tmp_path / "1.0", "chexpert").query("view != 'LATERAL'")
    assert (truth["token"] == truth["true:Pleural Effusion"].astype(bool)).all()


def test_a_complete_folder_does_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cohorts(tmp_path, TINY)
    assert json.loads((tmp_path / SETTINGS_FILE).read_text())["settings"] == TINY.as_dict()
    monkeypatch.setattr(cohorts, "write_visit", None)  # any work would fail
    write_cohorts(tmp_path, TINY)


def test_an_interrupted_write_leaves_no_settings_file_and_is_repeated(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(site: str, _done: int, _total: int) -> None:
        if site == "nih":
            raise StopError

    with pytest.raises(StopError):
        write_cohorts(tmp_path / "a", TINY, progress=stop)
    assert not (tmp_path / "a" / SETTINGS_FILE).exists()
    assert not (tmp_path / "a" / "chexpert").exists()
    write_cohorts(tmp_path / "a", TINY)
    write_cohorts(tmp_path / "b", TINY)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    assert not (tmp_path / "a" / PARTIAL).exists()


def test_other_data_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "nih").mkdir()
    with pytest.raises(ConfigError, match="already contains nih"):
        write_cohorts(tmp_path, TINY)
    write_cohorts(tmp_path / "own", TINY)
    with pytest.raises(ConfigError, match="other settings"):
        write_cohorts(tmp_path / "own", PhantomSettings(seed=2, size=64, images=TINY.images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "chexprt"}, "did you mean 'chexpert'"),
        ({"finding": "No Finding"}, "no finding 'No Finding' in the phantom"),
        ({"shortcut": 1.2}, "shortcut must be in"),
        ({"size": 32}, "size"),
        ({"images": {"nih": 0}}, "images of nih"),
        ({"images": {}}, "at least one hospital"),
        ({"seed": -1}, "seed"),
    ],
)
def test_invalid_settings_raise_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhantomSettings(**change)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        PhantomSettings.from_dict(change, "grid.yaml: phantom")


def test_settings_survive_json_and_have_a_key() -> None:
    again = PhantomSettings.from_dict(json.loads(json.dumps(SMALL.as_dict())), "phantom.json")
    assert again == SMALL
    assert again.key == SMALL.key != TINY.key
    with pytest.raises(ConfigError, match="unknown key"):
        PhantomSettings.from_dict({"sead": 1}, "grid.yaml: phantom")
