"""A grid whose external cohort contains internal images stops with a list, and runs when the data file excludes the list."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from harmonize.phantom import PhantomSettings, twin
from tests.hand import MAPPING

pytestmark = pytest.mark.grid

COPIES = 4
GRID = """
name: mine
evaluate_on: [far]
analyses: false
min_count: 2
base:
  {train_on: internal, architecture: seresnet_tiny, weights: none, optimizer: adamw, loss: bce, uncertainty: u_ignore,
   preprocessing: imagenet_64, channels: 1, schedule: {epochs: 1, batch_size: 16, lr: 1.0e-3}}
"""


def write(root: Path, images: list[np.ndarray], patient: str) -> None:
    root.mkdir()
    rows = []
    for i, image in enumerate(images):
        cv2.imwrite(str(root / f"{i}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 80])
        rows.append((f"{i}.jpg", f"{patient}{i}", ("Pneumonia", "No Finding")[i % 2]))
    pd.DataFrame(rows, columns=["file", "patient", "finding"]).to_csv(root / "table.csv", index=False)


def test_copied_images_stop_a_run_until_the_list_is_excluded(tmp_path: Path, here) -> None:
    settings = PhantomSettings(seed=8, size=128)
    internal, far = (
        [(twin(settings, site, i).image * 255).round().astype(np.uint8) for i in range(number)]
        for site, number in (("chexpert", 60), ("nih", 12))
    )
    copies = [cv2.resize(image, None, fx=1.5, fy=1.5) for image in internal[:COPIES]]
    write(tmp_path / "internal", internal, "p")
    write(tmp_path / "far", [*far, *copies], "far")
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "mine.yaml").write_text(GRID)
    entry = "{layout: table, root: %s, table: table.csv, mapping: mapping.yaml%s}\n"
    data = tmp_path / "data.yaml"
    data.write_text(f"internal: {entry % ('internal', '')}far: {entry % ('far', '')}")
    ask = ("run", "--grid", "mine.yaml", "--data", "data.yaml", "--quiet")

    refused = here(*ask, cwd=tmp_path, code=2).stderr
    assert f"{COPIES} images of far are copies of images of internal" in refused
    listed = pd.read_csv(tmp_path / "runs" / "cohorts" / "copies-far.csv")
    assert listed["image_id"].tolist() == [f"{i}.jpg" for i in range(12, 12 + COPIES)]
    assert not list((tmp_path / "runs").glob("*/*/DONE"))

    excluded = ", exclude: runs/cohorts/copies-far.csv"
    data.write_text(f"internal: {entry % ('internal', '')}far: {entry % ('far', excluded)}")
    here(*ask, cwd=tmp_path)
    content = json.loads((tmp_path / "runs" / "grids" / "mine.json").read_text())
    assert content["cohorts"][1]["flow"]["listed_in_exclude"] == COPIES
    assert content["compared"] == {"patients": [], "images": True, "external": [], "left_out": []}
    page = (tmp_path / "runs" / "report" / "mine" / "leaderboard.html").read_text()
    assert f"listed in exclude {COPIES}" in page
    assert "Images of internal were compared with those of each external hospital, and no copy was found." in page
