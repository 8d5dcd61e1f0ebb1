"""Low-rank changes of linear layers against peft: outputs, losses, trained matrices and merged weights."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from bench.models.lora import Lora
from bench.models.network import build
from bench.training.train_modes import freeze_backbone

ORACLE = json.loads((Path(__file__).parents[3] / "oracles" / "lora.json").read_text())
TOLERANCE = {"atol": 1e-9, "rtol": 1e-9}


class Small(nn.Module):
    """The network of scripts/oracles/lora.py."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 5, bias=False)
        self.last = nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def change_of(layer: Any) -> Lora:
    (change,) = layer.parametrizations.weight
    assert isinstance(change, Lora)
    return change


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("case", ORACLE["cases"])
def test_training_and_merged_weights_equal_those_of_peft(case: dict[str, Any]) -> None:
    network = Small()
    network.load_state_dict({name: torch.tensor(values) for name, values in case["start"].items()})
    assert Lora.add(network, case["rank"], case["alpha"], seed=0) == 2
    freeze_backbone(network, frozen=False)
    for name in ("first", "second"):
        change = change_of(getattr(network, name))
        assert change.a_RI.abs().max() <= change.a_RI.shape[1] ** -0.5  # the first values have peft's distribution
        assert not change.b_OR.any()
        with torch.no_grad():
            change.a_RI.copy_(torch.tensor(case["first"][f"{name}.A"]))
            change.b_OR.copy_(torch.tensor(case["first"][f"{name}.B"]))
    x, target = torch.tensor(case["x"]), torch.tensor(case["target"])
    torch.testing.assert_close(network(x), torch.tensor(case["before"]), **TOLERANCE)
    losses = []
    for _ in range(case["steps"]):
        network.zero_grad()
        loss = (network(x) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        with torch.no_grad():
            for weight in network.parameters():
                if weight.requires_grad:
                    weight -= 0.5 * weight.grad  # type: ignore[operator]
    assert losses == pytest.approx(case["losses"], rel=1e-9)
    torch.testing.assert_close(network(x), torch.tensor(case["after"]), **TOLERANCE)
    Lora.merge(network)
    merged = {name: torch.tensor(values) for name, values in case["merged"].items()}
    assert network.state_dict().keys() == merged.keys()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, merged[name], **TOLERANCE)


TRANSFORMER = {"name": "vit_small_patch14_dinov2", "img_size": 64, "patch_size": 8, "depth": 2, "embed_dim": 96}


def test_changes_of_a_transformer_begin_at_zero_and_only_they_and_the_output_layer_learn() -> None:
    network = build("bench.models.network:timm_model", TRANSFORMER | {"num_heads": 3}, 9, 1).eval()
    images = torch.rand(2, 1, 64, 64)
    before, start = network(images), deepcopy(network.state_dict())
    assert Lora.add(network, 4, 8.0, seed=1) == 8  # qkv, proj and two layers of the MLP, in each of two blocks
    torch.testing.assert_close(network(images), before)
    freeze_backbone(network, frozen=False)
    learning = {name for name, weight in network.named_parameters() if weight.requires_grad}
    assert {name.rpartition(".")[2] for name in learning} == {"a_RI", "b_OR", "weight", "bias"}
    assert {name for name in learning if "parametrizations" not in name} == {
        "backbone.head.weight",
        "backbone.head.bias",
    }
    freeze_backbone(network, frozen=True)
    assert {name for name, weight in network.named_parameters() if weight.requires_grad} == {
        "backbone.head.weight",
        "backbone.head.bias",
    }
    freeze_backbone(network, frozen=False)
    network(images).square().sum().backward()
    optimizer = torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], 0.1)
    optimizer.step()
    learned = network(images)
    torch.testing.assert_close(deepcopy(network)(images), learned)  # as for averages of weights
    assert not torch.allclose(learned, before)
    Lora.merge(network)
    assert not any(parametrize.is_parametrized(module) for module in network.modules())
    torch.testing.assert_close(network(images), learned, atol=1e-5, rtol=1e-5)
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, start[name])}
    assert all(
        name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")) or ".head." in name for name in changed
    )
    for name in changed:
        if ".head." not in name:
            assert torch.linalg.matrix_rank(network.state_dict()[name] - start[name], atol=1e-5) <= 4


def test_a_weight_that_the_network_reads_itself_is_changed_too() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    network = nn.Sequential(nn.ModuleDict({"attention": attention}), nn.Linear(8, 2))
    assert Lora.add(network, 2, 2.0, seed=0) == 1  # out_proj, whose weight torch's attention reads itself
    x = torch.rand(1, 3, 8)
    before = attention(x, x, x)[0]
    with torch.no_grad():
        change_of(attention.out_proj).b_OR.fill_(0.5)
    assert not torch.allclose(attention(x, x, x)[0], before)


def test_the_same_seed_gives_the_same_first_values() -> None:
    first, same, other = (Small() for _ in range(3))
    for network, seed in ((first, 1), (same, 1), (other, 2)):
        Lora.add(network, 2, 2.0, seed)
    values = [change_of(network.first).a_RI for network in (first, same, other)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
