"""Tests of the results of earlier scans: from records of `bench check` and from image caches."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from bench.extensions.cohort_statistics.known_images import earlier_scans
from harmonize.cache.cache import open_cache
from harmonize.checks.scan import scan
from harmonize.images.pixels import Geometry

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of three files; b.png is not an image."""
    folder = tmp_path / "root"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        cv2.imwrite(str(folder / name), np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8))
    (folder / "b.png").write_bytes(b"no image")
    return folder


def table() -> pd.DataFrame:
    return pd.DataFrame({"image_id": NAMES, "path": NAMES})


def earlier_results(root: Path, tmp_path: Path) -> tuple[list[bool], list[bool]]:
    scans = earlier_scans(root, table(), tmp_path / "check", tmp_path / "cache")
    return scans.scanned.tolist(), scans.unreadable.tolist()


def test_without_earlier_scans_no_image_is_scanned(root: Path, tmp_path: Path) -> None:
    assert earlier_results(root, tmp_path) == ([False] * 3, [False] * 3)


def test_records_of_a_scan_count_for_any_cohort_name(root: Path, tmp_path: Path) -> None:
    scan("another-name", root, NAMES[:2], tmp_path / "check")
    assert earlier_results(root, tmp_path) == ([True, True, False], [False, True, False])
    scan("own", root, NAMES, tmp_path / "check")
    assert earlier_results(root, tmp_path) == ([True] * 3, [False, True, False])


def test_entries_of_an_image_cache_count_as_scanned(root: Path, tmp_path: Path) -> None:
    open_cache("own", root, table(), Geometry(16), tmp_path / "cache")
    assert earlier_results(root, tmp_path) == ([True] * 3, [False, True, False])


@pytest.mark.parametrize("by", ["check", "cache"])
def test_a_changed_file_counts_as_not_scanned(by: str, root: Path, tmp_path: Path) -> None:
    if by == "check":
        scan("own", root, NAMES, tmp_path / "check")
    else:
        open_cache("own", root, table(), Geometry(16), tmp_path / "cache")
    os.utime(root / "a.png", ns=(1, 1))
    (root / "b.png").unlink()
    assert earlier_results(root, tmp_path) == ([False, False, True], [False, False, False])
