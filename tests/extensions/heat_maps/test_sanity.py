"""Sanity checks of heat maps: networks with known evidence, and independent implementations."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from bench.extensions.heat_maps.gradcam import heat_maps, upsampled
from bench.extensions.heat_maps.localization import center_prior
from bench.extensions.heat_maps.sanity import (
    blurred,
    cascade,
    deletion_insertion,
    noise_stability,
    similarity,
    ssim,
)
from bench.extensions.heat_maps.stages import modules_by_depth
from bench.models.network import Network, build

TINY = {"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "dropout": 0.1}
SCALE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
S = 32


def images(num: int = 3, size: int = S) -> Tensor:
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


def test_every_weight_belongs_to_one_depth_and_depths_go_from_head_to_stem() -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 2)
    groups = modules_by_depth(network, 64, 64)
    assert list(groups) == ["head", "after 4 x 4", "after 8 x 8", "after 16 x 16", "after 32 x 32", "stem"]
    assert groups["head"] == [network.backbone.fc]
    weight_ids = [id(p) for modules in groups.values() for m in modules for p in m.parameters(recurse=False)]
    assert sorted(weight_ids) == sorted(id(p) for p in network.parameters())


@pytest.mark.slow
def test_shuffling_weights_changes_the_map_and_leaves_the_original_network_unchanged() -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 2).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    table = cascade(network, images(4, 64), 1, seed=0)
    assert table.columns.tolist() == ["step", "stage", "image", "spearman", "ssim", "empty"]
    assert table["stage"].unique().tolist() == list(modules_by_depth(network, 64, 64))
    assert len(table) == 6 * 4
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert table.equals(cascade(network, images(4, 64), 1, seed=0))
    assert not table.equals(cascade(network, images(4, 64), 1, seed=1))
    assert abs(table.loc[table["step"] == 6, "spearman"].mean()) < 0.5


def test_a_map_that_shows_only_the_image_is_detected() -> None:
    network = Network(Corner(), *SCALE, 3)  # no weight to shuffle: its map cannot change
    network.backbone.scale = nn.Parameter(torch.ones(2))
    assert cascade(network, images().abs(), 0, seed=0)["spearman"].tolist() == pytest.approx([1.0] * 3)


def test_a_correct_map_has_better_deletion_and_insertion_scores_than_a_random_map() -> None:
    network = Network(Corner(), *SCALE, 3)
    x_NCHW = torch.zeros(2, 3, S, S)
    x_NCHW[:, :, :6, :6] = 1.0
    heat_NHW = torch.zeros(2, S, S)
    heat_NHW[0, :6, :6] = 1.0  # the correct corner; the second image gets the wrong corner
    heat_NHW[1, -6:, -6:] = 1.0
    table = deletion_insertion(network, x_NCHW, heat_NHW, 0, seed=0).set_index(["image", "order"])
    right, wrong = table.loc[0], table.loc[1]
    assert right.loc["heat", "deletion"] < right.loc["random", "deletion"] < wrong.loc["heat", "deletion"]
    assert right.loc["heat", "insertion"] > right.loc["random", "insertion"] > wrong.loc["heat", "insertion"] - 0.2
    assert (right.loc["heat", "deletion"], right.loc["heat", "insertion"]) == pytest.approx(_by_hand(x_NCHW), abs=1e-9)


def _by_hand(x_NCHW: Tensor) -> tuple[float, float]:
    """Return deletion and insertion scores of the first image: the corner's 36 pixels first, then pixels without effect."""
    image = x_NCHW[0, 0].double().numpy()
    base = gaussian_filter(image, 0.1 * S, mode="nearest", radius=int(np.ceil(0.3 * S)))

    def p(corner: float) -> float:
        return float(1 / (1 + np.exp(2 - 4 * corner)))

    # after one step of 51.2 pixels the entire corner is blurred
    p_blurred, p_original = p(base[:6, :6].mean()), p(1.0)
    return (
        float(np.trapezoid([p_original, *[p_blurred] * 20], dx=0.05) / p_original),
        float(np.trapezoid([p_blurred, *[p_original] * 20], dx=0.05) / p_original),
    )


def test_an_empty_map_has_no_deletion_score() -> None:
    network = Network(Corner(), *SCALE, 3)
    table = deletion_insertion(network, images(), torch.zeros(3, S, S), 0, seed=0)
    heat = table[table["order"] == "heat"]
    assert heat[["deletion", "insertion"]].isna().all(axis=None)
    assert table[table["order"] != "heat"].notna().all(axis=None)


def test_similarity_equals_that_of_scikit_image() -> None:
    first, second = torch.rand(2, 3, S, S, generator=torch.Generator().manual_seed(0))
    expected = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(first.double().numpy(), second.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(ssim(first, second), expected, atol=1e-9)


def test_blur_equals_that_of_scipy() -> None:
    x_NCHW = images(1)
    expected = gaussian_filter(x_NCHW.numpy(), (0, 0, 3.2, 3.2), mode="nearest", radius=10)
    torch.testing.assert_close(blurred(x_NCHW, 3.2), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_equal_maps_have_similarity_1_and_an_empty_map_has_rank_correlation_0() -> None:
    heat = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    heat[1], heat[2] = 0.0, 1.0
    other = heat.clone()
    other[3] = 0.0
    table = similarity(heat, other, S)
    assert table.loc[0, ["spearman", "ssim"]].tolist() == pytest.approx([1.0, 1.0])
    assert table.loc[1, ["spearman", "ssim"]].isna().all()
    assert np.isnan(table.loc[2, "spearman"])
    assert table.loc[2, "ssim"] == pytest.approx(1.0)
    assert table.loc[3, "spearman"] == 0.0
    assert table["empty"].tolist() == [False, True, False, True]


def test_slight_noise_changes_a_map_slightly() -> None:
    network = build("bench.models.se_resnet:se_resnet", TINY, 2).eval()
    table = noise_stability(network, images(4, 64), 0, seed=3)
    assert table.equals(noise_stability(network, images(4, 64), 0, seed=3))
    assert 0.5 < table["spearman"].mean() < 1


def test_the_center_prior_has_its_maximum_in_the_center_and_is_symmetric() -> None:
    prior = center_prior(20, 30)
    np.testing.assert_allclose(prior, prior[::-1, ::-1], rtol=1e-6)
    assert int(prior.argmax()) // 30 in (9, 10)
    assert 0 < float(prior.min()) < float(prior.max()) <= 1


@pytest.mark.slow
def test_deletion_accepts_upsampled_maps_of_a_network() -> None:
    network, x_NCHW = build("bench.models.se_resnet:se_resnet", TINY, 2).eval(), images(2, 64)
    heat = upsampled(heat_maps(network, x_NCHW).heat_NKhw, 64)[:, 1]
    table = deletion_insertion(network, x_NCHW, heat, 1, seed=0)
    assert table["order"].value_counts().to_dict() == {"heat": 2, "random": 2, "centre": 2}
