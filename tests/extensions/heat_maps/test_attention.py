"""Where a finished run looks: tables and pictures of the analysis, who may see them, and known truth."""

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from bench.analyses.run_analysis import run_one_analysis
from bench.config.analyses import read_analyses
from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.extensions.heat_maps.analyses import Attention
from bench.extensions.heat_maps.gallery import ASK, first, with_pictures
from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.image_sample import KINDS
from bench.extensions.heat_maps.pictures import picture_name
from bench.models.network import Network
from bench.planning.image_caches import prepare
from bench.planning.jobs import AnalysisJob, analysis_jobs
from bench.planning.manifest import Manifest, read_manifest, write_manifest
from bench.planning.plan import make_plan
from bench.results.report_tables import tables
from bench.store.store import Store
from bench.study.request import check_foreign
from harmonize.errors import ConfigError
from harmonize.phantom import PhantomSettings
from harmonize.phantom.radiograph import twin
from reports.page import render
from tests.extensions.heat_maps.enrichment import enrichment
from tests.nonempty import nonempty
from tests.unit.bench.config.test_grid import read

TINY = Path(__file__).parents[3] / "grids" / "tiny.yaml"


def silent(what: str, done: int, total: int) -> None:
    """Show nothing."""


def test_options_that_cannot_be_are_refused() -> None:
    for raw in ({"images": 0}, {"gallery": -1}, {"sanity": -1}):
        with pytest.raises(ConfigError):
            read_analyses({"attention": raw}, "grid.yaml: analyses")


class TagReader(nn.Module):
    """A backbone that reads brightness in the upper left corner for its first output, in the lower middle for its second."""

    def forward_features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        grid = nn.functional.avg_pool2d(x_NCHW.mean(1, keepdim=True), 16)
        corner, base = torch.zeros_like(grid[:1]), torch.zeros_like(grid[:1])
        corner[:, :, 0, :2] = 1
        base[:, :, 4:, 1:-1] = 1
        return torch.cat([grid * corner, grid * base], 1)

    def forward_head(self, maps_NChw: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        return maps_NChw.mean((2, 3))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x_NCHW))


def test_a_network_that_reads_the_tag_is_seen_to_look_at_the_tag_and_one_that_reads_the_lung_bases_is_not() -> None:
    taken = [
        twin(PhantomSettings(size=128), "nih", n, token=True, findings={"Pleural Effusion": 0.9}) for n in range(4)
    ]
    images = np.stack([cv2.resize(t.image, (128, 128)) for t in taken])
    network = Network(TagReader(), (0.5,) * 3, (0.5,) * 3, 1)
    found = heat_maps(network, torch.from_numpy(images)[:, None])
    heat = upsampled(found.heat_NKhw, 128).numpy()
    for i, each in enumerate(taken):
        tag, effusion = (
            cv2.resize(each.masks[n].astype(np.uint8), (128, 128)) > 0 for n in ("token", "Pleural Effusion")
        )
        assert enrichment(heat[i, 0], tag) > 10 * max(enrichment(heat[i, 0], effusion), 0.1)
        assert enrichment(heat[i, 1], tag) == 0
        assert enrichment(heat[i, 1], effusion) > 1


@pytest.fixture(scope="module")
def looked_at(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, list[AnalysisJob]]:
    """A copy of the tiny grid's store with the analysis of both runs done."""
    import shutil

    folder = tmp_path_factory.mktemp("looked") / "copy"
    shutil.copytree(finished, folder, symlinks=True)
    grid = folder / "looks.yaml"
    block = "{attention: {images: 6, sanity: 5}}"
    grid.write_text(f"include: {os.path.relpath(TINY, folder)}\nname: tiny\nanalyses: {block}\n")
    store, registry = Store(folder / "runs"), Registry.read()
    plan = make_plan(Grid.read(str(grid), registry), registry, store, None, None, 1, "", silent)
    write_manifest(plan, prepare(plan, 1, silent).caches, 0)
    jobs = [job for job in analysis_jobs(plan, plan.runs) if job.analysis.name == "attention"]
    for job in jobs:
        job.begin()
        assert run_one_analysis(job, silent)
    return read_manifest(store, "tiny"), jobs


@pytest.mark.grid
def test_the_analysis_measures_every_cohort_and_its_gallery_shows_cases_of_each_kind(
    looked_at: tuple[Manifest, list[AnalysisJob]],
) -> None:
    """The analysis of heat maps in a grid."""
    manifest, jobs = looked_at
    found = pd.read_parquet(jobs[0].folder / "attention.parquet")
    assert set(found["dataset"]) == {c.name for c in manifest.cohorts}
    assert {"finding", "border", "outside lungs", "heart", "pleura", "token"} <= set(found["region"])
    known = found.dropna(subset=["value"])
    assert (known["num_patients"] >= 5).all()
    bounded = known[known["metric"] != "enrichment"]
    assert bounded["value"].between(0, 1).all()
    assert (known["low"].isna() | (known["low"] <= known["value"] + 1e-9)).all()
    each = known[(known["finding"] != "all") & (known["by"] == "network")]
    assert (each["n"] <= 6).all()
    lungs = known[(known["region"] == "finding") & (known["by"] == "lungs") & (known["finding"] == "all")]
    assert (lungs.loc[lungs["metric"] == "enrichment", "value"] > 1).all()  # most findings lie in the lungs
    gallery = pd.read_parquet(jobs[0].folder / "gallery.parquet")
    assert set(gallery["kind"]) <= set(KINDS)
    assert gallery["picture"].isna().all()
    assert not {"image_id", "patient_id"} & set(gallery.columns)
    for row in gallery.head(3).itertuples():
        picture = cv2.imread(
            str(jobs[0].folder / "gallery" / picture_name(row.dataset, row.finding, row.kind, row.rank))
        )
        assert picture.shape == (228, 228, 3)
    checks = pd.read_parquet(jobs[0].folder / "randomization.parquet")
    assert checks["value"].between(-1, 1).tolist() == [True]


@pytest.mark.grid
def test_where_things_are_is_kept_for_the_next_run_and_gives_the_same_numbers(
    looked_at: tuple[Manifest, list[AnalysisJob]],
) -> None:
    _, jobs = looked_at
    kept = list((jobs[0].store.root / "cache" / "scenes").rglob("*.npz"))
    assert kept
    before = pd.read_parquet(jobs[0].folder / "attention.parquet")
    (jobs[0].folder / "KEY").unlink()
    jobs[0].begin()
    run_one_analysis(jobs[0], silent)
    pd.testing.assert_frame_equal(before, pd.read_parquet(jobs[0].folder / "attention.parquet"))
    assert len(list((jobs[0].store.root / "cache" / "scenes").rglob("*.npz"))) == len(kept)


@pytest.mark.grid
def test_the_page_shows_pictures_of_phantoms_and_none_of_real_patients_unless_asked(
    looked_at: tuple[Manifest, list[AnalysisJob]],
) -> None:
    manifest, _ = looked_at
    shown = tables(manifest)
    num = int(shown["gallery"]["picture"].notna().sum())
    assert 0 < num <= 200
    assert shown.meta["no_pictures"] == ""
    page = render(shown)
    assert page.count("data:image/webp;base64,") == num
    real = replace(manifest, phantom=False)
    gallery, why = with_pictures(real, {"gallery": shown["gallery"]}, with_real_images=False)
    assert why == ASK
    assert gallery["picture"].isna().all()
    asked, why = with_pictures(real, {"gallery": shown["gallery"]}, with_real_images=True)
    assert why == ""
    assert asked["picture"].notna().sum() == num


def test_the_order_of_pictures_is_that_of_runs_hospitals_and_findings_with_all_kinds_together() -> None:
    rows = [(r, d, f, k, 0) for k in KINDS for f in "xy" for d in ("internal", "far") for r in "ab"]
    gallery = pd.DataFrame(rows, columns=["run_id", "dataset", "finding", "kind", "rank"])
    ordered = gallery.iloc[first(gallery, ["b", "a"], ["internal", "far"], ["y", "x"])]
    assert ordered["kind"].tolist() == list(KINDS) * 8
    assert ordered[["run_id", "dataset", "finding"]].iloc[0].tolist() == ["b", "internal", "y"]
    assert ordered[["run_id", "dataset", "finding"]].iloc[-1].tolist() == ["a", "far", "x"]


def test_defaults_are_what_the_documents_say() -> None:
    text = (Path(__file__).parents[3] / "docs" / "grids.md").read_text()
    for name in nonempty(Attention.__dataclass_fields__):
        assert f"`{name}`" in text


def test_a_network_without_maps_is_refused_before_training_unless_no_heat_map_is_wanted(tmp_path: Path) -> None:
    registry = Registry.read()
    sweeps = "sweeps: [{architecture: ['timm:tnt_s_legacy_patch16_224'], channels: 3, preprocessing: imagenet_224}]\n"
    with pytest.raises(ConfigError, match="`attention` is impossible: TNT has no feature maps"):
        check_foreign(read(tmp_path, sweeps, registry), registry)
    check_foreign(read(tmp_path, f"analyses: {{attention: false}}\n{sweeps}", registry), registry)
