"""A letterbox's padding: known from the pixels, out of every statistic, 0 in what the network gets, moved with the image."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.config.preprocessing_ops import learnt_op
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
    """Return wide images of 30 x 40 pixels in letterboxes of 40 x 40, black pixels among theirs: [2, 40, 40]."""
    draw = np.random.default_rng(seed)
    images = [draw.integers(0, 256, (30, 40)).astype(np.uint8) for _ in range(2)]
    images[0][:4] = 0
    return torch.from_numpy(np.stack([to_geometry(image, Geometry(40, "letterbox")) for image in images]))


def normalizer(ops: list[Any], fit: str = "letterbox", size: int = 40, **more: int) -> Normalizer:
    op = learnt_op(ops)
    learnt = {op: learn(op, [boxed(seed=5)[:, 5:35]])} if op else {}
    return Normalizer.of({"size": size, "fit": fit, "ops": ops, **more}, MEAN, STD, 3, learnt)


def test_zero_is_padding_and_nothing_else() -> None:
    pixels = boxed()
    content = normalizer(["imagenet"]).content(pixels)
    assert content is not None
    assert content[:, :, 5:35].all()
    assert not content[:, :, :5].any()
    assert not content[:, :, 35:].any()
    assert (pixels[0, 5:9] == 1).all()  # black in the image
    assert normalizer(["imagenet"], "squash").content(pixels) is None


@EACH
def test_padding_is_zero_for_the_network_and_the_image_is_what_it_is_alone(ops: list[Any]) -> None:
    """The same pixels without padding, as an image of their own, are the oracle: statistics and all."""
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


def test_what_is_learnt_at_internal_does_not_count_padding() -> None:
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


def test_what_comes_in_at_a_turn_is_padding_too() -> None:
    full = torch.full((1, 40, 40), 200, dtype=torch.uint8)
    x = normalizer(["imagenet"])(full, view_transform((False, 45.0)))
    assert (x[:, :, 0, 0] == 0).all()
    assert (x[:, :, 20, 20] > 0).all()


@pytest.mark.parametrize("name", list(Registry.read().sections["augmentation"]))
def test_light_and_contrast_make_no_padding_and_hide_none(name: str) -> None:
    """Whatever the registry's augmentations do, each pixel is the tone of the augmented gray value, or 0."""
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
def test_even_a_strong_change_of_light_leaves_the_padding_where_it_is(factor: dict[str, float]) -> None:
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


def test_the_centre_that_the_network_sees_has_its_own_padding() -> None:
    pixels = boxed()
    x = normalizer(["zscore"], input=32)(pixels)
    assert x.shape[2:] == (32, 32)
    assert (x[:, :, :1] == 0).all()
    assert not (x[:, :, 1:31] == 0).all()
