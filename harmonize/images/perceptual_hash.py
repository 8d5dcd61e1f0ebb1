"""Compute perceptual hashes (64 bits, similar for similar images), and find all pairs of similar hashes.

The image is reduced to 32 x 32 pixels, each pixel is replaced by its rank, and the discrete cosine transform (DCT) of
the ranks is computed. A gray curve that keeps the order of gray levels (gamma, window, equalization) hardly changes
ranks. Each bit of the hash belongs to one of the 8 x 8 lowest frequencies. The bit is 1 if the coefficient of this frequency is above the
median of the coefficients of all these frequencies (except the first, the mean brightness). Source: C. Zauner,
"Implementation and benchmarking of perceptual image hash functions", 2010 (without ranks). Resizing and recompression
hardly change the hash, either. Details smaller than an eighth of the image do not affect the hash.

A row is the position of an image's hash in an array of hashes. A band is a group of neighboring bits of a hash.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_VERSION = 1  # increase this number after a change that may give the same image a different hash
SMALL_SIDE = 16  # px; side of the thumbnail that `smaller` returns
_SIDE, _FREQUENCIES = 32, 8  # px, side of the image that is hashed; number of frequencies per side in the hash
# two hashes are compared if at least this number of bands are equal; with 2 bands, most pairs of radiographs would have
# to be compared
_AGREEING_BANDS = 3
_MIN_CONTRAST = 4.0  # gray levels; an image is blank if the brightest minus the darkest of its 32 x 32 pixels is less

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows (first < second) with their distance in bits.

    `crowded` is the number of rows in groups that are too large to compare all pairs.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]
    crowded: int = 0


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image of any shape, resized to uint8 [32, 32]."""
    return np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def smaller(thumbnails_NHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return uint8 [N, 256], each thumbnail [32, 32] reduced to 16 x 16 pixels.

    >>> smaller(np.full((2, 32, 32), 7, np.uint8)).shape
    (2, 256)
    """
    blocks = thumbnails_NHW.reshape(len(thumbnails_NHW), SMALL_SIDE, 2, SMALL_SIDE, 2).mean(axis=(2, 4))
    return np.asarray(blocks.round().astype(np.uint8).reshape(len(thumbnails_NHW), -1))


def is_flat(thumbnails_NHW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return the mask of blank images; the hash of a blank image would depend on noise only."""
    flat = thumbnails_NHW.reshape(len(thumbnails_NHW), -1)
    return np.asarray(flat.max(axis=1).astype(int) - flat.min(axis=1) < _MIN_CONTRAST)


def perceptual_hash(thumbnails_NHW: NDArray[np.uint8]) -> Hashes:
    """Return one 64-bit hash for each image; `thumbnails_NHW` is uint8 [N, 32, 32], before ranks are taken.

    >>> perceptual_hash(np.zeros((2, 32, 32), np.uint8)).shape
    (2,)
    """
    basis = _dct()[:_FREQUENCIES]
    rank_NHW = ranks(thumbnails_NHW.reshape(len(thumbnails_NHW), -1)).reshape(thumbnails_NHW.shape)
    low = (basis @ rank_NHW @ basis.T).reshape(len(thumbnails_NHW), -1)
    # the median leaves out the first coefficient: the mean brightness, which is much larger than the other coefficients
    median = np.median(low[:, 1:], axis=1, keepdims=True)
    return np.packbits(low > median, axis=1).view(">u8").astype(np.uint64)[:, 0]


def ranks(image_NP: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the rank of each pixel among the P pixels of its image, float32 [N, P]; equal pixels have their mean rank.

    >>> ranks(np.array([[7, 90, 7, 255]], np.uint8)).tolist()
    [[0.5, 2.0, 0.5, 3.0]]
    """
    values = image_NP.astype(np.int64) + 256 * np.arange(len(image_NP))[:, None]
    counts = np.bincount(values.ravel(), minlength=256 * len(image_NP)).reshape(-1, 256)
    middle = np.cumsum(counts, axis=1) - (counts + 1) / 2
    return np.asarray(middle.ravel()[values], np.float32)


def _dct() -> NDArray[np.float32]:
    """Return the orthonormal DCT-II matrix [32, 32]."""
    k, n = np.mgrid[:_SIDE, :_SIDE]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


def count_bits(words: Hashes) -> NDArray[np.int64]:
    """Return the number of set bits of each hash (numpy before 2.0 has no bitwise_count).

    >>> count_bits(np.array([0, 7, 2**64 - 1], np.uint64)).tolist()
    [0, 3, 64]
    """
    ones_mask, pairs_mask, fours_mask, byte_ones = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01"))
    words = words - ((words >> np.uint64(1)) & ones_mask)
    words = (words & pairs_mask) + ((words >> np.uint64(2)) & pairs_mask)
    words = (words + (words >> np.uint64(4))) & fours_mask
    return np.asarray((words * byte_ones) >> np.uint64(56), np.int64)


def near_pairs(hashes: Hashes, max_distance: int = 4, cap: int = 200, cohort: NDArray[np.int64] | None = None) -> Pairs:
    """Return the pairs of rows whose hashes differ in at most `max_distance` bits, without comparing all rows.

    The bits are divided into max_distance + 3 bands. At most `max_distance` bands can contain a different bit, so two
    near hashes agree in at least three bands. Only rows that agree in three bands are compared.

    Two limits apply to large groups, so some of their pairs are missing in the result. If more than `cap` rows have the
    same hash, only `cap` of them are paired. If more than 10 * `cap` different hashes agree in three bands, each hash
    is compared with only the next 10 * `cap` hashes of the group. `crowded` is the number of rows in such large groups.

    cohort  cohort number of each row. If given, only pairs of rows of two different cohorts are returned
    """
    if len(hashes) == 0:
        empty = np.zeros(0, np.int64)
        return Pairs(empty, empty, empty)
    distinct, group = np.unique(hashes, return_inverse=True)
    members = np.argsort(group, kind="stable")
    start = np.searchsorted(group[members], np.arange(len(distinct) + 1))
    sizes = np.diff(start)
    crowded = int(sizes[sizes > cap].sum())
    paired = np.minimum(sizes, cap)
    if cohort is None:
        cohort = np.arange(len(hashes))
    lowest, highest = (find.reduceat(cohort[members], start[:-1]) for find in (np.minimum, np.maximum))
    left, right, distance, crowded_hashes = _distinct_pairs(distinct, max_distance, 10 * cap, lowest, highest)
    groups = [
        _pairs_of_equal_hashes(members, start[:-1], paired),
        *_pairs_of_near_hashes(members, start[:-1], paired, left, right, distance),
    ]
    first, second, bits = (np.concatenate(arrays) for arrays in zip(*groups, strict=True))
    crosses = cohort[first] != cohort[second]
    first, second, bits = first[crosses], second[crosses], bits[crosses]
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], bits[order], crowded + int(sizes[crowded_hashes].sum()))


def _distinct_pairs(
    hashes: Hashes, max_distance: int, cap: int, lowest: NDArray[np.int64], highest: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the pairs of near but different hashes as four arrays.

    The first two arrays have the positions of the hashes of each pair, the third their distance in bits. The fourth is
    the mask of hashes in groups of more than `cap` hashes. `lowest` and `highest` have, for each hash, the lowest and
    the highest cohort number of its rows. A pair is left out if all rows with its two hashes belong to one cohort.
    """
    edges = np.linspace(0, 64, max_distance + _AGREEING_BANDS + 1).astype(int)
    bands = [(1 << int(high)) - (1 << int(low)) for low, high in pairwise(edges)]
    crowded = np.zeros(len(hashes), bool)
    pair_arrays: list[NDArray[np.int64]] = []
    for selected_bands in combinations(bands, _AGREEING_BANDS):
        keys = hashes & np.uint64(sum(selected_bands))
        order = np.argsort(keys, kind="stable")
        for left, right in _pairs_with_equal_key(keys[order], cap, crowded, order):
            is_near = count_bits(hashes[left] ^ hashes[right]) <= max_distance
            is_near &= np.minimum(lowest[left], lowest[right]) < np.maximum(highest[left], highest[right])
            if is_near.any():
                pair = np.stack([left[is_near], right[is_near]])
                pair_arrays.append(np.sort(pair, axis=0))
    pairs = np.unique(np.concatenate(pair_arrays, axis=1), axis=1) if pair_arrays else np.zeros((2, 0), np.int64)
    distance = count_bits(hashes[pairs[0]] ^ hashes[pairs[1]])
    return pairs[0], pairs[1], distance, crowded


def _pairs_with_equal_key(
    keys: Hashes, cap: int, crowded: NDArray[np.bool_], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield pairs of rows with equal keys: first neighbors in the sorted keys, then keys 2 positions apart, up to `cap`.

    A key is the bits of a hash in the compared bands. `keys` is sorted, and `order` has the row of each key. If more
    than `cap` + 1 keys are equal, not all of their pairs are yielded, and some of their rows are marked in `crowded`.
    """
    start = np.arange(len(keys) - 1)
    for step in range(1, len(keys)):
        start = start[start < len(keys) - step]
        start = start[keys[start] == keys[start + step]]
        if not len(start):
            return
        if step > cap:
            crowded[order[start]] = True
            return
        yield order[start], order[start + step]


def _pairs_of_equal_hashes(
    members: NDArray[np.int64], start: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of rows with equal hashes, and their distances, which are 0.

    Group i of rows with equal hashes is `members[start[i] : start[i] + sizes[i]]`.
    """
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes > 1]):
        row, column = np.triu_indices(size, 1)
        base = start[sizes == size][:, None]
        first.append(members[(base + row).ravel()])
        second.append(members[(base + column).ravel()])
    left, right = np.concatenate(first), np.concatenate(second)
    return left, right, np.zeros(len(left), np.int64)


def _pairs_of_near_hashes(
    members: NDArray[np.int64],
    start: NDArray[np.int64],
    sizes: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    distance: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of rows with different but near hashes, and their distances.

    Group i of rows with equal hashes is `members[start[i] : start[i] + sizes[i]]`. The hashes of the groups `left` and
    `right` are near, and `distance` is their number of different bits.
    """
    shapes = np.stack([sizes[left], sizes[right]], axis=1)
    for num_left, num_right in np.unique(shapes, axis=0):
        has_shape = (shapes[:, 0] == num_left) & (shapes[:, 1] == num_right)
        row, column = (index.ravel() for index in np.indices((num_left, num_right)))
        left_rows = members[(start[left[has_shape]][:, None] + row).ravel()]
        right_rows = members[(start[right[has_shape]][:, None] + column).ravel()]
        yield (
            np.minimum(left_rows, right_rows),
            np.maximum(left_rows, right_rows),
            np.repeat(distance[has_shape], num_left * num_right),
        )
