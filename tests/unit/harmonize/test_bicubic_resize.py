"""Bicubic and bilinear resizing are those of Pillow, the resize of transformers and torchvision; one is that of OpenCV."""

import cv2
import numpy as np
import pytest

from harmonize.images.pixels import Geometry, fit_to_square

Image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize(
    ("shape", "size"),
    [((320, 390), 224), ((2991, 2431), 518), ((61, 75), 224), ((512, 512), 512), ((100, 700), 64), ((300, 200), 256)],
)
@pytest.mark.parametrize("fit", ["squash", "smallest_crop"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_the_pixels_are_those_of_pillow(shape: tuple[int, int], size: int, fit: str, interpolation: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    height, width = shape
    side = min(shape)
    new = (size, size) if fit == "squash" else (round(height * size / side), round(width * size / side))
    expected = np.asarray(Image.fromarray(image).resize(new[::-1], Image.Resampling[interpolation.upper()]))
    top, left = (new[0] - size) // 2, (new[1] - size) // 2
    expected = expected[top : top + size, left : left + size]
    found = fit_to_square(image, Geometry(size, fit, interpolation=interpolation))
    assert found.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1  # Pillow adds with 22 bits after the point
    assert (difference > 0).mean() < 0.002  # sums of exactly half a gray value


def test_without_antialias_the_pixels_are_those_of_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (320, 390)).astype(np.uint8)
    found = fit_to_square(image, Geometry(64, interpolation="bilinear_no_antialias"))
    assert (found == cv2.resize(image, (64, 64))).all()
    assert (found != fit_to_square(image, Geometry(64, interpolation="bilinear"))).mean() > 0.5


def test_the_cache_of_another_interpolation_is_another_cache() -> None:
    assert Geometry(64, "smallest_crop").key == "64-smallest_crop"
    assert Geometry(64, "smallest_crop", interpolation="bicubic").key == "64-smallest_crop-bicubic"
    assert Geometry(64, interpolation="bicubic").decode_at == 0


def test_an_unknown_interpolation_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolation must be one of bicubic, bilinear"):
        Geometry(64, interpolation="cubic")
