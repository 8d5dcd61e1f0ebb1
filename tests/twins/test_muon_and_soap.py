"""Muon's matrices are the inner ones and its updates are orthogonal; SOAP's first step only measures; Adan is the paper's."""

import pytest
import timm
import torch
from torch import nn

from bench.config.registry import Registry
from bench.models.network import build as build_network
from bench.models.output_layers import output_layers
from bench.training.optimizers.build import build
from bench.training.optimizers.muon import hidden_matrices, muon
from tests.nonempty import nonempty

OPTIMIZERS = Registry.read().sections["optimizers"]


def inner(name: str) -> tuple[nn.Module, set[str]]:
    network = timm.create_model(name, num_classes=9)
    hidden = {id(weight) for weight in hidden_matrices(network)}
    return network, {key for key, weight in network.named_parameters() if id(weight) in hidden}


@pytest.mark.parametrize(
    ("name", "stem", "head"),
    [
        ("resnet18", {"conv1"}, "fc"),
        ("mobilenetv3_small_050", {"conv_stem"}, "classifier"),
        ("repvgg_a0", {"stem.conv_kxk.conv", "stem.conv_1x1.conv"}, "head.fc"),
        ("convnext_atto", {"stem.0"}, "head.fc"),
    ],
)
def test_muon_leaves_stem_classifier_and_depthwise_filters_to_adamw(name: str, stem: set[str], head: str) -> None:
    network, hidden = inner(name)
    modules = dict(network.named_modules())
    for key, weight in nonempty(network.named_parameters()):
        owner = modules[key.rpartition(".")[0]]
        grouped = isinstance(owner, nn.Conv2d) and owner.groups > 1
        outer = weight.ndim < 2 or grouped or key.rpartition(".")[0] in {*stem, head}
        assert (key in hidden) != outer, key


def test_muon_takes_the_same_parts_of_a_network_of_ours() -> None:
    network = build_network("bench.models.se_resnet:se_resnet", {"depths": [1, 1], "widths": [8, 16]}, 9, 1)
    assert output_layers(network) == [network.backbone.fc]
    hidden = {id(weight) for weight in hidden_matrices(network)}
    names = {key for key, weight in network.named_parameters() if id(weight) in hidden}
    matrices = {key for key, weight in network.named_parameters() if weight.ndim > 1}
    assert names == matrices - {"backbone.stem.0.weight", "backbone.fc.weight"}


class Line(nn.Module):
    """A stem, one hidden matrix of the shape 32 x 144, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.head = nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3, bias=False), nn.Linear(32, 2)


def test_a_muon_step_has_singular_values_near_one_at_the_size_of_adamws_steps() -> None:
    torch.manual_seed(0)
    network = Line()
    entry = OPTIMIZERS["muon"]
    optimizer = build(entry.use, entry.options, network, lr=1.0, weight_decay=0.0)
    before = network.inner.weight.detach().clone()
    for weight in network.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    update = (before - network.inner.weight.detach()).flatten(1) / (0.2 * 144**0.5)
    values = torch.linalg.svdvals(update)
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_what_muon_does_not_take_steps_as_adamw_does() -> None:
    torch.manual_seed(0)
    ours, theirs = Line(), Line()
    theirs.load_state_dict(ours.state_dict())
    options = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.999), "eps": 1e-8}
    pair = (
        muon([{"params": list(ours.parameters())}], ours, **options),
        torch.optim.AdamW(theirs.parameters(), **options),
    )
    for _ in range(3):
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            two.grad = one.grad.clone()
        for optimizer in pair:
            optimizer.step()
    for key, weight in nonempty(ours.state_dict().items()):
        same = torch.allclose(weight, theirs.state_dict()[key], rtol=0, atol=1e-6)
        assert same == (key != "inner.weight"), key


def test_the_first_step_of_soap_only_measures_its_basis() -> None:
    torch.manual_seed(0)
    network = nn.Linear(5, 3)
    optimizer = build(OPTIMIZERS["soap"].use, OPTIMIZERS["soap"].options, network)
    changed = []
    for _ in range(2):
        before = network.weight.detach().clone()
        for weight in network.parameters():
            weight.grad = torch.randn_like(weight)
        optimizer.step()
        changed.append(not torch.equal(before, network.weight))
    assert changed == [False, True]


def test_adan_equals_its_twin_written_from_the_paper() -> None:
    """Xie et al., arXiv:2208.06677, algorithm 1, with the bias corrections of the authors' code; their betas are 1 - ours."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 3, dtype=torch.float64))
    options = {"lr": 0.03, "betas": (0.98, 0.92, 0.99), "weight_decay": 0.02, "eps": 1e-8}
    optimizer = build(OPTIMIZERS["adan"].use, options, nn.ParameterList([weight]))
    x, m, v, n, last = weight.detach().clone(), 0.0, 0.0, 0.0, None
    for step in range(1, 41):
        g = torch.randn(4, 3, dtype=torch.float64)
        weight.grad = g.clone()
        optimizer.step()
        difference = torch.zeros_like(g) if last is None else g - last
        m, v = 0.98 * m + 0.02 * g, 0.92 * v + 0.08 * difference
        n = 0.99 * n + 0.01 * (g + 0.92 * difference) ** 2
        scale = (n / (1 - 0.99**step)).sqrt() + 1e-8
        x = (x - 0.03 * (m / (1 - 0.98**step) + 0.92 * v / (1 - 0.92**step)) / scale) / (1 + 0.03 * 0.02)
        last = g
    torch.testing.assert_close(weight.detach(), x, rtol=1e-7, atol=1e-9)
