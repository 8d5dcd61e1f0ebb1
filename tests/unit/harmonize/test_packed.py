"""Tests of packed images: lossless, indexed like an array, and an error for a damaged block."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harmonize.cache.packed import PackedImages, pack, unpack
from harmonize.errors import SetupError

SIZE = 130  # more than two groups of 64 rows, and not a multiple of 64


def pack_images(images: list[np.ndarray], where: str = "images.zst") -> PackedImages:
    blocks = [b"" if image is None else pack(image) for image in images]
    length = np.array([len(block) for block in blocks])
    content = np.frombuffer(b"".join(blocks), np.uint8)
    return PackedImages(content, np.cumsum(length) - length, length, SIZE, where)


@given(arrays(np.uint8, st.tuples(st.integers(1, 150), st.integers(1, 40))))
def test_packing_is_lossless(image: np.ndarray) -> None:
    unpacked = np.empty_like(image)
    unpack(pack(image), unpacked)
    np.testing.assert_array_equal(unpacked, image)


def test_a_smooth_image_becomes_smaller_and_noise_hardly_larger() -> None:
    smooth = np.add.outer(np.arange(SIZE), np.arange(SIZE)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE), np.uint8)
    assert len(pack(smooth)) < smooth.size / 10
    assert len(pack(noise)) < noise.size * 1.01 + 64


def test_packed_images_are_indexed_like_an_array() -> None:
    plain = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE), np.uint8)
    plain[4] = 0
    packed = pack_images([None if k == 4 else image for k, image in enumerate(plain)])
    assert (packed.shape, packed.dtype, packed.nbytes, len(packed)) == (plain.shape, plain.dtype, plain.nbytes, 6)
    mask = np.array([True, False] * 3)
    for rows in (0, 4, -1, np.int64(2), slice(1, 4), slice(None), [3, 3, 0], np.array([5, 0]), np.array([], int), mask):
        np.testing.assert_array_equal(packed[rows], plain[rows])
    np.testing.assert_array_equal(np.asarray(packed), plain)
    np.testing.assert_array_equal(np.ascontiguousarray(packed), plain)
    np.testing.assert_array_equal(np.stack(list(packed)), plain)
    assert np.asarray(packed, np.float32).dtype == np.float32
    for wrong in (6, -7, np.array([0, 9])):
        with pytest.raises(IndexError):
            packed[wrong]
    with pytest.raises(ValueError, match="without a copy"):
        np.array(packed, copy=False)


def test_changes_to_a_returned_image_do_not_change_the_cache(tmp_path: Path) -> None:
    plain = np.full((2, SIZE, SIZE), 7, np.uint8)
    packed = pack_images(list(plain))
    packed[0][:] = 0
    np.testing.assert_array_equal(packed[0], plain[0])


@pytest.mark.parametrize("damage", ["zeros", "cut", "another size"])
def test_a_damaged_block_raises_an_error_with_its_file(damage: str) -> None:
    image = np.random.default_rng(0).integers(0, 9, (SIZE, SIZE), np.uint8)
    block = pack(image if damage != "another size" else image[:60, :60].copy())
    content = bytes(len(block)) if damage == "zeros" else block[:-20] if damage == "cut" else block
    images = PackedImages(
        np.frombuffer(content, np.uint8), np.array([0]), np.array([len(content)]), SIZE, "here/images.zst"
    )
    with pytest.raises(SetupError, match="damaged at image 0") as raised:
        images[0]
    assert raised.value.where == "here/images.zst"
