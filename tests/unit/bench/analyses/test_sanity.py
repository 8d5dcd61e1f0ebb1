"""Checks of heat maps against networks whose reasons are known, and against independent implementations."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from bench.analyses.heatmaps.gradcam import heat_maps, upsampled
from bench.analyses.heatmaps.localization import centre_prior
from bench.analyses.heatmaps.sanity import (
    blurred,
    cascade,
    deletion_insertion,
    noise_stability,
    similarity,
    ssim,
)
from bench.analyses.heatmaps.stages import parts
from bench.models.network import Network, build
from tests.networks import with_random_head

TINY = {"depths": [1, 1, 1, 1], "widths": [8, 8, 16, 16], "dropout": 0.1}
SCALE = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
S = 32


def images(num: int = 3, size: int = S) -> Tensor:
    return torch.randn(num, 3, size, size, generator=torch.Generator().manual_seed(0))


class Corner(nn.Module):
    """Its only finding is the brightness of the upper left corner: a fifth of each side."""

    num_features = 1

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        return x_NCHW.mean(1, keepdim=True)

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        corner = maps[:, :, :6, :6].mean((2, 3))
        return corner if pre_logits else 4 * corner - 2

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_NCHW))


def test_every_weight_of_the_network_is_in_one_part_and_the_parts_go_from_head_to_stem() -> None:
    network = with_random_head(build("bench.models.se_resnet:se_resnet", TINY, 2))
    found = parts(network, 64, 64)
    assert list(found) == ["head", "after 4 x 4", "after 8 x 8", "after 16 x 16", "after 32 x 32", "stem"]
    assert found["head"] == [network.backbone.fc]
    every = [id(p) for modules in found.values() for m in modules for p in m.parameters(recurse=False)]
    assert sorted(every) == sorted(id(p) for p in network.parameters())


def test_shuffling_the_weights_takes_the_map_apart_and_leaves_the_network_given_alone() -> None:
    network = with_random_head(build("bench.models.se_resnet:se_resnet", TINY, 2)).eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    found = cascade(network, images(4, 64), 1, seed=0)
    assert found.columns.tolist() == ["step", "stage", "image", "spearman", "ssim", "empty"]
    assert found["stage"].unique().tolist() == list(parts(network, 64, 64))
    assert len(found) == 6 * 4
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert found.equals(cascade(network, images(4, 64), 1, seed=0))
    assert not found.equals(cascade(network, images(4, 64), 1, seed=1))
    assert abs(found.loc[found["step"] == 6, "spearman"].mean()) < 0.5


def test_a_map_that_shows_the_image_and_not_the_network_is_found_out() -> None:
    network = Network(Corner(), *SCALE, 3)  # no weight to shuffle: its map cannot change
    network.backbone.scale = nn.Parameter(torch.ones(2))
    assert cascade(network, images().abs(), 0, seed=0)["spearman"].tolist() == pytest.approx([1.0] * 3)


def test_pixels_that_matter_go_first_where_the_map_is_right_and_a_random_order_is_worse() -> None:
    network = Network(Corner(), *SCALE, 3)
    x_NCHW = torch.zeros(2, 3, S, S)
    x_NCHW[:, :, :6, :6] = 1.0
    heat_NHW = torch.zeros(2, S, S)
    heat_NHW[0, :6, :6] = 1.0  # right, and for the second image the wrong corner
    heat_NHW[1, -6:, -6:] = 1.0
    found = deletion_insertion(network, x_NCHW, heat_NHW, 0, seed=0).set_index(["image", "order"])
    right, wrong = found.loc[0], found.loc[1]
    assert right.loc["heat", "deletion"] < right.loc["random", "deletion"] < wrong.loc["heat", "deletion"]
    assert right.loc["heat", "insertion"] > right.loc["random", "insertion"] > wrong.loc["heat", "insertion"] - 0.2
    assert (right.loc["heat", "deletion"], right.loc["heat", "insertion"]) == pytest.approx(_by_hand(x_NCHW), abs=1e-9)


def _by_hand(x_NCHW: Tensor) -> tuple[float, float]:
    """Deletion and insertion of the first image where the 36 pixels of the corner go first, then pixels without effect."""
    image = x_NCHW[0, 0].double().numpy()
    base = gaussian_filter(image, 0.1 * S, mode="nearest", radius=int(np.ceil(0.3 * S)))

    def p(corner: float) -> float:
        return float(1 / (1 + np.exp(2 - 4 * corner)))

    # after one step of 51.2 pixels the whole corner is gone
    gone, whole = p(base[:6, :6].mean()), p(1.0)
    return (
        float(np.trapezoid([whole, *[gone] * 20], dx=0.05) / whole),
        float(np.trapezoid([gone, *[whole] * 20], dx=0.05) / whole),
    )


def test_an_empty_map_has_no_order_and_does_not_pass_for_one() -> None:
    network = Network(Corner(), *SCALE, 3)
    found = deletion_insertion(network, images(), torch.zeros(3, S, S), 0, seed=0)
    heat = found[found["order"] == "heat"]
    assert heat[["deletion", "insertion"]].isna().all(axis=None)
    assert found[found["order"] != "heat"].notna().all(axis=None)


def test_similarity_is_that_of_scikit_image() -> None:
    first, second = torch.rand(2, 3, S, S, generator=torch.Generator().manual_seed(0))
    expected = [
        structural_similarity(a, b, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        for a, b in zip(first.double().numpy(), second.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(ssim(first, second), expected, atol=1e-9)


def test_blur_is_that_of_scipy() -> None:
    x_NCHW = images(1)
    expected = gaussian_filter(x_NCHW.numpy(), (0, 0, 3.2, 3.2), mode="nearest", radius=10)
    torch.testing.assert_close(blurred(x_NCHW, 3.2), torch.from_numpy(expected), atol=1e-5, rtol=1e-5)


def test_maps_are_alike_to_themselves_and_what_has_become_empty_shares_no_order() -> None:
    heat = torch.rand(4, 4, 4, generator=torch.Generator().manual_seed(0))
    heat[1], heat[2] = 0.0, 1.0
    other = heat.clone()
    other[3] = 0.0
    found = similarity(heat, other, S)
    assert found.loc[0, ["spearman", "ssim"]].tolist() == pytest.approx([1.0, 1.0])
    assert found.loc[1, ["spearman", "ssim"]].isna().all()
    assert np.isnan(found.loc[2, "spearman"])
    assert found.loc[2, "ssim"] == pytest.approx(1.0)
    assert found.loc[3, "spearman"] == 0.0
    assert found["empty"].tolist() == [False, True, False, True]


def test_a_little_noise_changes_a_map_a_little() -> None:
    network = with_random_head(build("bench.models.se_resnet:se_resnet", TINY, 2)).eval()
    found = noise_stability(network, images(4, 64), 0, seed=3)
    assert found.equals(noise_stability(network, images(4, 64), 0, seed=3))
    assert 0.5 < found["spearman"].mean() < 1


def test_the_centre_prior_peaks_in_the_middle_and_is_the_same_mirrored() -> None:
    prior = centre_prior(20, 30)
    np.testing.assert_allclose(prior, prior[::-1, ::-1], rtol=1e-6)
    assert int(prior.argmax()) // 30 in (9, 10)
    assert 0 < float(prior.min()) < float(prior.max()) <= 1


def test_upsampled_maps_of_a_network_are_what_deletion_takes() -> None:
    network, x_NCHW = with_random_head(build("bench.models.se_resnet:se_resnet", TINY, 2)).eval(), images(2, 64)
    heat = upsampled(heat_maps(network, x_NCHW).heat_NKhw, 64)[:, 1]
    found = deletion_insertion(network, x_NCHW, heat, 1, seed=0)
    assert found["order"].value_counts().to_dict() == {"heat": 2, "random": 2, "centre": 2}
