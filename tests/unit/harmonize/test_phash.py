"""Tests of perceptual hashes and of the search for near pairs, against a slow search and with changed copies."""

import cv2
import numpy as np
import pytest
from scipy.fft import dctn
from scipy.stats import rankdata, spearmanr

from harmonize.checks.duplicates import MIN_CORRELATION, correlations
from harmonize.images.perceptual_hash import (
    count_bits,
    is_flat,
    near_pairs,
    perceptual_hash,
    ranks,
    smaller,
    thumbnail,
)


def random_image(seed: int, height: int = 300, width: int = 260) -> np.ndarray:
    """Return a smooth random image."""
    noise = np.random.default_rng(seed).normal(size=(12, 10)).astype(np.float32)
    large = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(large, None, 5, 250, cv2.NORM_MINMAX).astype(np.uint8)


def hashes_of(*images: np.ndarray) -> np.ndarray:
    return perceptual_hash(np.stack([thumbnail(image) for image in images]))


def all_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int, int]]:
    apart = count_bits(hashes[:, None] ^ hashes[None])
    first, second = np.nonzero(np.triu(apart <= distance, 1))
    return {(int(i), int(j), int(apart[i, j])) for i, j in zip(first, second, strict=True)}


def found_pairs(hashes: np.ndarray, distance: int) -> set[tuple[int, int, int]]:
    pairs = near_pairs(hashes, distance)
    return set(zip(pairs.first.tolist(), pairs.second.tolist(), pairs.distance.tolist(), strict=True))


def test_count_bits_agrees_with_python() -> None:
    words = np.random.default_rng(0).integers(0, 2**64, 500, dtype=np.uint64)
    assert count_bits(words).tolist() == [int(word).bit_count() for word in words]


@pytest.mark.parametrize("distance", [0, 1, 4, 7])
def test_near_pairs_agrees_with_the_comparison_of_all_pairs(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 1500, dtype=np.uint64)
    for copy in range(500):  # near copies, and copies of copies
        value = int(hashes[rng.integers(0, 700)])
        for bit in rng.choice(64, rng.integers(0, 9), replace=False):
            value ^= 1 << int(bit)
        hashes[700 + copy] = value
    assert found_pairs(hashes, distance) == all_pairs(hashes, distance)


@pytest.mark.slow
def test_near_pairs_finds_all_pairs_among_crowded_hashes() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**9, 800, dtype=np.uint64)
    assert found_pairs(hashes, 4) == all_pairs(hashes, 4)


def test_a_large_group_of_equal_hashes_is_limited_and_counted() -> None:
    pairs = near_pairs(np.full(5000, 7, np.uint64), cap=50)
    assert (len(pairs.first), pairs.crowded) == (50 * 49 // 2, 5000)


def test_zero_or_one_image_gives_no_pair() -> None:
    for number in (0, 1):
        assert len(near_pairs(np.zeros(number, np.uint64)).first) == 0


def test_the_hash_is_the_sign_of_the_low_frequencies_of_the_ranks() -> None:
    small = thumbnail(random_image(3))
    low = dctn(rankdata(small).reshape(small.shape), norm="ortho")[:8, :8].ravel()
    bits = "".join(str(int(value > np.median(low[1:]))) for value in low)
    assert perceptual_hash(small[None])[0] == int(bits, 2)


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_near_and_other_images_are_far(seed: int) -> None:
    image = random_image(seed)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_GRAYSCALE)
    smaller = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    darker = (image * 0.8).astype(np.uint8)
    hashes = hashes_of(image, jpeg, smaller, darker, random_image(seed + 100))
    *copies, other = count_bits(hashes[0] ^ hashes[1:])
    assert max(copies) <= 4
    assert other > 10


CURVES = {
    "gamma 0.5": lambda image: 255 * (image / 255) ** 0.5,
    "gamma 1.5": lambda image: 255 * (image / 255) ** 1.5,
    "gamma 2": lambda image: 255 * (image / 255) ** 2,
    "sigmoid": lambda image: 255 / (1 + np.exp((128.0 - image) / 32)),
    "equalized": cv2.equalizeHist,
    "wider window": lambda image: 40 + image * 0.6,
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("seed", range(3))
def test_a_copy_with_another_gray_curve_is_near(seed: int, curve: str) -> None:
    image = random_image(seed)
    changed = np.asarray(CURVES[curve](image)).round().astype(np.uint8)
    distance = count_bits(np.bitwise_xor(*hashes_of(image, changed)))
    assert distance <= 4
    pair = [smaller(thumbnail(picture)[None]) for picture in (image, changed)]
    assert correlations(*pair)[0] >= MIN_CORRELATION


def test_ranks_and_their_correlation_are_those_of_scipy() -> None:
    left, right = np.random.default_rng(0).integers(0, 40, (2, 5, 300)).astype(np.uint8)
    right = np.maximum(left, right)
    np.testing.assert_array_equal(ranks(left), [rankdata(row) - 1 for row in left])
    expected = [spearmanr(one, other).statistic for one, other in zip(left, right, strict=True)]
    np.testing.assert_allclose(correlations(left, right), expected, atol=1e-6)


def test_an_image_of_one_gray_value_is_flat() -> None:
    assert is_flat(np.stack([np.full((32, 32), 90, np.uint8), thumbnail(random_image(1))])).tolist() == [True, False]


@pytest.mark.parametrize("num_cohorts", [2, 4])
@pytest.mark.parametrize("distance", [0, 2, 4])
def test_near_pairs_of_cohorts_are_those_of_all_pairs_that_cross(distance: int, num_cohorts: int) -> None:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**64, 40, dtype=np.uint64)
    hashes = base[rng.integers(0, 40, 300)] ^ (np.uint64(1) << rng.integers(0, 64, 300).astype(np.uint64))
    cohort = rng.integers(0, num_cohorts, 300)
    every, crossing = near_pairs(hashes, distance), near_pairs(hashes, distance, cohort=cohort)
    wanted = {(i, j) for i, j in zip(every.first, every.second, strict=True) if cohort[i] != cohort[j]}
    assert wanted
    assert set(zip(crossing.first, crossing.second, strict=True)) == wanted
    assert len(crossing.first) == len(wanted)
