"""Code that gives images or features to a network on a GPU, without a GPU: fake tensors know their device and have no content."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bench.analyses import explain_image
from bench.models.network import Network
from bench.models.prompts import PromptHead
from bench.runs.stored_run import load
from bench.training.probe import probe_logits
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
    request = SimpleNamespace(image=np.zeros((90, 80), np.uint8), method="gradcam", stage=None, side=384)
    with pytest.raises(InterruptedError):
        explain_image._maps(replace(stored, device=META), ["Edema"], request)
    assert asked[0].device == META


@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
def test_the_output_layer_of_a_zero_shot_run_stays_where_it_is() -> None:
    shape = SimpleNamespace(rule="softmax", width=8, features=8, projected=False)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda:0"):
            head = PromptHead(9, shape)
            network = Network(_Backbone(head), (0.5,) * 3, (0.25,) * 3, 1, 9)
        with suppress(RuntimeError):  # fake logits are no array
            probe_logits(network, np.zeros((2, 8), np.float32))
        assert head.text_K2D.device == torch.device("cuda:0")


class _Backbone(nn.Module):
    """A network with an output layer."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(8, 8), head
