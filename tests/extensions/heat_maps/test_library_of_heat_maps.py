"""`api.explain` and `api.overlay`: images in memory, and slips that are named before any work."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bench import api
from harmonize.errors import ConfigError, DatasetError
from harmonize.images.image_header import InMemory

pytestmark = pytest.mark.grid


def test_an_image_in_memory_is_explained_and_slips_are_named(finished: Path) -> None:
    run = api.load_run(finished / "runs", api.finished(api.open_grid(finished / "runs"))[0])
    file = min((finished / "runs" / "phantom").glob("*/nih/images_001/images/*.png"))
    in_memory = InMemory("memory.png", file.read_bytes())
    explanation: Any = api.explain(run, in_memory, ["edema"])
    assert explanation.image == "memory.png"
    heat = api.overlay(explanation, "Edema")
    assert torch.from_numpy(heat).shape == heat.shape
    with pytest.raises(DatasetError, match="not a JPEG"):
        api.explain(run, InMemory("memory.txt", b"text"))
    for call, what in (
        (lambda: api.overlay(explanation, "Pneumonia"), "no map of 'Pneumonia'"),
        (lambda: api.explain(run, in_memory, "Edema"), "findings must be a list"),
    ):
        with pytest.raises(ConfigError, match=what):
            call()
