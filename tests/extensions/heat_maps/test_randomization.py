"""The randomization check of heat maps: networks with known evidence, and its mean over images."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bench.extensions.heat_maps.randomization import mean_of_images, randomization, similarity
from bench.models.network import Network, build

TINY = {"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "dropout": 0.1}
SCALE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))


def images(num: int = 3, size: int = 32) -> Tensor:
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(0))


class Corner(nn.Module):
    """A network whose only finding is the brightness of the upper left corner, a fifth of each side."""

    num_features = 1

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean(1, keepdim=True)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        corner = maps[:, :, :6, :6].mean((2, 3))
        return corner if pre_logits else 4 * corner - 2

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_NCHW))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("use", "options"),
    [
        ("bench.models.se_resnet:se_resnet", TINY),
        ("bench.models.network:timm_model", {"name": "test_vit", "img_size": 64}),
    ],
)
def test_shuffling_weights_changes_the_map_and_leaves_the_original_network_unchanged(
    use: str, options: dict[str, object]
) -> None:
    network = build(use, options, 2).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    similarity_N = randomization(network, images(4, 64), 1, 0)
    assert similarity_N.shape == (4,)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    np.testing.assert_array_equal(similarity_N, randomization(network, images(4, 64), 1, 0))
    assert not np.array_equal(similarity_N, randomization(network, images(4, 64), 1, 1))
    assert abs(np.nanmean(similarity_N)) < 0.9


def test_a_map_that_shows_only_the_image_is_detected() -> None:
    network = Network(Corner(), *SCALE, 3)  # no weight to shuffle: its map cannot change
    network.backbone.scale = nn.Parameter(torch.ones(2))
    assert randomization(network, images().abs(), 0, 0) == pytest.approx([1.0] * 3)


def test_equal_maps_have_similarity_1_and_an_empty_map_has_rank_correlation_0() -> None:
    heat = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    heat[1], heat[2] = 0.0, 1.0
    other = heat.clone()
    other[3] = 0.0
    assert similarity(heat, other) == pytest.approx([1.0, np.nan, np.nan, 0.0], nan_ok=True)


def test_the_interval_of_the_check_is_that_of_student() -> None:
    """Of 1 to 5: mean 3, standard deviation 1.581, t of four degrees of freedom 2.776: 3 +- 1.963."""
    assert mean_of_images(np.arange(1.0, 6) / 5) == pytest.approx((0.6, 0.2073, 0.9927, 5), abs=0.001)
    assert mean_of_images(np.array([0.2, 1, 1, 1, 1, np.nan]))[2:] == (1, 5)
    assert np.isnan(mean_of_images(np.ones(4))[0])
