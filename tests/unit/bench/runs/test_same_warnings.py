"""`bench check` and `bench predict` make the same remarks on a file."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pictures import ramp, save, save_dicom

from bench.runs import new_images
from harmonize.checks.non_cxr_checks import gray_values, unusual_gray, usual_range
from harmonize.checks.scan import scan
from harmonize.images.pixels import Geometry

SQUARE = ramp(64, 64)


def two_frames(path: Path) -> Path:
    return save_dicom(path, np.stack([SQUARE] * 2), Rows=64, Columns=64, NumberOfFrames=2, BodyPartExamined="HAND")


FILES = {
    "two.dcm": two_frames,
    "color.png": lambda path: save(path, np.dstack([SQUARE, SQUARE.T, 255 - SQUARE])),
    "long.png": lambda path: save(path, np.tile(SQUARE, (1, 3))),
    "plain.png": lambda path: save(path, SQUARE),
    "lateral.dcm": lambda path: save_dicom(path, SQUARE, ViewPosition="LL"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_gets_the_same_remarks(name: str, tmp_path: Path) -> None:
    path = FILES[name](tmp_path / name)
    (checked,) = scan("own", tmp_path, [name], tmp_path / "store").remark
    _, warnings = new_images._decoded(path, SimpleNamespace(geometry=Geometry(64), usual={}))
    assert "; ".join(warnings) == checked
    assert (checked == "") == (name == "plain.png")


def test_unusual_gray_levels_are_those_of_the_same_function(tmp_path: Path) -> None:
    usual = usual_range(gray_values(np.stack([np.clip(SQUARE.astype(int) + k, 0, 255) for k in range(5)])))
    path = save(tmp_path / "dark.png", SQUARE // 7)
    _, warnings = new_images._decoded(path, SimpleNamespace(geometry=Geometry(64), usual=usual))
    dark = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert [warnings] == unusual_gray(gray_values(dark[np.newaxis]), usual, "training images")
    assert warnings[0].startswith("mean gray: ")
