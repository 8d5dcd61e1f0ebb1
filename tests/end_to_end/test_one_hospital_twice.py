"""External cohorts that share images: the page states the number, and a cohort under a second name changes no score."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from harmonize.phantom import PhantomSettings, twin
from tests.conftest import Command
from tests.end_to_end.test_copied_images import GRID, write
from tests.hand import MAPPING

pytestmark = pytest.mark.grid
SHARED = 4


def twice(folder: Path) -> None:
    """Write an internal cohort and three external ones: `near` has some images of `far`, and `again` has all of them."""
    settings = PhantomSettings(seed=8, size=128)
    internal, far, near = (
        [(twin(settings, site, i).image * 255).round().astype(np.uint8) for i in range(number)]
        for site, number in (("chexpert", 60), ("nih", 12), ("mimic", 8))
    )
    again = [cv2.resize(image, None, fx=1.4, fy=1.4) for image in far]
    cohorts = {"internal": internal, "far": far, "near": [*near, *again[:SHARED]], "again": again}
    for name, images in cohorts.items():
        write(folder / name, images, name)
    (folder / "mapping.yaml").write_text(MAPPING)
    entry = "{layout: table, root: %s, table: table.csv, mapping: mapping.yaml}"
    (folder / "data.yaml").write_text("".join(f"{name}: {entry % name}\n" for name in cohorts))


def test_a_cohort_under_two_names_counts_once_and_shared_images_are_stated(tmp_path: Path, here: Command) -> None:
    twice(tmp_path)
    for name, external in (("once", "[far, near]"), ("two", "[far, near, again]")):
        (tmp_path / f"{name}.yaml").write_text(GRID.replace("[far]", external).replace("name: mine", f"name: {name}"))
        said = here("run", "--grid", f"{name}.yaml", "--data", "data.yaml", cwd=tmp_path)
    left_out = (
        "again is left out, because 12 of its 12 scored images are also in far. Each mean counts this hospital once."
    )
    shared = "far and near share images (4 of 12 at far, 4 of 12 at near); means over hospitals count them twice."
    for sentence in (left_out, shared):
        assert sentence in said.stdout + said.stderr
        assert sentence in (tmp_path / "runs" / "report" / "two" / "leaderboard.html").read_text()
    for table in ("scores", "gaps", "mean_gaps", "cohorts"):
        once, two = (
            pd.read_parquet(tmp_path / "runs" / "report" / name / "tables" / f"{table}.parquet")
            for name in ("once", "two")
        )
        pd.testing.assert_frame_equal(once, two)

    # a model that is evaluated later gets the cohorts of the grid
    (tmp_path / "model.yaml").write_text(
        "name: other\nmodel: {predictions: {far: far.csv, near: near.csv, again: again.csv}}\n"
        "outputs: {kind: probability}\ntrained_on: {cohorts: []}\n"
    )
    for name in ("far", "near", "again"):
        table = pd.read_csv(tmp_path / name / "table.csv")
        predicted = pd.DataFrame({"image_id": table["file"], "Pneumonia": np.linspace(0.1, 0.9, len(table))})
        predicted.to_csv(tmp_path / f"{name}.csv", index=False)
    here("evaluate", "--model", "model.yaml", "--grid", "two.yaml", "--data", "data.yaml", cwd=tmp_path)
    page = (tmp_path / "runs" / "report" / "two" / "leaderboard.html").read_text()
    assert left_out in page
    scores = pd.read_parquet(tmp_path / "runs" / "report" / "two" / "tables" / "scores.parquet")
    assert "again" not in set(scores["dataset"])
