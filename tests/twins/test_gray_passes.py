"""What works on bytes equals the plain way: gray values counted, looked up, resampled; tones by tables; the border."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.ndimage import affine_transform

from bench.inputs.augmentation import affine, chain
from bench.inputs.augmentation.warp import draw, levels, resample
from bench.inputs.histograms import histmatch, histograms, histstd, learn, look_up
from bench.inputs.normalize import Normalizer, unit
from harmonize.images import roi
from tests.nonempty import nonempty

Images = NDArray[np.uint8]
sides = st.tuples(st.integers(1, 4), st.integers(1, 37), st.integers(1, 70))
batches = sides.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255)))
quick = settings(max_examples=60)
seeds = st.integers(0, 2**32 - 1)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@quick
@given(batches)
def test_gray_values_are_counted_and_looked_up_as_numpy_does(images: Images) -> None:
    shown = torch.from_numpy(images)
    np.testing.assert_array_equal(histograms(shown), [np.bincount(i.ravel(), minlength=256) for i in images])
    table = torch.rand(len(images), 2, 256)
    expected = np.stack([[channel.numpy()[i] for channel in tables] for i, tables in zip(images, table, strict=True)])
    np.testing.assert_array_equal(look_up(shown, table), expected)
    turned = shown.transpose(1, 2)  # not contiguous
    np.testing.assert_array_equal(look_up(turned, table), expected.transpose(0, 1, 3, 2))


def plainly(image: Images, origin: NDArray[np.float64], contrast: float, brightness: float) -> NDArray[np.float64]:
    """Return an image lit, then interpolated by scipy in double precision, then cut to [0, 1]."""
    lit = image / 255
    lit = ((lit - lit.mean()) * contrast + lit.mean()) * brightness
    rows_first = origin[::-1, [1, 0, 2]]
    found = affine_transform(lit, rows_first[:, :2], rows_first[:, 2], order=1, mode="grid-constant", cval=0.0)
    return np.clip(found, 0, 1)


@quick
@given(batches, seeds, st.floats(0.3, 3), st.floats(0.4, 2), st.floats(0.4, 2))
def test_resampling_is_scipys_interpolation(
    images: Images, seed: int, zoom: float, contrast: float, brightness: float
) -> None:
    number = np.random.default_rng(seed)
    num, height, width = images.shape
    turn = number.uniform(-np.pi, np.pi, num)
    origin = np.empty((num, 2, 3))
    origin[:, 0, 0], origin[:, 0, 1] = zoom * np.cos(turn), zoom * np.sin(turn)
    origin[:, 1, 0], origin[:, 1, 1] = -zoom * np.sin(turn), zoom * np.cos(turn)
    origin[:, :, 2] = number.uniform(-10, 10, (num, 2)) + np.array([width, height]) / 3
    light = np.array([[contrast, brightness]] * num, np.float32)
    found = resample(images, origin, light)
    for image, matrix, one in nonempty(zip(images, origin, found, strict=True)):
        expected = plainly(image, matrix, float(light[0, 0]), float(light[0, 1]))
        np.testing.assert_allclose(one, expected, atol=3e-4)  # a place is known to 1e-5 of a pixel


@pytest.mark.parametrize("value", [0, 1, 128, 255])
def test_an_image_of_one_gray_value_keeps_it_wherever_it_stays(value: int) -> None:
    flat = torch.full((4, 1, 31, 45), value, dtype=torch.uint8)
    seen = affine(flat, 3, brightness=0.0, contrast=0.5, p=1.0)
    assert bool(torch.isfinite(seen).all())
    torch.testing.assert_close(seen[:, :, 8:-8, 8:-8], unit(flat[:, 0])[:, :, 8:-8, 8:-8], atol=1e-6, rtol=0)
    assert float(seen.max()) <= value / 255 + 1e-6


@quick
@given(batches, seeds)
def test_an_image_has_the_same_bits_in_every_batch_and_however_its_bytes_are_given(images: Images, seed: int) -> None:
    shown = torch.from_numpy(images)[:, None]
    drawn = draw(
        len(images), seed, rotate=20.0, translate=0.1, scale=0.2, brightness=0.3, contrast=0.3, p=0.7, hflip=True
    )
    found = drawn.apply(shown)
    assert torch.equal(found, drawn.apply(shown.float() / 255))
    for i in range(len(images)):
        assert torch.equal(drawn[i : i + 1].apply(shown[i : i + 1]), found[i : i + 1])


@pytest.mark.parametrize(
    "steps",
    [["crop", "hflip"], ["hflip", {"warp": {"rotate": 9.0}}, "jitter"], ["gamma", {"warp": {"scale": 0.1}}], ["erase"]],
)
def test_a_chain_shown_bytes_gives_what_it_gives_shown_gray_values(steps: list[Any]) -> None:
    shown = torch.randint(256, (9, 1, 33, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = chain(shown, 4, steps)
    assert found.dtype == torch.float32
    assert torch.equal(found, chain(shown.float() / 255, 4, steps))


@quick
@given(arrays(np.float32, (2, 1, 5, 6), elements=st.floats(0, 1, width=32)))
def test_whole_gray_levels_are_the_nearest(x: NDArray[np.float32]) -> None:
    assert float((levels(torch.from_numpy(x)).float() / 255 - torch.from_numpy(x)).abs().max()) <= 0.5 / 255 + 1e-6


OPS: list[list[Any]] = [
    ["minmax"],
    ["zscore"],
    ["minmax", "imagenet"],
    [{"zscore": {"pixels": "all"}}],
    [{"minmax": {"pixels": "all"}}],
    ["histstd"],
    ["histmatch", "imagenet"],
    ["histstd", "zscore"],
    ["minmax", "zscore", "imagenet"],
]


def pictures() -> torch.Tensor:
    """Return images of an odd size: drawn, black, constant, with black borders, all but black, of two gray values."""
    images = torch.randint(256, (6, 41, 41), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images[1], images[2], images[4], images[5] = 0, 77, images[4] // 64, 200 * (images[5] // 128)
    images[3, :9], images[3, :, -7:] = 0, 0
    return images


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("seen", [0, 33])
@pytest.mark.parametrize("ops", OPS, ids=str)
def test_a_tone_by_tables_is_that_of_every_pixel_by_itself(ops: list[Any], seen: int, padded: bool) -> None:
    images = pictures()
    learnt = {op: learn(op, [images[:1]]) for op in ("histstd", "histmatch")}
    normalizer = Normalizer(ops, MEAN, STD, 3, seen, learnt, padded)
    found, plain = normalizer(images), normalizer.normalize(normalizer.gray(images), normalizer.content(images))
    assert found.shape == plain.shape
    assert bool(torch.isfinite(found).all())
    if any("zscore" in str(op) for op in ops):  # its sums are added up in another order
        torch.testing.assert_close(found, plain, atol=2e-5, rtol=2e-6)
    else:
        assert torch.equal(found, plain)


@quick
@given(arrays(np.uint8, (7, 9)), arrays(np.uint8, (8, 8)))
def test_tables_on_the_device_look_up_the_same(image: Images, other: Images) -> None:
    """The way of a GPU, asked to count on the CPU: scattered instead of by OpenCV."""
    shown = torch.from_numpy(image)[None]
    place = shown.flatten(1).long()
    count = torch.zeros(1, 256, dtype=torch.int64).scatter_add_(1, place, torch.ones_like(place))
    assert torch.equal(count, histograms(shown))
    for table in (histstd(count, np.linspace(0, 1, 11).tolist()), histmatch(count, [1 / 256] * 256)):
        assert torch.equal(table[0][shown.long()], look_up(shown, table[:, None])[:, 0])


@quick
@given(
    st.tuples(st.integers(1, 130), st.integers(1, 130)).flatmap(
        lambda s: arrays(np.uint8, s, elements=st.sampled_from([0, 12, 13, 255]), fill=st.just(0))
    )
)
def test_the_border_is_found_by_shares_of_bright_pixels(image: Images) -> None:
    bright = image >= roi.BLACK * 255
    rows, columns = (np.flatnonzero(bright.mean(axis=axis) > 0.01) for axis in (1, 0))
    found = roi.bounds(image)
    if not len(rows) or not len(columns):
        assert found == (slice(0, image.shape[0]), slice(0, image.shape[1]))
    else:
        assert found == (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = np.pad(image, 3)[3:-3, 3:-3]  # rows that do not lie one behind the other
    assert roi.bounds(part) == found
