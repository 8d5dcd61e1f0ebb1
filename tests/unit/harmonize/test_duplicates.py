"""Tests of the scan of images: unreadable, blank and duplicate images, and the continuation of a scan."""

import os
from collections.abc import Iterable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from native_tables import written
from pictures import save, save_dicom

from harmonize import CohortSpec, load
from harmonize.checks import scan
from harmonize.checks.duplicates import ScannedCohort, check_duplicates, check_images
from harmonize.checks.frontal_view import wrong_views
from harmonize.checks.release import Check
from harmonize.checks.scan import scan as scan_images
from harmonize.images.image_header import INSTALL_DECODERS, UnreadableImage
from harmonize.images.perceptual_hash import smaller, thumbnail


def random_image(seed: int) -> np.ndarray:
    """Return smooth noise that does not look like an inverted or turned radiograph."""
    rng = np.random.default_rng(seed)
    while True:
        noise = rng.normal(size=(9, 8)).astype(np.float32)
        large = cv2.resize(noise, (150, 180), interpolation=cv2.INTER_CUBIC)
        image = cv2.normalize(large, None, 5, 250, cv2.NORM_MINMAX).astype(np.uint8)
        if wrong_views(smaller(thumbnail(image)[np.newaxis])) == [""]:
            return image


def write_dataset(root: Path, layout: str, seed: int) -> CohortSpec:
    """Write a small dataset of different images."""
    for number, path in enumerate(written(layout, root)["path"]):
        cv2.imwrite(str(root / path), random_image(seed + number))
    return CohortSpec(layout, layout, root)


def load_and_scan(spec: CohortSpec, store: Path) -> ScannedCohort:
    read = load(spec)
    return ScannedCohort(read, scan_images(spec.name, read.root, read.table["path"].tolist(), store))


def severe(checks: list[Check]) -> list[tuple[str, str]]:
    return [(c.level, c.what) for c in checks if c.level in ("fault", "warning")]


NIH = "images_001/images/00000001_000.png", "images_012/images/00000002_000.png", "images_012/images/00000013_005.png"


@pytest.fixture
def nih(tmp_path: Path) -> CohortSpec:
    """Return a dataset with 1_000 and 1_001 of one patient and 13_005 in train, and 2_000 in test."""
    return write_dataset(tmp_path / "nih", "nih", 0)


def test_different_images_are_no_duplicates(nih: CohortSpec, tmp_path: Path) -> None:
    scanned = load_and_scan(nih, tmp_path / "store")
    assert [c.level for c in [*check_images(scanned), *check_duplicates([scanned])]] == ["ok", "ok"]


def test_equal_files_in_two_splits_are_a_fault_with_the_image_ids(nih: CohortSpec, tmp_path: Path) -> None:
    (nih.root / NIH[1]).write_bytes((nih.root / NIH[0]).read_bytes())
    (check,) = check_duplicates([load_and_scan(nih, tmp_path / "store")])
    assert (check.level, check.what) == ("fault", "identical files in two splits")
    assert check.found == "1 pairs among 2 images: 00000001_000.png = 00000002_000.png"


def test_a_recompressed_smaller_copy_in_two_splits_is_a_warning(nih: CohortSpec, tmp_path: Path) -> None:
    copy = cv2.resize(random_image(0), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    (nih.root / NIH[1]).write_bytes(cv2.imencode(".jpg", copy)[1].tobytes())
    assert severe(check_duplicates([load_and_scan(nih, tmp_path / "store")])) == [
        ("warning", "near duplicates in two splits")
    ]


def test_equal_files_of_two_patients_are_a_warning_and_of_one_patient_a_note(nih: CohortSpec, tmp_path: Path) -> None:
    (nih.root / NIH[2]).write_bytes((nih.root / NIH[0]).read_bytes())
    assert severe(check_duplicates([load_and_scan(nih, tmp_path / "store")])) == [
        ("warning", "identical files under two patients")
    ]
    cv2.imwrite(str(nih.root / NIH[2]), random_image(50))
    (nih.root / NIH[0]).write_bytes((nih.root / NIH[0].replace("_000", "_001")).read_bytes())
    checks = check_duplicates([load_and_scan(nih, tmp_path / "store")])
    assert [(c.level, c.what) for c in checks if c.level == "note"] == [("note", "identical files of one patient")]
    assert severe(checks) == []


def test_equal_files_in_two_datasets_are_a_fault_with_both_names(nih: CohortSpec, tmp_path: Path) -> None:
    brax = write_dataset(tmp_path / "brax", "brax", 20)
    source = next(p for p in sorted(brax.root.rglob("*.png")) if "image-3.1" in p.name)
    source.write_bytes((nih.root / NIH[1]).read_bytes())
    scanned = [load_and_scan(spec, tmp_path / "store") for spec in (nih, brax)]
    (check,) = check_duplicates(scanned)
    assert (check.level, check.what) == ("fault", "identical files in nih and brax")
    assert "00000002_000.png = id_a/Study_1.1" in check.found


def test_two_cohorts_of_one_folder_are_a_note(nih: CohortSpec, tmp_path: Path) -> None:
    again = CohortSpec("again", "nih", nih.root)
    (nih.root / NIH[0]).write_bytes((nih.root / NIH[0].replace("_000", "_001")).read_bytes())  # images of one patient
    checks = check_duplicates([load_and_scan(spec, tmp_path / "store") for spec in (nih, again)])
    assert severe(checks) == []
    assert "4 images" in next(c.found for c in checks if c.level == "note")


def test_truncated_and_blank_files_are_reported(nih: CohortSpec, tmp_path: Path) -> None:
    truncated = nih.root / NIH[0]
    truncated.write_bytes(truncated.read_bytes()[:200])
    cv2.imwrite(str(nih.root / NIH[1]), np.full((60, 60), 7, np.uint8))
    unreadable, blank = check_images(load_and_scan(nih, tmp_path / "store"))
    assert (unreadable.level, blank.level) == ("fault", "warning")
    assert "00000001_000.png (truncated PNG)" in unreadable.found
    assert "00000002_000.png" in blank.found


def test_damaged_files_of_padchest_are_a_warning_because_the_release_has_some(tmp_path: Path) -> None:
    spec = write_dataset(tmp_path / "padchest", "padchest", 0)
    images = load(spec).table["path"]
    (spec.root / images[0]).write_bytes(b"no image")
    assert severe(check_images(load_and_scan(spec, tmp_path / "store"))) == [("warning", "unreadable images")]
    (spec.root / "phantom.json").write_text("{}")
    assert severe(check_images(load_and_scan(spec, tmp_path / "store"))) == [("fault", "unreadable images")]


def test_no_message_contains_a_patient_id(tmp_path: Path) -> None:
    spec = write_dataset(tmp_path / "padchest", "padchest", 0)
    images = sorted(spec.root.rglob("*.png"))
    for image in images[1:]:
        image.write_bytes(images[0].read_bytes())
    scanned = load_and_scan(spec, tmp_path / "store")
    messages = "".join(c.found + c.fix for c in check_duplicates([scanned]))
    assert not any(patient in messages for patient in scanned.cohort.table["patient_id"])


def test_an_interrupted_scan_continues_and_reads_changed_files_again(
    nih: CohortSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = load(nih)
    paths = read.table["path"].tolist()
    opened: list[str] = []
    real = scan.read_gray

    def counting(path: Path, at_least: int) -> np.ndarray:
        if len(opened) == 2:
            raise KeyboardInterrupt
        opened.append(path.name)
        return real(path, at_least)

    monkeypatch.setattr(scan, "read_gray", counting)
    monkeypatch.setattr(scan, "_CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        scan_images("nih", nih.root, paths, tmp_path / "store")
    (records,) = (tmp_path / "store").glob("*.records")
    num_records = records.stat().st_size // scan._RECORD.itemsize
    assert num_records == 2
    with records.open("ab") as file:
        file.write(b"half a record")
    monkeypatch.setattr(scan, "read_gray", real)
    resumed = scan_images("nih", nih.root, paths, tmp_path / "store")
    assert resumed.reused == num_records
    fresh = scan_images("nih", nih.root, paths, tmp_path / "elsewhere")
    for name in ("content", "hash", "flat", "small", "reason"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(fresh, name))
    assert scan_images("nih", nih.root, paths, tmp_path / "store").reused == 4
    os.utime(nih.root / paths[0], ns=(1, 1))
    assert scan_images("nih", nih.root, paths, tmp_path / "store").reused == 3


def test_results_before_a_failure_are_stored_in_any_order_of_threads(
    nih: CohortSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = paths = load(nih).table["path"].tolist()
    real = scan.read_gray

    def failing(path: Path, at_least: int) -> np.ndarray:
        if path != nih.root / first:
            raise KeyboardInterrupt
        return real(path, at_least)

    def all_at_once(pending: Iterable[Future[Any]], **_: object) -> tuple[list[Future[Any]], list[Future[Any]]]:
        wait(pending)
        return list(reversed(list(pending))), []  # the failure comes first

    monkeypatch.setattr(scan, "read_gray", failing)
    monkeypatch.setattr(scan, "wait", all_at_once)
    monkeypatch.setattr(scan, "_CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        scan_images("nih", nih.root, paths, tmp_path / "store")
    (records,) = (tmp_path / "store").glob("*.records")
    assert records.stat().st_size == scan._RECORD.itemsize


def test_progress_counts_all_images(nih: CohortSpec, tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    paths = load(nih).table["path"].tolist()
    scan_images("nih", nih.root, paths, tmp_path / "s", 2, lambda *step: steps.append(step))
    assert (steps[0], steps[-1]) == (("nih", 0, 4), ("nih", 4, 4))


def table_of(root: Path, images: list[str]) -> CohortSpec:
    """Write an own table of these image files."""
    lines = [f"{image},{number},{number % 2}" for number, image in enumerate(images)]
    (root / "table.csv").write_text("\n".join(["file,patient,edema", *lines]))
    (root / "mapping.yaml").write_text(
        'image: "{file}"\npatient: patient\nfindings: {Edema: {column: edema, present: ["1"], absent: ["0"]}}\n'
    )
    return CohortSpec("own", "table", root, table="table.csv", mapping="mapping.yaml")


def test_files_unlike_radiographs_and_unusual_gray_levels_are_warnings(tmp_path: Path) -> None:
    for number in range(20):
        save(tmp_path / f"{number}.png", random_image(number))
    save(tmp_path / "dark.png", random_image(30) // 7)
    two = np.stack([random_image(31).astype(np.uint16)] * 2)
    save_dicom(tmp_path / "two.dcm", two, Rows=180, Columns=150, NumberOfFrames=2)
    spec = table_of(tmp_path, [*(f"{number}.png" for number in range(20)), "dark.png", "two.dcm"])
    checks = {check.what: check for check in check_images(load_and_scan(spec, tmp_path / "store"))}
    assert list(checks) == ["images", "unlike radiographs", "unusual gray levels"]
    assert checks["unlike radiographs"].found == "1 image: two.dcm (2 frames: only the first is used)"
    assert checks["unusual gray levels"].found.startswith("1 image: dark.png (mean gray: ")
    assert "(images of own: " in checks["unusual gray levels"].found
    assert {checks[what].level for what in ("unlike radiographs", "unusual gray levels")} == {"warning"}


@pytest.mark.parametrize("also_damaged", [False, True])
def test_a_missing_decoder_is_not_fixed_by_another_download(
    also_damaged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, _at_least: int) -> None:
        raise UnreadableImage("truncated PNG" if path.name == "1.png" else f"no decoder for X: {INSTALL_DECODERS}")

    monkeypatch.setattr(scan, "read_gray", fails)
    for name in ("0.png", "1.png"):
        save(tmp_path / name, random_image(0))
    spec = table_of(tmp_path, ["0.png", "1.png"] if also_damaged else ["0.png"])
    (check,) = check_images(load_and_scan(spec, tmp_path / "store"))
    assert f"0.png (no decoder for X: {INSTALL_DECODERS})" in check.found
    assert check.fix.startswith(INSTALL_DECODERS)
    assert ("download" in check.fix) == also_damaged


def test_a_long_reason_ends_after_a_whole_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_path: Path, _at_least: int) -> None:
        raise UnreadableImage("damaged: " + "requires-pylibjpeg " * 20)

    monkeypatch.setattr(scan, "read_gray", fails)
    save(tmp_path / "0.png", random_image(0))
    scanned = load_and_scan(table_of(tmp_path, ["0.png"]), tmp_path / "store")
    assert scanned.scan.reason[0].endswith("requires-pylibjpeg ...")
