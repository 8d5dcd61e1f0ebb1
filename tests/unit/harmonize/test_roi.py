"""Tests of the region of interest, which is cropped before resizing."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import save

from harmonize.cache.cache import open_cache
from harmonize.images.pixels import Geometry, fit_to_square, read_gray, region, to_geometry
from harmonize.images.roi import adaptive, bounds, fixed
from harmonize.phantom import PhantomSettings, write_cohorts
from tests.nonempty import nonempty


def chest(height: int = 200, width: int = 160) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a bright body on black air, with two dark lungs in rows 50-150 and columns 40-70 and 90-120."""
    image = np.zeros((height, width), np.uint8)
    image[10:195, 10:150] = 180
    image[50:150, 40:70] = image[50:150, 90:120] = 60
    return image


def framed(image: np.ndarray[Any, Any], by: int) -> np.ndarray[Any, Any]:
    return np.pad(image, by)


def test_the_border_ends_at_rows_with_one_percent_bright_pixels() -> None:
    image = np.zeros((120, 200), np.uint8)
    image[20:100, 30:170] = 90
    image[5, 40] = 255  # 1 bright pixel of 200 in its row
    image[:, 3] = 12  # slightly below 0.05 of white
    assert bounds(image) == (slice(20, 100), slice(30, 170))
    assert bounds(np.zeros((9, 7), np.uint8)) == (slice(0, 9), slice(0, 7))


def test_the_fixed_region_is_ninety_percent_of_the_image_without_border() -> None:
    image = np.zeros((140, 140), np.uint8)
    image[20:120, 30:130] = 90
    assert fixed(image) == (slice(25, 115), slice(35, 125))
    assert fixed(image, 1.0) == bounds(image)


def test_the_adaptive_region_is_the_lung_box_plus_ten_percent_on_each_side() -> None:
    rows, columns = adaptive(chest()) or (slice(0), slice(0))
    expected = (40, 160, 32, 128)  # 100 rows and 80 columns of lung, plus 10 and 8 at each end
    box = (rows.start, rows.stop, columns.start, columns.stop)
    np.testing.assert_allclose(box, expected, atol=3 * 0.02 * 200)  # the low-pass blurs an edge by three sigmas


@pytest.mark.slow
@given(st.integers(0, 60))
def test_a_black_border_does_not_move_the_lungs(by: int) -> None:
    inside, outside = adaptive(chest()), adaptive(framed(chest(), by))
    assert inside is not None
    assert outside == tuple(slice(extent.start + by, extent.stop + by) for extent in inside)


@pytest.mark.parametrize("value", [0, 100, 255])
def test_an_image_without_lungs_uses_the_fixed_region(value: int) -> None:
    image = np.full((80, 100), value, np.uint8)
    assert adaptive(image) is None
    crop, fell_back = region(image, Geometry(64, region=("adaptive_roi", 0.1)))
    assert fell_back
    np.testing.assert_array_equal(crop, image[fixed(image)])


def test_one_dark_patch_or_two_small_patches_are_no_lungs() -> None:
    one_patch, small_patches = chest(), chest()
    one_patch[50:150, 90:120] = 180
    small_patches[50:150, 40:120] = 180
    small_patches[60:90, 50:80] = small_patches[60:90, 90:120] = (
        60  # two patches, but their box is only 5 % of the image
    )
    assert adaptive(one_patch) is None
    assert adaptive(small_patches) is None


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 2**32 - 1))
def test_every_image_has_a_region_inside_it(height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    for box in (bounds(image), fixed(image), adaptive(image) or bounds(image)):
        for extent, side in nonempty(zip(box, image.shape, strict=True)):
            assert 0 <= extent.start < extent.stop <= side


def test_the_region_is_cropped_before_resizing() -> None:
    image = chest()
    rows, columns = adaptive(image) or (slice(0), slice(0))
    geometry = Geometry(64, "letterbox", (2.0, 8), ("adaptive_roi", 0.1))
    expected = fit_to_square(image[rows, columns], Geometry(64, "letterbox", (2.0, 8)))
    np.testing.assert_array_equal(to_geometry(image, geometry), expected)


def test_a_geometry_key_contains_the_region_if_there_is_one() -> None:
    assert Geometry(224).key == "224-squash"
    assert Geometry(224, "letterbox", (2.0, 8)).key == "224-letterbox-from1-clahe2x8"
    assert Geometry(224, region=("roi", 0.9)).key == "224-squash-roi0.9"
    assert Geometry(224, "squash", (2.0, 8), ("adaptive_roi", 0.1)).key == "224-squash-clahe2x8-adaptive_roi0.1"


@pytest.mark.parametrize("bad", [("lungs", 0.9), ("roi", 0.0), ("roi", 1.1), ("adaptive_roi", -0.1)])
def test_an_invalid_region_raises_an_error(bad: tuple[str, float]) -> None:
    with pytest.raises(ValueError, match="region must be"):
        Geometry(64, region=bad)


def test_the_cache_stores_images_without_detected_lungs(tmp_path: Path) -> None:
    flat = np.full((80, 100), 100, np.uint8)
    flat[40, 50] = 101  # an image of a single gray value would be unreadable
    images = {"a.png": chest(), "b.png": flat, "c.png": chest(), "d.png": chest(400, 320)}
    for name, image in images.items():
        save(tmp_path / name, image)
    (tmp_path / "c.png").write_bytes(b"")
    table = pd.DataFrame({"image_id": list(images), "path": list(images)})
    geometry = Geometry(32, region=("adaptive_roi", 0.1))
    cache = open_cache("toy", tmp_path, table, geometry, tmp_path / "cache")
    assert cache.fallback_rate == pytest.approx(1 / 3)  # of three readable images
    assert cache.index["fell_back"].tolist() == [False, True, False, False]
    grown = open_cache("toy", tmp_path, table.iloc[::-1], geometry, tmp_path / "cache")  # copied rows keep the value
    assert grown.index["fell_back"].tolist() == [False, False, True, False]
    plain = open_cache("toy", tmp_path, table, Geometry(32), tmp_path / "cache")
    assert plain.fallback_rate is None
    assert "fell_back" not in plain.index


def test_decode_at_is_twice_the_size_with_a_region() -> None:
    assert Geometry(64).decode_at == 64
    assert Geometry(64, region=("roi", 0.9)).decode_at == 128


@pytest.mark.slow
def test_the_lungs_of_most_phantoms_are_detected(tmp_path: Path) -> None:
    images = {"chexpert": 24, **dict.fromkeys(("mimic", "nih", "padchest", "vindr", "brax"), 2)}
    write_cohorts(tmp_path, PhantomSettings(images=images, size=128))
    paths = sorted((tmp_path / "chexpert").rglob("*.jpg"))
    detected = [adaptive(read_gray(path)) is not None for path in paths]
    assert np.mean(detected) > 0.5
