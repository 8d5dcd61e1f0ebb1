"""Affine augmentation: it moves each image as its parameters say."""

from typing import Any

import pytest
import torch

from bench.inputs.augmentation import affine, none
from bench.inputs.augmentation.warp import Warp, draw, levels, on_device

STILL: dict[str, Any] = {
    "rotate": 0,
    "translate": 0,
    "scale": 0,
    "brightness": 0,
    "contrast": 0,
    "p": 1.0,
    "hflip": False,
}


def warp(**changes: float) -> Warp:
    values = {
        "angle": 0.0,
        "right": 0.0,
        "down": 0.0,
        "zoom": 1.0,
        "flip": 1.0,
        "brightness": 1.0,
        "contrast": 1.0,
    } | changes
    one = {name: torch.tensor([value]) for name, value in values.items()}
    shift = torch.stack([one.pop("right"), one.pop("down")], 1)
    return Warp(shift=shift, **one)


def whole(images: torch.Tensor) -> torch.Tensor:
    """Return images in multiples of 1/255, which resampling does not round."""
    return (images * 255).round() / 255


def dot(row: int, column: int, size: int = 20) -> torch.Tensor:
    image = torch.zeros(1, 1, size, size)
    image[0, 0, row, column] = 1
    return image


def test_without_parameters_images_are_unchanged() -> None:
    images = whole(torch.rand(3, 1, 24, 24))
    torch.testing.assert_close(affine(images, 0, **STILL), images, atol=1e-5, rtol=0)
    torch.testing.assert_close(affine(images, 0, p=0.0), images, atol=1e-5, rtol=0)
    assert none(images, 0) is images


@pytest.mark.parametrize(
    ("changes", "to"),
    [
        ({"right": 0.25}, (4, 12)),  # 5 of 20 pixels
        ({"down": 0.1}, (6, 7)),
        ({"flip": -1.0}, (4, 12)),
        ({"angle": torch.pi}, (15, 12)),
        ({"angle": torch.pi / 2}, (7, 15)),  # clockwise
    ],
)
def test_a_dot_moves_to_the_expected_pixel(changes: dict[str, float], to: tuple[int, int]) -> None:
    torch.testing.assert_close(warp(**changes).apply(dot(4, 7)), dot(*to), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 80), (224, 224), (9, 3)])
def test_the_cpu_and_the_gpu_resampling_agree(height: int, width: int) -> None:
    """The GPU implementation also runs on the CPU."""
    smooth = torch.rand(16, 1, 1 + height // 8, 1 + width // 8, generator=torch.Generator().manual_seed(0))
    images = whole(torch.nn.functional.interpolate(smooth, (height, width), mode="bilinear", align_corners=True))
    drawn = draw(16, 1, rotate=10.0, translate=0.05, scale=0.05, brightness=0.3, contrast=0.3, p=0.8, hflip=True)
    torch.testing.assert_close(drawn.apply(images), on_device(drawn, levels(images)), atol=2e-4, rtol=0)
    transposed = images.transpose(2, 3)  # not contiguous
    torch.testing.assert_close(drawn.apply(transposed), drawn.apply(transposed.contiguous()), atol=0, rtol=0)


def test_zoom_enlarges_about_the_center() -> None:
    square = torch.zeros(1, 1, 40, 40)
    square[..., 10:30, 10:30] = 1
    assert float(warp(zoom=1.5).apply(square).sum()) == pytest.approx(30 * 30, rel=0.02)


def test_rotation_keeps_shapes_in_images_that_are_not_square() -> None:
    image = torch.zeros(1, 1, 20, 40)
    image[..., 8:12, 15:25] = 1
    rotated = warp(angle=torch.pi / 2).apply(image)
    assert float(rotated[..., 5:15, 18:22].mean()) == pytest.approx(1.0, abs=1e-4)
    assert float(rotated.sum()) == pytest.approx(40.0, abs=1e-2)


def test_brightness_is_a_factor_and_contrast_keeps_the_mean() -> None:
    image = whole(0.25 + torch.rand(1, 1, 16, 16) / 4)
    torch.testing.assert_close(warp(brightness=1.1).apply(image), image * 1.1, atol=1e-5, rtol=0)
    steeper = warp(contrast=1.2).apply(image)
    assert float(steeper.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
    assert float(steeper.std()) == pytest.approx(1.2 * float(image.std()), rel=1e-3)


def test_a_batch_equals_its_images_one_by_one() -> None:
    images = torch.rand(5, 1, 32, 32)
    decisions = draw(5, 3, rotate=10, translate=0.05, scale=0.05, brightness=0.15, contrast=0.15, p=0.5, hflip=True)
    batch = decisions.apply(images)
    for i in range(5):
        torch.testing.assert_close(decisions[i : i + 1].apply(images[i : i + 1]), batch[i : i + 1])


def test_parameters_stay_in_their_ranges_and_occur_with_their_probability() -> None:
    d = draw(4000, 1, rotate=10, translate=0.05, scale=0.2, brightness=0.15, contrast=0.1, p=0.5, hflip=False)
    assert float(d.angle.abs().max()) <= torch.pi * 10 / 180
    assert float(d.shift.abs().max()) <= 0.05
    assert float((d.zoom - 1).abs().max()) <= 0.2 + 1e-6
    assert float((d.brightness - 1).abs().max()) <= 0.15 + 1e-6
    assert float((d.contrast - 1).abs().max()) <= 0.1 + 1e-6
    assert bool((d.flip == 1).all())
    for values in (d.angle, d.shift[:, 0], d.zoom - 1, d.brightness - 1, d.contrast - 1):
        assert float((values != 0).float().mean()) == pytest.approx(0.5, abs=0.04)
        assert float(values.mean()) == pytest.approx(0.0, abs=0.03 * float(values.abs().max()))
    flips = draw(4000, 1, **(STILL | {"hflip": True})).flip
    assert float(flips.mean()) == pytest.approx(0.0, abs=0.06)
