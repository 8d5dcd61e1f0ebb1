"""Batch-norm statistics of a hospital's images, against their definition."""

import numpy as np
import pytest
import torch
from torch import nn

from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer
from bench.models import batch_statistics
from bench.models.batch_statistics import with_statistics_of
from bench.models.network import Network
from bench.models.predict import weights_sha256

MEAN = (0.5,) * 3
NORMALIZER = Normalizer(["imagenet"], MEAN, MEAN, 1)


class Plain(nn.Module):
    """A convolution, batch norm, dropout and an output layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.dropout = nn.Dropout(0.5)

    def forward_features(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.norm(self.dropout(self.conv(x_NCHW)))

    def forward(self, x_NCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.forward_features(x_NCHW).relu().mean((2, 3)))


def images(num: int, low: int = 0) -> np.ndarray:
    return np.random.default_rng(low).integers(low, low + 100, (num, 16, 16)).astype(np.uint8)


def changed(network: Network, pixels: np.ndarray, rows: np.ndarray, seed: int = 0) -> Network:
    return with_statistics_of(network, NORMALIZER, BatchReader(pixels, torch.device("cpu")), rows, seed)


def test_statistics_are_those_of_the_images_and_nothing_else_changes() -> None:
    """Dropout would change them, and so would images that are not asked for."""
    network, pixels, rows = Network(Plain(), MEAN, MEAN, 1, 2), images(60, 100), np.arange(10, 50)
    network.train()
    before = weights_sha256(network)
    found = changed(network, pixels, rows)
    assert (weights_sha256(network), network.training) == (before, True)
    with torch.no_grad():
        maps_NCHW = network.backbone.conv(NORMALIZER(torch.from_numpy(pixels[rows]))).double()
    own = found.backbone.norm
    np.testing.assert_allclose(own.running_mean, maps_NCHW.mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(own.running_var, maps_NCHW.var((0, 2, 3)), rtol=1e-5)
    assert not any(module.training for module in found.modules())
    assert own.momentum == network.backbone.norm.momentum
    for name, weight in found.named_parameters():
        assert torch.equal(weight, dict(network.named_parameters())[name])


def test_many_images_are_sampled_by_the_seed_in_batches_without_a_single_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_statistics, "NUM_IMAGES", 65)  # 64 images per pass, and one would remain
    network, pixels = Network(Plain(), MEAN, MEAN, 1, 2), images(200)
    sizes: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        sizes.append(len(inputs[0]))

    network.backbone.conv.register_forward_pre_hook(note)
    first, again, other = (changed(network, pixels, np.arange(200), seed) for seed in (0, 0, 1))
    assert sorted(set(sizes)) == [32, 33]
    assert weights_sha256(first) == weights_sha256(again) != weights_sha256(other)


def test_a_single_image_keeps_the_statistics_of_training() -> None:
    network = Network(Plain(), MEAN, MEAN, 1, 2)
    assert weights_sha256(changed(network, images(3), np.arange(1))) == weights_sha256(network)


def test_layers_without_statistics_of_training_are_no_batch_norms() -> None:
    others = nn.Sequential(nn.LayerNorm(4), nn.BatchNorm2d(4, track_running_stats=False), nn.GroupNorm(2, 4))
    assert not Network(others, MEAN, MEAN, 1, 2).batch_norms
    assert len(Network(Plain(), MEAN, MEAN, 1, 2).batch_norms) == 1
