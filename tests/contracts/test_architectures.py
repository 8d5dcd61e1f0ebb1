"""What every architecture of the registry promises, at the smallest input that its entry allows."""

import math

import cv2
import numpy as np
import pytest
import torch

from bench.config.registry import Entry
from bench.models.network import build


def test_a_network_learns_from_its_smallest_images_and_is_its_state(architecture: Entry) -> None:
    size = architecture.facts["min_px"]
    network = build(architecture.use, architecture.options, num_outputs=9)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    logit = network(images)
    assert logit.shape == (2, 9)
    logit.square().mean().backward()
    gradients = [p.grad for p in network.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)
    assert len(network.mean) == len(network.std) == 3

    network.eval()
    with torch.inference_mode():
        logit, feature = network.outputs_and_features(images)
        torch.testing.assert_close(logit, network(images), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(feature, network.embed(images))
        torch.testing.assert_close(logit[:1], network(images[:1]), atol=1e-4, rtol=1e-4)
        assert feature.ndim == 2
        assert len(feature) == 2

        state = {key: value.clone() for key, value in network.state_dict().items()}
        for value in network.state_dict().values():
            value.zero_()
        network.load_state_dict(state)
        assert torch.equal(network.outputs_and_features(images)[0], logit)


def test_momentum_and_dropout_are_equal_unless_the_entry_sets_them(architecture: Entry) -> None:
    with torch.device("meta"):
        network = build(architecture.use, architecture.options, 2)
    modules = list(network.modules())
    assert all(m.momentum == 0.1 for m in modules if isinstance(m, torch.nn.BatchNorm2d))
    dropout = [m.p for m in modules if isinstance(m, torch.nn.Dropout)]
    assert architecture.use.endswith(":se_resnet") or not any(dropout)
    assert not any(getattr(m, "drop_prob", 0) for m in modules)


def test_a_network_takes_one_channel(architecture: Entry) -> None:
    size = architecture.facts["min_px"]
    with torch.device("meta"):
        network = build(architecture.use, architecture.options, 2, in_channels=1)
    assert network.in_channels == 1
    assert network(torch.empty(2, 1, size, size, device="meta")).shape == (2, 2)


@pytest.mark.parametrize("num_outputs", [1, 27])
def test_untrained_outputs_are_near_zero_in_every_architecture(architecture: Entry, num_outputs: int) -> None:
    size, draw = architecture.facts["min_px"], np.random.default_rng(0)
    torch.manual_seed(0)  # the logits of one output depend on a single draw of its weights
    network = build(architecture.use, architecture.options, num_outputs)
    blurred = [cv2.GaussianBlur(draw.random((size, size)), (0, 0), size / 16) for _ in range(8)]
    gray = torch.tensor(np.stack([(b - b.min()) / (b.max() - b.min()) for b in blurred]), dtype=torch.float32)
    mean, std = (torch.tensor(scale).view(3, 1, 1) for scale in (network.mean, network.std))
    network.train()
    with torch.inference_mode():
        logit = network((gray[:, None] - mean) / std)
    assert logit.square().mean().sqrt() < 0.75
    coins = torch.stack([torch.zeros_like(logit), torch.ones_like(logit)])
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit.expand_as(coins), coins)
    assert float(loss) == pytest.approx(math.log(2), rel=0.1)
