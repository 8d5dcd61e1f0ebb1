"""What every architecture of the registry promises, at the smallest input that its entry allows."""

import torch

from bench.models import build
from bench.registry import Entry


def test_a_network_learns_from_its_smallest_images_and_shows_its_features(architecture: Entry) -> None:
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
        logit, feature = network.both(images)
        torch.testing.assert_close(logit, network(images), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(feature, network.embed(images))
        torch.testing.assert_close(logit[:1], network(images[:1]), atol=1e-4, rtol=1e-4)
    assert feature.ndim == 2
    assert len(feature) == 2


def test_a_network_of_one_channel_is_its_state(architecture: Entry) -> None:
    size = architecture.facts["min_px"]
    images = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    network, other = (build(architecture.use, architecture.options, 2, 1, seed=seed) for seed in (0, 1))
    network(images)  # in training mode: batch statistics are part of the state, too
    other.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(network.eval()(images), other.eval()(images))
