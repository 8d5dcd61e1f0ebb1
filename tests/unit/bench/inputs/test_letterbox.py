"""Padding of letterboxed images: recognized by gray value 0, ignored in statistics, 0 in the input, and moved with the image."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.preprocessing_ops import learned_op
from bench.config.registry import Registry
from bench.inputs.augmentation import affine, chain
from bench.inputs.histograms import histograms, learn
from bench.inputs.normalize import Normalizer
from bench.runs.make_derived import view_transform
from harmonize.images.pixels import Geometry, to_geometry

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OPS: list[list[Any]] = [
    ["imagenet"],
    ["minmax"],
    ["zscore"],
    [{"minmax": {"pixels": "all"}}],
    [{"zscore": {"pixels": "all"}}],
    ["histstd"],
    ["histmatch"],
    ["histstd", "imagenet"],
]
EACH = pytest.mark.parametrize("ops", OPS, ids=str)


def boxed(seed: int = 0) -> Tensor:
    """Return images of 30 x 40 pixels, some pixels black, in letterboxes of 40 x 40: [2, 40, 40]."""
    draw = np.random.default_rng(seed)
    images = [draw.integers(0, 256, (30, 40)).astype(np.uint8) for _ in range(2)]
    images[0][:4] = 0
    return torch.from_numpy(np.stack([to_geometry(image, Geometry(40, "letterbox")) for image in images]))


def normalizer(ops: list[Any], fit: str = "letterbox", size: int = 40, **more: int) -> Normalizer:
    op = learned_op(ops)
    learned = {op: learn(op, [boxed(seed=5)[:, 5:35]])} if op else {}
    return Normalizer.of({"size": size, "fit": fit, "ops": ops, **more}, MEAN, STD, 3, learned)


def test_only_gray_value_zero_is_padding() -> None:
    pixels = boxed()
    content = normalizer(["imagenet"]).content(pixels)
    assert content is not None
    assert content[:, :, 5:35].all()
    assert not content[:, :, :5].any()
    assert not content[:, :, 35:].any()
    assert (pixels[0, 5:9] == 1).all()  # black in the image
    assert normalizer(["imagenet"], "squash").content(pixels) is None


@EACH
def test_padding_is_zero_and_the_image_is_as_without_padding(ops: list[Any]) -> None:
    """The expected result is that of the same pixels as an image without padding."""
    pixels = boxed()
    x = normalizer(ops)(pixels)
    assert (x[:, :, :5] == 0).all()
    assert (x[:, :, 35:] == 0).all()
    alone = normalizer(ops, "squash")(pixels[:, 5:35])
    torch.testing.assert_close(x[:, :, 5:35], alone, rtol=1e-5, atol=1e-5)


@EACH
def test_an_image_without_foreground_stays_finite(ops: list[Any]) -> None:
    dark = torch.zeros(2, 40, 40, dtype=torch.uint8)
    dark[0, 5:35] = 1
    assert bool(torch.isfinite(normalizer(ops)(dark)).all())


def test_the_reference_ignores_padding() -> None:
    pixels = boxed()
    for op in ("histstd", "histmatch"):
        assert learn(op, [pixels], padded=True) == learn(op, [pixels[:, 5:35]])
    assert histograms(pixels, padded=True)[:, 0].tolist() == [0, 0]
    assert learn("histmatch", [pixels], padded=True) != learn("histmatch", [pixels])


def test_padding_moves_with_the_image() -> None:
    pixels = boxed()
    prepare = normalizer(["imagenet"])
    plain = prepare(pixels)
    assert torch.equal(prepare(pixels, lambda x: x.flip(3)), plain.flip(3))
    assert torch.equal(prepare(pixels, view_transform((True, 0.0))), plain.flip(3))
    down = prepare(pixels, lambda x: x.roll(3, 2))
    assert torch.equal(down, plain.roll(3, 2))
    upright = prepare(pixels, lambda x: x.transpose(2, 3))
    assert torch.equal(upright, plain.transpose(2, 3))


def test_pixels_moved_in_by_a_rotation_are_padding() -> None:
    full = torch.full((1, 40, 40), 200, dtype=torch.uint8)
    x = normalizer(["imagenet"])(full, view_transform((False, 45.0)))
    assert (x[:, :, 0, 0] == 0).all()
    assert (x[:, :, 20, 20] > 0).all()


@pytest.mark.parametrize("name", list(Registry.read().sections["augmentation"]))
def test_brightness_and_contrast_keep_the_padding(name: str) -> None:
    """With every augmentation of the registry, each pixel is the normalized augmented gray value, or 0 for padding."""
    entry = Registry.read().sections["augmentation"][name]
    if not entry.use:
        pytest.skip("this entry changes nothing")
    pixels, prepare = boxed(), normalizer(["imagenet"])
    augment = partial(entry.load(), seed=3, **entry.options)
    x, gray = prepare(pixels, augment), Normalizer(["imagenet"], MEAN, STD).normalize(augment(prepare.gray(pixels)))
    padding = (x == 0).all(1)
    assert torch.equal(x.permute(0, 2, 3, 1)[~padding], gray.permute(0, 2, 3, 1)[~padding])
    assert 0.05 < float(padding.float().mean()) < 0.8


@pytest.mark.parametrize("factor", [{"brightness": 0.9}, {"contrast": 0.6}])
def test_strong_changes_of_brightness_keep_the_padding(factor: dict[str, float]) -> None:
    pixels, prepare = boxed(), normalizer(["imagenet"])
    still = {"rotate": 0.0, "translate": 0.0, "scale": 0.0, "brightness": 0.0, "contrast": 0.0, "p": 1.0}
    for seed in range(20):
        x = prepare(pixels, partial(affine, seed=seed, **still | factor))
        assert (x[:, :, :5] == 0).all()
        assert (x[:, :, 35:] == 0).all()
        assert not (x[:, :, 6:34] == 0).all(1).any()
        x = prepare(pixels, partial(chain, seed=seed, steps=[{"jitter": factor}, "gamma"]))
        assert (x[:, :, :5] == 0).all()
        assert not (x[:, :, 6:34] == 0).all(1).any()


def test_the_center_crop_keeps_its_padding() -> None:
    pixels = boxed()
    x = normalizer(["zscore"], input=32)(pixels)
    assert x.shape[2:] == (32, 32)
    assert (x[:, :, :1] == 0).all()
    assert not (x[:, :, 1:31] == 0).all()
