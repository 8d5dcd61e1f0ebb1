"""Each augmentation step: its effect, its range, and its dependence on the seed alone."""

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.config.preprocessing_ops import AUGMENT_STEPS, augment_steps
from bench.inputs.augmentation.steps import (
    STEPS,
    blur,
    border,
    chain,
    crop,
    erase,
    gamma,
    hflip,
    jitter,
    markers,
    resolutions,
    tones,
    warp,
)
from bench.inputs.normalize import Normalizer
from harmonize.errors import ConfigError

ALWAYS: dict[str, dict[str, Any]] = {
    "warp": {"rotate": 10.0, "translate": 0.05, "scale": 0.05},
    "blur": {"sigma": 0.05},
}  # options that change every image
EACH = pytest.mark.parametrize("name", STEPS)


def images(number: int = 5, side: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(number, 1, side, side, generator=torch.Generator().manual_seed(seed))


def step(name: str, x: Tensor, seed: int, **options: Any) -> Tensor:
    return STEPS[name](x, seed, **ALWAYS.get(name, {}) | options)


@EACH
def test_the_configuration_lists_the_options_of_every_step(name: str) -> None:
    signature = inspect.signature(STEPS[name]).parameters
    assert set(AUGMENT_STEPS[name]) == set(signature) - {"x_N1HW", "seed"}
    assert list(AUGMENT_STEPS) == list(STEPS)


@EACH
def test_a_step_with_probability_zero_changes_nothing(name: str) -> None:
    x = images()
    assert torch.equal(step(name, x, 3, p=0.0), x)


@EACH
def test_the_result_depends_only_on_the_seed(name: str) -> None:
    x = images(16)
    before = x.clone()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (step(name, x, seed, p=0.6) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@EACH
@given(seed=st.integers(0, 2**63 - 1), shape=st.tuples(st.integers(1, 5), st.integers(8, 20), st.integers(8, 20)))
def test_a_step_keeps_shape_and_range(name: str, seed: int, shape: tuple[int, int, int]) -> None:
    x = torch.rand(shape[0], 1, *shape[1:], generator=torch.Generator().manual_seed(1))
    y = step(name, x, seed, p=0.8)
    assert y.shape == x.shape
    assert y.dtype == torch.float32
    assert 0 <= float(y.min()) <= float(y.max()) <= 1 + 1e-6


@EACH
def test_an_image_does_not_depend_on_the_other_images(name: str) -> None:
    x, other = images(8), images(8, seed=9)
    other[3] = x[3]
    torch.testing.assert_close(step(name, x, 4, p=0.7)[3], step(name, other, 4, p=0.7)[3], atol=1e-6, rtol=0)


@EACH
def test_a_step_is_applied_with_its_probability(name: str) -> None:
    x = images(800, 32)
    changed = (step(name, x, 11, p=0.3) != x).flatten(1).any(1).float().mean()
    decisions = {"warp": 3, "jitter": 2}.get(name, 1)
    assert float(changed) == pytest.approx(1 - 0.7**decisions, abs=0.06)


def test_a_crop_shifts_by_integer_pixels_uniformly() -> None:
    x = images(400, 16)
    y = crop(x, 2, share=0.25)[:, 0]
    wide = torch.nn.functional.pad(x[:, 0], (2, 2, 2, 2))
    num_images = [
        int((wide[:, down : down + 16, right : right + 16] == y).flatten(1).all(1).sum())
        for down in range(5)
        for right in range(5)
    ]
    assert sum(num_images) == 400  # each image has one offset
    assert 3 < min(num_images) <= max(num_images) < 36  # 16 expected


def test_a_crop_with_an_input_is_a_random_crop_without_black() -> None:
    cached = torch.randint(6, 256, (40, 72, 72), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    normalizer = Normalizer([], (0.5,) * 3, (0.5,) * 3, in_channels=1, input=64)
    seen = normalizer(cached, lambda x: crop(x, 5, share=0.125))
    assert seen.shape == (40, 1, 64, 64)
    assert float(seen.min()) > 0
    windows = cached.float().unfold(1, 64, 1).unfold(2, 64, 1) / 255  # [40, 9, 9, 64, 64]
    places = [(windows[i] == seen[i, 0]).all(-1).all(-1).nonzero().tolist() for i in range(40)]
    assert all(len(place) == 1 for place in places)
    rows = {place[0][0] for place in places}
    assert (min(rows), max(rows)) == (0, 8)


def test_hflip_only_swaps_left_and_right() -> None:
    x = images()
    assert torch.equal(hflip(x, 0, p=1.0), x.flip(3))
    assert torch.equal(hflip(hflip(x, 0, p=1.0), 1, p=1.0), x)


def test_gamma_is_a_power_between_its_bounds() -> None:
    x = torch.full((500, 1, 1, 1), 0.5)
    power = torch.log(gamma(x, 3, p=1.0)) / torch.log(x)
    assert 0.7 - 1e-5 <= float(power.min()) < 0.75
    assert 1.3 < float(power.max()) <= 1.4 + 1e-5
    assert float(power.log().mean()) == pytest.approx((torch.log(torch.tensor(0.7 * 1.4)) / 2).item(), abs=0.03)
    black_and_white = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert torch.equal(gamma(black_and_white, 1, p=1.0), black_and_white)


def test_blur_keeps_flat_images_and_mean_and_equals_a_gaussian_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    flat = torch.full((2, 1, 16, 16), 0.4)
    torch.testing.assert_close(blur(flat, 0, p=1.0, sigma=0.1), flat)
    x = images(1, 40)
    y = blur(x, 0, p=1.0, sigma=0.05)
    best = min(
        (abs(gaussian_filter(x[0, 0].numpy(), s, mode="nearest", radius=6) - y[0, 0].numpy()).max(), s)
        for s in torch.linspace(0.05, 2.0, 400).tolist()
    )
    assert best[0] < 5e-3


def test_an_erased_rectangle_is_black_and_has_the_configured_size() -> None:
    x = torch.ones(300, 1, 64, 64)
    share = (erase(x, 4, area=(0.1, 0.2), p=1.0) == 0).flatten(1).float().mean(1)
    assert float(share.min()) > 0.08
    assert float(share.max()) < 0.22
    for one in erase(x, 4, area=(0.1, 0.2), p=1.0)[:20, 0]:
        rows, columns = ((one == 0).any(dim).nonzero() for dim in (1, 0))
        assert int((one == 0).sum()) == len(rows) * len(columns)


def test_a_border_is_black_at_the_edges_only() -> None:
    x = torch.ones(200, 1, 40, 40)
    y = border(x, 6, most=0.1, p=1.0)
    assert bool((y[:, :, 4:36, 4:36] == 1).all())
    for edge in (y[:, 0, 0], y[:, 0, -1], y[:, 0, :, 0], y[:, 0, :, -1]):
        assert bool((edge == 0).all(1).any())
        assert bool((edge == 1).any())


CORNERS = ((slice(0, 12), slice(0, 12)), (slice(0, 12), slice(-12, None)), (slice(-12, None), slice(0, 12)), (slice(-12, None), slice(-12, None)))  # fmt: skip


@pytest.mark.slow
def test_tags_are_as_frequent_with_a_tag_in_the_image_as_without() -> None:
    """The upper left corner of half of the images has a tag; afterwards the corner is as bright in both halves."""
    plain = torch.full((1200, 1, 64, 64), 0.2)
    marked = plain.clone()
    marked[:, :, 3:7, 3:13] = 0.95
    tagged = [markers(x, seed, p=1.0) for seed, x in enumerate((plain, marked))]
    for rows, columns in CORNERS:
        bright = [(y[:, 0, rows, columns] > 0.5).flatten(1).any(1).float().mean() for y in tagged]
        assert float(bright[0]) == pytest.approx(0.5, abs=0.06)
        assert float(bright[1]) == pytest.approx(float(bright[0]), abs=0.06)
    assert float((marked[:, 0, :12, :12] > 0.5).flatten(1).any(1).float().mean()) == 1


def test_tags_differ_and_leave_the_middle_unchanged() -> None:
    x = torch.full((300, 1, 64, 64), 0.2)
    x[:, :, 20:44] = torch.rand(300, 1, 24, 64, generator=torch.Generator().manual_seed(0)) / 2
    y = markers(x, 3, p=1.0)
    assert torch.equal(y[:, :, 20:44], x[:, :, 20:44])
    assert torch.equal(y[:, :, :, 20:44], x[:, :, :, 20:44])
    changed = [y[:, 0, rows, columns].flatten(1) > 0.5 for rows, columns in CORNERS]
    assert all(len(corner.unique(dim=0)) > 100 for corner in changed)


def test_a_tone_curve_increases_and_keeps_black_and_white() -> None:
    ramp = torch.linspace(0, 1, 257).view(1, 1, 1, -1).expand(200, 1, 1, 257)
    y = tones(ramp, 4, strength=2.0, p=1.0)[:, 0, 0]
    assert float(y.diff(dim=1).min()) > 0
    assert bool((y[:, 0] == 0).all())
    torch.testing.assert_close(y[:, -1], torch.ones(200))
    slope = y.diff(dim=1)[:, ::32] * 256  # of each of the eight lines
    assert float(slope.max()) > 2
    assert float(slope.min()) < 0.4
    both = (slope[:, 0] > slope[:, 4]) & (slope[:, 4] < slope[:, 7])
    assert 0.1 < float(both.float().mean()) < 0.6, "a gamma curve bends only one way"


def test_a_lower_resolution_keeps_flat_images_and_the_mean_and_removes_detail() -> None:
    flat = torch.full((20, 1, 32, 32), 0.4)
    torch.testing.assert_close(resolutions(flat, 0, p=1.0), flat)
    x = images(100, 48)
    y = resolutions(x, 1, least=0.3, p=1.0)
    torch.testing.assert_close(y.mean((2, 3)), x.mean((2, 3)), atol=0.02, rtol=0)
    left = y.flatten(1).std(1) / x.flatten(1).std(1)
    assert float(left.max()) < 1 + 1e-6
    assert float(left.min()) < 0.4
    assert float(left.max() - left.min()) > 0.3


def test_jitter_and_warp_are_those_of_the_light_augmentation() -> None:
    from bench.inputs.augmentation.warp import draw

    x = (images(6) * 255).round() / 255
    drawn = draw(6, 9, rotate=10, translate=0.05, scale=0.05, brightness=0, contrast=0, p=0.5, hflip=False)
    torch.testing.assert_close(warp(x, 9, rotate=10.0, translate=0.05, scale=0.05), drawn.apply(x), atol=1e-5, rtol=0)
    small = 0.4 + x / 10
    factor = jitter(small, 2, contrast=0.0, p=1.0) / small
    assert float((factor - factor[:, :, :1, :1]).abs().max()) < 1e-5
    assert 0.85 <= float(factor.min()) <= float(factor.max()) <= 1.15


def test_each_step_of_a_chain_has_its_own_random_stream() -> None:
    x = images(64)
    assert chain(x, 1, []) is x
    once, twice = chain(x, 1, ["hflip"]), chain(x, 1, ["hflip", "hflip"])
    assert not torch.equal(once, x)
    assert not torch.equal(twice, x)  # the second step selects other images, so it does not undo the first
    assert chain(x, 1, [{"gamma": {"p": 0.0}}, "hflip"]).shape == x.shape


@pytest.mark.parametrize(
    ("steps", "message"),
    [(["gama"], "did you mean 'gamma'"), ([{"blur": {"sigm": 1}}], "no option 'sigm'"), ([7], "choose from: crop")],
)
def test_a_step_that_does_not_exist_is_refused(steps: list[Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        augment_steps(steps)
