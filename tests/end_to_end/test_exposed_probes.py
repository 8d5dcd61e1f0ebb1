"""What the owners of encoders state about their data: probes of exposed encoders are not ranked, and a bundle keeps the statements."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from bench.models.se_resnet import se_resnet
from bench.planning.manifest import read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.store.store import Store
from tests.conftest import Command, Drawn

pytestmark = pytest.mark.grid

REGISTRY = """
schema: 1
include: shipped
weights:
  exposed: {file: w.safetensors, corpus: radiographs, licence: mit, seen: {nih: {answer: images, images: ids.csv}, brax: text, others: no}}
  clean: {file: w.safetensors, corpus: radiographs, licence: mit, seen: no}
  silent: {file: w.safetensors, corpus: radiographs, licence: mit}
architectures:
  loads: {use: "bench.models.se_resnet:se_resnet", with: {depths: [1, 1, 1, 1], widths: [16, 32, 64, 128]}, licence: mit, seen: {nih: labels, others: no}}
"""


@pytest.fixture(scope="module")
def probed(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory, command: Command) -> Path:
    """A folder with a grid of five probes that differ in what their starting weights, or their network, had seen."""
    folder = drawn("tiny", tmp_path_factory.mktemp("probed"))
    torch.manual_seed(0)
    network = se_resnet(num_outputs=9, in_channels=1, depths=[1, 1, 1, 1], widths=[16, 32, 64, 128], dropout=0.1)
    save_file(network.state_dict(), folder / "w.safetensors")
    (folder / "registry.yaml").write_text(REGISTRY)
    grid = yaml.safe_load((Path(__file__).parents[2] / "grids" / "tiny.yaml").read_text())
    grid |= {
        "name": "probed",
        "expect": {},
        "sweeps": [{"weights": ["none", "exposed", "clean", "silent"]}, {"architecture": "loads"}],
    }
    grid["base"] |= {"head": "probe"}
    grid.pop("expect")
    (folder / "probed.yaml").write_text(yaml.safe_dump(grid))
    ids = [path.name for path in sorted((folder / "runs" / "phantom").glob("*/nih/**/*.png"))][:15]
    pd.DataFrame({"image_id": ids}).to_csv(folder / "ids.csv", index=False)
    command("run", "--grid", "probed.yaml", "--quiet", cwd=folder)
    return folder


def start_of(run: PlannedRun) -> str:
    """Return the starting weights of a run, or "loads" for the network that loads its own weights."""
    return "loads" if run.config.architecture == "loads" else run.config.weights


def test_probes_of_exposed_or_silent_encoders_are_not_ranked(probed: Path) -> None:
    manifest = read_manifest(Store.open(probed / "runs"), "probed")
    by_weights = {start_of(run): run for run in manifest.runs}
    everywhere = ["mimic", "nih", "padchest", "vindr", "brax"]
    assert {name: manifest.exposed(run) for name, run in by_weights.items()} == {
        "none": [], "clean": [], "exposed": ["nih", "brax"], "silent": everywhere, "loads": ["nih"],
    }  # fmt: skip
    assert [run.config.weights for run in manifest.ranked] == ["none", "clean"]
    assert not by_weights["none"].exposure
    table = pd.read_parquet(probed / "runs/report/probed/tables/exposure.parquet")
    of = table[table["run_id"] == by_weights["exposed"].id].set_index("dataset")
    assert of["answer"].to_dict() == {"mimic": "no", "nih": "images", "padchest": "no", "vindr": "no", "brax": "text"}
    assert of["rank"].gt(0).to_dict() == {"mimic": True, "nih": False, "padchest": True, "vindr": True, "brax": False}
    assert of.loc["nih", "clean_n"] == 60 - of.loc["nih", "listed"] == 45
    page = re.sub(r"\s+", " ", (probed / "runs/report/probed/leaderboard.html").read_text())
    assert "none, as declared by its owner" in page
    assert "not ranked: the starting weights may have seen Hospital B (MIMIC layout)" in page
    assert "not ranked: the encoder had seen images and labels of Hospital C (NIH layout)" in page
    assert "weights that the network loads" in page
    assert "had seen images of Hospital C (NIH layout); had seen images and reports of Hospital F (BRAX layout)" in page


def test_a_bundle_of_exposed_probes_keeps_what_they_had_seen(probed: Path, here: Command, tmp_path: Path) -> None:
    """Statements on starting weights in a merged bundle."""
    pytest.importorskip("bench.extensions.bundles")
    here("export", "-o", str(tmp_path / "a.zip"), "--store", "runs", "--quiet", cwd=probed)
    here("merge", str(tmp_path / "a.zip"), "--store", str(tmp_path / "m"), "--quiet", cwd=probed)
    merged = read_manifest(Store.open(tmp_path / "m"), None)
    exposed = {start_of(run): merged.exposed(run) for run in merged.runs}
    assert exposed["exposed"] == ["nih", "brax"]
    assert exposed["loads"] == ["nih"]
    assert exposed["none"] == []
