"""The region transplant test of a finished run: equal results twice, and no numbers from too few images."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.analyses import marker_masks
from bench.analyses.marker_masks import ImageMasks, image_masks, stored_masks
from bench.analyses.run_analysis import run_one_analysis
from bench.analyses.transplants import load_run_and_samples, marker_pasted, transplants
from bench.config.analyses import Transplants, read_analyses
from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.image_caches import prepare
from bench.planning.jobs import AnalysisJob, analysis_jobs
from bench.planning.plan import Plan, make_plan
from bench.store.store import Store
from harmonize.errors import ConfigError
from reports.schemas.tables import SCHEMAS

TINY = Path(__file__).parents[2] / "grids" / "tiny.yaml"


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def planned(folder: Path, options: str) -> tuple[Plan, AnalysisJob]:
    """Return the plan of the tiny grid with only the analysis transplants, and the job of its first run."""
    grid = folder / "few.yaml"
    grid.write_text(
        f"include: {os.path.relpath(TINY, folder)}\nname: tiny\n"
        f"analyses: {{transplants: {options}, attention?: false, probes: false, acquisition: false}}\n"
    )
    registry = Registry.read()
    plan = make_plan(Grid.read(str(grid), registry), registry, Store(folder / "runs"), None, None, 1, "", silent)
    prepare(plan, 1, silent)
    return plan, next(job for job in analysis_jobs(plan, plan.runs) if job.analysis.name == "transplants")


def test_a_sample_of_five_images_is_refused() -> None:
    assert next(a for a in read_analyses({}, "g") if a.name == "transplants").options == Transplants()
    with pytest.raises(ConfigError, match="at least 20"):
        read_analyses({"transplants": {"images": 5}}, "g")


@pytest.mark.grid
def test_the_same_run_gives_the_same_numbers_and_every_kind_is_there(store_copy: Path, tmp_path: Path) -> None:
    _, job = planned(store_copy, "{images: 24}")
    job.begin()
    assert run_one_analysis(job, silent)
    table = pd.read_parquet(job.folder / "transplants.parquet")
    transplants(job, tmp_path, silent)
    pd.testing.assert_frame_equal(table, pd.read_parquet(tmp_path / "transplants.parquet"))
    assert (*table.columns,) == SCHEMAS["transplants"]
    kinds = {"border", "corner", "marker", "intensity", "resolution", "erased", "toggled", "lungs_only", "lungs_masked"}
    assert set(table["kind"]) == kinds | {"jpeg", "jpeg_low", "clahe", "causal"}
    moved = table[table["measure"] == "abs_dp"]
    assert moved["value"].between(0, 1).all()
    assert (table["low"] <= table["high"]).all()
    assert np.allclose((table["value"] - table["control"].fillna(0) - table["effect"]).abs(), 0, atol=1e-9)
    assert not moved.duplicated(["kind", "donor", "host", "finding"]).any()


@pytest.mark.grid
def test_masks_of_a_sample_are_computed_once_and_again_if_their_file_is_damaged(
    store_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, job = planned(store_copy, "{images: 24}")
    ref, computed = plan.refs[1], []
    ids = [str(i) for i in pd.read_parquet(ref.table)["image_id"][:12]]
    expected = image_masks(ref, ids, job.run.geometry)
    expected[3] = ImageMasks(expected[3].marker, None)
    monkeypatch.setattr(marker_masks, "image_masks", lambda *_: computed.append(1) or expected)
    for num in (1, 1, 2, 2):
        if num == 2 and len(computed) == 1:
            (file,) = tmp_path.glob("*.npz")
            file.write_bytes(file.read_bytes()[:-40])
        found = stored_masks(ref, ids, job.run.geometry, "f", tmp_path)
        assert len(computed) == num
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.marker == theirs.marker).all()
            assert (ours.lungs is None) == (theirs.lungs is None)
            assert ours.lungs is None or (ours.lungs == theirs.lungs).all()
    stored_masks(ref, ids, job.run.geometry, "other images", tmp_path)
    assert len(computed) == 3


@pytest.mark.grid
def test_the_tag_of_a_phantom_is_known_and_only_unmarked_images_are_given_one(store_copy: Path) -> None:
    plan, job = planned(store_copy, "{images: 24}")
    _, samples = load_run_and_samples(job, silent)
    internal, host = samples[0], samples[1]
    ref = plan.refs[1]
    truth = pd.read_parquet(ref.root.parent / "truth" / f"{ref.layout}.parquet").set_index("image_id")["token"]
    ids = [str(i) for i in pd.read_parquet(ref.table)["image_id"][:12]]
    found = image_masks(ref, ids, job.run.geometry)
    assert [bool(m.marker.any()) for m in found] == truth.loc[ids].tolist()
    places, after, control = marker_pasted(host, internal)
    assert not host.marked[places].any()
    changed = [(a != c).mean() for a, c in zip(after, control, strict=True)]
    assert 0 < np.mean(changed) < 0.05
