"""What earlier looks know of images: a check's records and decoded caches, as long as the files are the same."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hand import cohort as by_hand

from harmonize.cache.cache import open_cache
from harmonize.checks.known_images import Seen, seen
from harmonize.checks.scan import scan
from harmonize.images.pixels import Geometry
from harmonize.statistics.cohort_statistics import describe

NAMES = ["a.png", "b.png", "c.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three files: b.png is no image."""
    folder = tmp_path / "root"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        cv2.imwrite(str(folder / name), np.random.default_rng(number).integers(0, 255, (16, 16), np.uint8))
    (folder / "b.png").write_bytes(b"no image")
    return folder


def table() -> pd.DataFrame:
    return pd.DataFrame({"image_id": NAMES, "path": NAMES})


def known(root: Path, tmp_path: Path) -> tuple[list[bool], list[bool]]:
    found = seen(root, table(), tmp_path / "check", tmp_path / "cache")
    return found.looked.tolist(), found.unreadable.tolist()


def test_nothing_is_known_before_anybody_looked(root: Path, tmp_path: Path) -> None:
    assert known(root, tmp_path) == ([False] * 3, [False] * 3)


def test_a_check_tells_of_every_image_under_whatever_name_it_looked(root: Path, tmp_path: Path) -> None:
    scan("another-name", root, NAMES[:2], tmp_path / "check")
    assert known(root, tmp_path) == ([True, True, False], [False, True, False])
    scan("own", root, NAMES, tmp_path / "check")
    assert known(root, tmp_path) == ([True] * 3, [False, True, False])


def test_decoded_images_tell_the_same(root: Path, tmp_path: Path) -> None:
    open_cache("own", root, table(), Geometry(16), tmp_path / "cache")
    assert known(root, tmp_path) == ([True] * 3, [False, True, False])


@pytest.mark.parametrize("by", ["check", "cache"])
def test_a_changed_file_was_not_looked_at(by: str, root: Path, tmp_path: Path) -> None:
    if by == "check":
        scan("own", root, NAMES, tmp_path / "check")
    else:
        open_cache("own", root, table(), Geometry(16), tmp_path / "cache")
    os.utime(root / "a.png", ns=(1, 1))
    (root / "b.png").unlink()
    assert known(root, tmp_path) == ([False, False, True], [False, False, False])


def test_the_flow_ends_with_what_can_be_read_and_says_what_nobody_has_read() -> None:
    made = by_hand()  # six images, the last without a label
    unreadable = np.array([True, False, False, False, False, False])
    flow = describe(made, seen=Seen(np.array([True] * 4 + [False] * 2), unreadable)).flow
    steps = dict(zip(flow["step"], flow["images"], strict=True))
    assert (steps["kept"], steps["unreadable"], steps["unlabelled"], steps["used"]) == (6, 1, 1, 4)
    assert steps["not_yet_read"] == 1  # of the two that nobody opened, one is used
    whole = describe(made, seen=Seen(np.ones(6, bool), unreadable)).flow
    assert "not_yet_read" not in set(whole["step"])
    never = describe(made, seen=Seen(np.zeros(6, bool), np.zeros(6, bool))).flow
    assert dict(zip(never["step"], never["images"], strict=True))["not_yet_read"] == 5
    assert "unreadable" not in set(never["step"])
