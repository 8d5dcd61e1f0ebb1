"""Code that gives images to a network on a GPU, without a GPU: tensors of the device `meta` have no content."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.extensions.heat_maps import explain_image
from bench.models.network import Network
from bench.runs.stored_run import load
from tests.untrained_run import finished_run

META = torch.device("meta")


def test_the_image_of_a_heat_map_is_where_the_network_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, run = finished_run(tmp_path)
    stored = load(store, run.id)
    stored.trained.network.to(META)
    asked: list[Tensor] = []

    def heat_maps(network: Network, x_NCHW: Tensor, *_: Any) -> None:
        asked.append(x_NCHW)
        raise InterruptedError

    monkeypatch.setattr(explain_image, "heat_maps", heat_maps)
    with pytest.raises(InterruptedError):
        explain_image._maps(replace(stored, device=META), ["Edema"], np.zeros((90, 80), np.uint8), 384)
    assert asked[0].device == META
