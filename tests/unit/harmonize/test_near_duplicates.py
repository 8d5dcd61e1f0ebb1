"""Tests that changed copies of synthetic radiographs are detected, and that different patients are not."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from harmonize import CohortSpec, load
from harmonize.checks.duplicates import ScannedCohort, check_duplicates
from harmonize.checks.scan import scan
from harmonize.phantom import PhantomSettings, twin

MAPPING = """
image: "{file}"
patient: patient
findings:
  No Finding: {column: finding, present: ["1"], absent: ["0"]}
"""
NUMBER = 12


def recompress(image: np.ndarray, rng: np.random.Generator) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])[1].tobytes()


def change_size(image: np.ndarray, rng: np.random.Generator) -> bytes:
    scale = float(rng.uniform(0.6, 1.6))
    return cv2.imencode(".png", cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))[1].tobytes()


def to_sixteen_bits(image: np.ndarray, rng: np.random.Generator) -> bytes:
    return cv2.imencode(".png", image.astype(np.uint16) * int(rng.integers(8, 200)))[1].tobytes()


def darken(image: np.ndarray, rng: np.random.Generator) -> bytes:
    return cv2.imencode(".png", (image * rng.uniform(0.7, 0.95)).astype(np.uint8))[1].tobytes()


def write_and_scan(root: Path, files: dict[str, bytes]) -> ScannedCohort:
    """Write and scan a cohort in which every file belongs to a different patient."""
    root.mkdir()
    rows = ["file,patient,finding"]
    for name, content in files.items():
        (root / name).write_bytes(content)
        rows.append(f"{name},p {name},{len(rows) % 2}")
    (root / "table.csv").write_text("\n".join(rows) + "\n")
    (root / "mapping.yaml").write_text(MAPPING)
    cohort = load(CohortSpec("own", "table", root, "table.csv", str(root / "mapping.yaml")))
    return ScannedCohort(cohort, scan("own", root, cohort.table["path"].tolist(), root / "store"))


@pytest.mark.parametrize("site", ["nih", "chexpert"])
@pytest.mark.parametrize("change", [recompress, change_size, to_sixteen_bits, darken])
def test_all_copies_and_no_other_pairs_are_detected(change, site: str, tmp_path: Path) -> None:
    settings, rng = PhantomSettings(seed=11, size=160), np.random.default_rng(5)
    files = {}
    for number in range(NUMBER):
        image = (twin(settings, site, number).image * 255).round().astype(np.uint8)
        files[f"{number}.png"] = cv2.imencode(".png", image)[1].tobytes()
        files[f"{number}-copy"] = change(image, rng)
    (check,) = check_duplicates([write_and_scan(tmp_path / "own", files)])
    assert (check.level, check.what) == ("warning", "near duplicates under two patients")
    assert check.found.startswith(f"{NUMBER} pairs among {2 * NUMBER} images: ")
    for first, second in re.findall(r"(\S+) = (\S+?)(?:;|$)", check.found):
        assert first.split(".")[0].split("-")[0] == second.split(".")[0].split("-")[0]
