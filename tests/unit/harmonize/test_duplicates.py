"""Images looked at one by one: unreadable, blank and repeated ones, and a scan that goes on."""

import os
from collections.abc import Iterable
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from native_tables import written

from harmonize import CohortSpec, load
from harmonize.checks import scan
from harmonize.checks.duplicates import Looked, check_duplicates, check_images
from harmonize.checks.release import Check
from harmonize.checks.scan import scan as scan_images


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=(9, 8)).astype(np.float32)
    large = cv2.resize(noise, (150, 180), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(large, None, 5, 250, cv2.NORM_MINMAX).astype(np.uint8)


def cohort(root: Path, layout: str, seed: int) -> CohortSpec:
    """A small dataset of different pictures."""
    for number, path in enumerate(written(layout, root)["path"]):
        cv2.imwrite(str(root / path), picture(seed + number))
    return CohortSpec(layout, layout, root)


def look(spec: CohortSpec, store: Path) -> Looked:
    read = load(spec)
    return Looked(read, scan_images(spec.name, read.root, read.table["path"].tolist(), store))


def grave(checks: list[Check]) -> list[tuple[str, str]]:
    return [(c.level, c.what) for c in checks if c.level in ("fault", "warning")]


NIH = "images_001/images/00000001_000.png", "images_012/images/00000002_000.png", "images_012/images/00000013_005.png"


@pytest.fixture
def nih(tmp_path: Path) -> CohortSpec:
    """Images 1_000 and 1_001 of one patient and 13_005 in train, 2_000 in test."""
    return cohort(tmp_path / "nih", "nih", 0)


def test_different_pictures_are_no_duplicates(nih: CohortSpec, tmp_path: Path) -> None:
    looked = look(nih, tmp_path / "store")
    assert [c.level for c in [*check_images(looked), *check_duplicates([looked])]] == ["ok", "ok"]


def test_a_file_twice_in_two_splits_is_a_fault_with_the_image_ids(nih: CohortSpec, tmp_path: Path) -> None:
    (nih.root / NIH[1]).write_bytes((nih.root / NIH[0]).read_bytes())
    (found,) = check_duplicates([look(nih, tmp_path / "store")])
    assert (found.level, found.what) == ("fault", "identical files in two splits")
    assert found.found == "1 pairs among 2 images: 00000001_000.png = 00000002_000.png"


def test_a_recompressed_smaller_copy_in_two_splits_is_a_warning(nih: CohortSpec, tmp_path: Path) -> None:
    copy = cv2.resize(picture(0), None, fx=0.9, fy=0.9, interpolation=cv2.INTER_AREA)
    (nih.root / NIH[1]).write_bytes(cv2.imencode(".jpg", copy)[1].tobytes())
    assert grave(check_duplicates([look(nih, tmp_path / "store")])) == [("warning", "near duplicates in two splits")]


def test_a_file_under_two_patients_is_a_warning_and_of_one_patient_a_note(nih: CohortSpec, tmp_path: Path) -> None:
    (nih.root / NIH[2]).write_bytes((nih.root / NIH[0]).read_bytes())
    assert grave(check_duplicates([look(nih, tmp_path / "store")])) == [
        ("warning", "identical files under two patients")
    ]
    cv2.imwrite(str(nih.root / NIH[2]), picture(50))
    (nih.root / NIH[0]).write_bytes((nih.root / NIH[0].replace("_000", "_001")).read_bytes())
    found = check_duplicates([look(nih, tmp_path / "store")])
    assert [(c.level, c.what) for c in found if c.level == "note"] == [("note", "identical files of one patient")]
    assert grave(found) == []


def test_a_file_in_two_datasets_is_a_fault_that_names_both(nih: CohortSpec, tmp_path: Path) -> None:
    brax = cohort(tmp_path / "brax", "brax", 20)
    source = next(p for p in sorted(brax.root.rglob("*.png")) if "image-3.1" in p.name)
    source.write_bytes((nih.root / NIH[1]).read_bytes())
    looked = [look(spec, tmp_path / "store") for spec in (nih, brax)]
    (found,) = check_duplicates(looked)
    assert (found.level, found.what) == ("fault", "identical files in nih and brax")
    assert "00000002_000.png = id_a/Study_1.1" in found.found


def test_one_folder_under_two_names_is_a_note(nih: CohortSpec, tmp_path: Path) -> None:
    again = CohortSpec("again", "nih", nih.root)
    (nih.root / NIH[0]).write_bytes((nih.root / NIH[0].replace("_000", "_001")).read_bytes())  # of one patient
    found = check_duplicates([look(spec, tmp_path / "store") for spec in (nih, again)])
    assert grave(found) == []
    assert "4 images" in next(c.found for c in found if c.level == "note")


def test_a_cut_file_and_a_blank_one_are_named(nih: CohortSpec, tmp_path: Path) -> None:
    cut = nih.root / NIH[0]
    cut.write_bytes(cut.read_bytes()[:200])
    cv2.imwrite(str(nih.root / NIH[1]), np.full((60, 60), 7, np.uint8))
    bad, blank = check_images(look(nih, tmp_path / "store"))
    assert (bad.level, blank.level) == ("fault", "warning")
    assert "00000001_000.png (truncated PNG)" in bad.found
    assert "00000002_000.png" in blank.found


def test_a_broken_file_of_padchest_may_be_the_releases_own(tmp_path: Path) -> None:
    spec = cohort(tmp_path / "padchest", "padchest", 0)
    images = load(spec).table["path"]
    (spec.root / images[0]).write_bytes(b"no image")
    assert grave(check_images(look(spec, tmp_path / "store"))) == [("warning", "unreadable images")]
    (spec.root / "phantom.json").write_text("{}")
    assert grave(check_images(look(spec, tmp_path / "store"))) == [("fault", "unreadable images")]


def test_no_message_holds_a_patient_id(tmp_path: Path) -> None:
    spec = cohort(tmp_path / "padchest", "padchest", 0)
    images = sorted(spec.root.rglob("*.png"))
    for image in images[1:]:
        image.write_bytes(images[0].read_bytes())
    looked = look(spec, tmp_path / "store")
    said = "".join(c.found + c.fix for c in check_duplicates([looked]))
    assert not any(patient in said for patient in looked.cohort.table["patient_id"])


def test_an_interrupted_scan_goes_on_and_a_changed_file_is_read_again(
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
    kept = records.stat().st_size // scan._RECORD.itemsize
    assert kept == 2
    with records.open("ab") as file:
        file.write(b"half a record")
    monkeypatch.setattr(scan, "read_gray", real)
    resumed = scan_images("nih", nih.root, paths, tmp_path / "store")
    assert resumed.reused == kept
    fresh = scan_images("nih", nih.root, paths, tmp_path / "elsewhere")
    for name in ("content", "hash", "flat", "small", "reason"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(fresh, name))
    assert scan_images("nih", nih.root, paths, tmp_path / "store").reused == 4
    os.utime(nih.root / paths[0], ns=(1, 1))
    assert scan_images("nih", nih.root, paths, tmp_path / "store").reused == 3


def test_what_was_read_before_a_failure_is_kept_however_the_threads_end(
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


def test_progress_counts_every_image(nih: CohortSpec, tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    paths = load(nih).table["path"].tolist()
    scan_images("nih", nih.root, paths, tmp_path / "s", 2, lambda *step: said.append(step))
    assert (said[0], said[-1]) == (("nih", 0, 4), ("nih", 4, 4))
