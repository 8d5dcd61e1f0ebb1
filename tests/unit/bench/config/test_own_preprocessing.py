"""`preprocessing: own` in a grid stands for the preprocessing of the encoder."""

from pathlib import Path

import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.run import RunSpec
from harmonize.errors import ConfigError

GRID = """
name: mine
evaluate_on: [mimic]
phantom: {{}}
base: {{train_on: chexpert, architecture: {architecture}, weights: {weights}, optimizer: adamw, loss: bce, uncertainty: u_ignore,
       preprocessing: {preprocessing}, head: probe}}
"""
REGISTRY = """
schema: 1
include: shipped
weights:
  lung: {file: w.safetensors, corpus: radiographs, seen: no, preprocessing: bicubic_224, mean: [0.53, 0.53, 0.53], std: [0.26, 0.26, 0.26]}
"""


def grid(folder: Path, preprocessing: str, architecture: str = "dinov2_tiny", weights: str = "none") -> Grid:
    (folder / "registry.yaml").write_text(REGISTRY)
    path = folder / "mine.yaml"
    path.write_text(GRID.format(preprocessing=preprocessing, architecture=architecture, weights=weights))
    return Grid.read(str(path), Registry.read(folder / "registry.yaml"))


def test_it_is_that_of_the_architecture_or_first_of_the_weights(tmp_path: Path) -> None:
    assert [c.preprocessing for c in grid(tmp_path, "own").configs] == ["bicubic_crop_64"]
    assert [c.preprocessing for c in grid(tmp_path, "own", weights="lung").configs] == ["bicubic_224"]


def test_it_can_be_a_factor_beside_other_entries(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    grid(tmp_path, "own")
    path.write_text(path.read_text() + "sweeps:\n  - {preprocessing: [own, imagenet_64, bicubic_crop_64]}\n")
    read = Grid.read(str(path), Registry.read(tmp_path / "registry.yaml"))
    assert [c.preprocessing for c in read.configs] == ["bicubic_crop_64", "imagenet_64"]


def test_the_run_id_is_that_of_the_entry(tmp_path: Path) -> None:
    registry = Registry.read()
    named, own = (
        RunSpec.of(grid(tmp_path, name).configs[0], registry, "0" * 12, None) for name in ("bicubic_crop_64", "own")
    )
    assert named.id == own.id


def test_an_encoder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="resnet18 has no preprocessing of its own"):
        grid(tmp_path, "own", architecture="resnet18")
