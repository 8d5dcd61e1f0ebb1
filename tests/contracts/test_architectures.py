"""What every architecture of the registry promises, at the smallest input that its entry allows."""

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Entry
from bench.models.network import Network, build

NUM_OUTPUTS = 27


@pytest.fixture(scope="module")
def network(architecture: Entry) -> Network:
    """An untrained network, made once for the tests of an entry."""
    torch.manual_seed(0)
    return build(architecture.use, architecture.options, NUM_OUTPUTS)


def test_a_network_learns_from_its_smallest_images_and_is_its_state(architecture: Entry, network: Network) -> None:
    size = architecture.facts["min_px"]
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    logit = network(images)
    assert logit.shape == (2, NUM_OUTPUTS)
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


def test_a_network_takes_one_channel_and_has_the_usual_momentum_and_dropout(architecture: Entry) -> None:
    """Momentum and dropout are equal unless the entry sets them."""
    size = architecture.facts["min_px"]
    with torch.device("meta"):
        network = build(architecture.use, architecture.options, 2, in_channels=1)
    assert network.in_channels == 1
    assert network(torch.empty(2, 1, size, size, device="meta")).shape == (2, 2)
    modules = list(network.modules())
    assert all(m.momentum == 0.1 for m in modules if isinstance(m, torch.nn.BatchNorm2d))
    dropout = [m.p for m in modules if isinstance(m, torch.nn.Dropout)]
    assert architecture.use.endswith(":se_resnet") or not any(dropout)
    assert not any(getattr(m, "drop_prob", 0) for m in modules)


def test_an_untrained_network_predicts_little_more_than_the_prevalences(architecture: Entry, network: Network) -> None:
    size, draw = architecture.facts["min_px"], np.random.default_rng(0)
    prevalence = torch.linspace(0.5, 0.02, NUM_OUTPUTS)
    network.set_biases(prevalence.logit())
    blurred = [cv2.GaussianBlur(draw.random((size, size)), (0, 0), size / 16) for _ in range(8)]
    gray = torch.tensor(np.stack([(b - b.min()) / (b.max() - b.min()) for b in blurred]), dtype=torch.float32)
    mean, std = (torch.tensor(scale).view(3, 1, 1) for scale in (network.mean, network.std))
    network.train()
    with torch.inference_mode():
        logit = network((gray[:, None] - mean) / std)
    is_wide = architecture.use.endswith(":se_resnet")  # its features are larger than those of other networks
    assert (logit - prevalence.logit()).square().mean().sqrt() < (0.75 if is_wide else 0.55)
    loss = binary_cross_entropy_with_logits(logit, prevalence.expand_as(logit))
    entropy = binary_cross_entropy_with_logits(prevalence.logit(), prevalence)
    assert 1 - 1e-6 < float(loss / entropy) < (1.1 if is_wide else 1.05)
