"""Perceptual hashes: 64 bits per image that change little when the image does, and all pairs that are close.

The hash is the usual one (DCT of the 32 x 32 image, the sign of its 64 lowest frequencies about their median):
C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010. It sees through resizing,
recompression and a change of contrast; it does not see what is finer than an eighth of the image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_VERSION = 1  # raise it when the same image may give another hash
_SIDE, _KEPT = 32, 8
_AGREEING = 3  # bands in which rows must agree to be compared: with two, radiographs crowd into few groups
_FLAT = 4.0  # gray values between the darkest and the brightest of 32 x 32: less is no picture

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows, first < second, with their distance in bits; `crowded`: rows in groups too large to pair in full."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    distance: NDArray[np.int64]
    crowded: int = 0


def thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image as uint8 [32, 32], whatever its shape."""
    return np.asarray(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def is_flat(thumbnails_NHW: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which images show nothing: their hash would be that of the noise."""
    flat = thumbnails_NHW.reshape(len(thumbnails_NHW), -1)
    return np.asarray(flat.max(axis=1).astype(int) - flat.min(axis=1) < _FLAT)


def perceptual_hash(thumbnails_NHW: NDArray[np.uint8]) -> Hashes:
    """Return one 64-bit hash per image of uint8 [N, 32, 32].

    >>> perceptual_hash(np.zeros((2, 32, 32), np.uint8)).shape
    (2,)
    """
    basis = _dct()[:_KEPT]
    low = (basis @ thumbnails_NHW.astype(np.float32) @ basis.T).reshape(len(thumbnails_NHW), -1)
    median = np.median(low[:, 1:], axis=1, keepdims=True)  # without the mean brightness, which dwarfs the rest
    return np.packbits(low > median, axis=1).view(">u8").astype(np.uint64)[:, 0]


def _dct() -> NDArray[np.float32]:
    """Return the orthonormal DCT-II matrix [32, 32]."""
    k, n = np.mgrid[:_SIDE, :_SIDE]
    matrix = np.cos(np.pi * k * (2 * n + 1) / (2 * _SIDE)) * np.sqrt(2 / _SIDE)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix, np.float32)


def count_bits(words: Hashes) -> NDArray[np.int64]:
    """Return how many bits of each word are set (numpy before 2.0 has no bitwise_count).

    >>> count_bits(np.array([0, 7, 2**64 - 1], np.uint64)).tolist()
    [0, 3, 64]
    """
    odd, pairs, fours, ones = (np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01"))
    words = words - ((words >> np.uint64(1)) & odd)
    words = (words & pairs) + ((words >> np.uint64(2)) & pairs)
    words = (words + (words >> np.uint64(4))) & fours
    return np.asarray((words * ones) >> np.uint64(56), np.int64)


def near_pairs(hashes: Hashes, max_distance: int = 4, cap: int = 200) -> Pairs:
    """Return every pair at most `max_distance` bits apart, without comparing all with all.

    Exact by pigeonhole: the bits are cut into max_distance + 3 bands, so a near pair agrees in at least three of them;
    only rows that agree in three bands are compared. Of more than `cap` rows with one hash, only `cap` are paired; of
    more than 10 * `cap` different hashes that agree in three bands, each is compared with the next 10 * `cap`. The
    rows in such groups are counted as crowded.
    """
    if len(hashes) == 0:
        none = np.zeros(0, np.int64)
        return Pairs(none, none, none)
    distinct, group = np.unique(hashes, return_inverse=True)
    members = np.argsort(group, kind="stable")
    start = np.searchsorted(group[members], np.arange(len(distinct) + 1))
    sizes = np.diff(start)
    crowded = int(sizes[sizes > cap].sum())
    kept = np.minimum(sizes, cap)
    left, right, distance, full = _distinct_pairs(distinct, max_distance, 10 * cap)
    found = [_within(members, start[:-1], kept), *_between(members, start[:-1], kept, left, right, distance)]
    first, second, bits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], bits[order], crowded + int(sizes[full].sum()))


def _distinct_pairs(
    hashes: Hashes, max_distance: int, cap: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the near pairs of different hashes once each, their distances, and which hashes sit in crowded buckets."""
    edges = np.linspace(0, 64, max_distance + _AGREEING + 1).astype(int)
    bands = [(1 << int(high)) - (1 << int(low)) for low, high in pairwise(edges)]
    crowded = np.zeros(len(hashes), bool)
    found: list[NDArray[np.int64]] = []
    for chosen in combinations(bands, _AGREEING):
        key = hashes & np.uint64(sum(chosen))
        order = np.argsort(key, kind="stable")
        for left, right in _neighbours(key[order], cap, crowded, order):
            near = count_bits(hashes[left] ^ hashes[right]) <= max_distance
            if near.any():
                pair = np.stack([left[near], right[near]])
                found.append(np.sort(pair, axis=0))
    pairs = np.unique(np.concatenate(found, axis=1), axis=1) if found else np.zeros((2, 0), np.int64)
    distance = count_bits(hashes[pairs[0]] ^ hashes[pairs[1]])
    return pairs[0], pairs[1], distance, crowded


def _neighbours(
    key: Hashes, cap: int, crowded: NDArray[np.bool_], order: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of rows with equal keys, one step along the sorted keys at a time; note what is cut at `cap`."""
    at = np.arange(len(key) - 1)
    for step in range(1, len(key)):
        at = at[at < len(key) - step]
        at = at[key[at] == key[at + step]]
        if not len(at):
            return
        if step > cap:
            crowded[order[at]] = True
            return
        yield order[at], order[at + step]


def _within(
    members: NDArray[np.int64], start: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of rows that share a hash."""
    first, second = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for size in np.unique(sizes[sizes > 1]):
        one, other = np.triu_indices(size, 1)
        base = start[sizes == size][:, None]
        first.append(members[(base + one).ravel()])
        second.append(members[(base + other).ravel()])
    left, right = np.concatenate(first), np.concatenate(second)
    return left, right, np.zeros(len(left), np.int64)


def _between(
    members: NDArray[np.int64],
    start: NDArray[np.int64],
    sizes: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    distance: NDArray[np.int64],
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the pairs of rows whose different hashes are near."""
    shapes = np.stack([sizes[left], sizes[right]], axis=1)
    for high, wide in np.unique(shapes, axis=0):
        those = (shapes[:, 0] == high) & (shapes[:, 1] == wide)
        one, other = (index.ravel() for index in np.indices((high, wide)))
        a = members[(start[left[those]][:, None] + one).ravel()]
        b = members[(start[right[those]][:, None] + other).ravel()]
        yield np.minimum(a, b), np.maximum(a, b), np.repeat(distance[those], high * wide)
