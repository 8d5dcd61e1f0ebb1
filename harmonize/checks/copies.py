"""Find copies of one cohort's images in another cohort: exact copies, and near copies (images that were encoded again).

The pixels come from image caches. A pair of images is a near copy if it passes three tests: similar hashes of 64 bits,
high rank correlation at 16 x 16 pixels, and at 64 x 64 pixels (or at the size in the cache, if smaller).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cache.cache import ImageCache
from harmonize.cache.image_hashes import image_hashes
from harmonize.checks.duplicates import CAP, MAX_DISTANCE, MIN_CORRELATION, are_correlated, correlations
from harmonize.images.perceptual_hash import HASH_VERSION, near_pairs
from harmonize.progress import Progress

_SIDE = 64  # px; near copies are compared at this side, or at the side of the cached images if their side is smaller
# Minimum rank correlation of two near copies at 64 x 64 pixels; at 16 x 16 pixels, the minimum is MIN_CORRELATION. All
# copies of `benchmarks/changed_copies.py` that pass the tests of hash and thumbnail pass this test, too: it excludes
# different images that are alike at a low resolution.
MIN_DETAIL = 0.97
_BLOCK = 1 << 10  # number of pairs whose pixels are compared at once; more pairs need more memory


@dataclass(frozen=True, eq=False)
class Copies:
    """Images that occur in two cohorts, for every pair of cohorts.

    tables   (one cohort, other cohort) -> table with one row for each image of the other cohort that is a copy.
             Columns: image_id (in the other cohort), copy_of (image id in the one cohort), kind (exact or near).
             Every pair of cohorts has two tables, one in each direction
    crowded  number of images in groups of similar images that are too large to compare all pairs
    """

    tables: Mapping[tuple[str, str], pd.DataFrame]
    crowded: int


def find_copies(caches: Mapping[str, ImageCache], progress: Progress | None = None) -> Copies:
    """Find the images that occur in two cohorts, for every pair of cohorts.

    `caches`: cohort name -> image cache; all caches must have the same geometry. Exact copies have the same file size
    and the same checksum of pixels. Near copies have similar hashes, thumbnails and pixels. Blank images are not
    compared.
    """
    records = {name: image_hashes(cache, f"compare {name}", progress) for name, cache in caches.items()}
    near, crowded = _near_copies(caches, records)
    images = {}
    for name, cache in caches.items():
        of_cache, not_blank = prints(cache), cache.index["image_id"][records[name]["hash"] != 0]
        images[name] = of_cache[of_cache["image_id"].isin(not_blank)]
    tables = {}
    for one, other in permutations(caches, 2):
        pairs = pd.concat([_exact_copies(images[one], images[other]), near[one, other]], ignore_index=True)
        tables[one, other] = pairs.drop_duplicates("image_id", ignore_index=True)
    return Copies(tables, crowded)


def comparison_key(caches: Mapping[str, ImageCache]) -> str:
    """Return 16 hex digits that change when the images or the rules of `find_copies` change."""
    rules = (HASH_VERSION, MAX_DISTANCE, CAP, MIN_CORRELATION, MIN_DETAIL)
    images = tuple(cache.fingerprint for cache in caches.values())
    return hashlib.sha256(repr((rules, images)).encode()).hexdigest()[:16]


def prints(cache: ImageCache) -> pd.DataFrame:
    """Return a table of the readable images: image_id and print, a text with file size and checksum of the pixels.

    Images of only one gray value are left out if another image has the same print.
    """
    index = cache.index[cache.index["reason"] == ""]
    prints = index["size"].astype(str) + "/" + index["crc32"].astype(str)
    shared = prints.duplicated(keep=False)
    flat = {
        p
        for p, row in zip(prints[shared], index.index[shared], strict=True)
        if cache.images[row].min() == cache.images[row].max()
    }
    table = pd.DataFrame({"image_id": index["image_id"], "print": prints})
    return table[~table["print"].isin(flat)]


def _exact_copies(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the images of `other` that have the same print as an image of `one`.

    Columns: image_id, copy_of (image id in the one cohort), and kind ("exact").
    """
    originals = one.drop_duplicates("print").rename(columns={"image_id": "copy_of"})
    same = other.merge(originals, on="print")
    return same[["image_id", "copy_of"]].assign(kind="exact")


def _near_copies(
    caches: Mapping[str, ImageCache], records: Mapping[str, NDArray[Any]]
) -> tuple[dict[tuple[str, str], pd.DataFrame], int]:
    """Return the tables of near copies, by (one cohort, other cohort), and the number `Copies.crowded` of images in too large groups.

    `records`: cohort name -> result of `image_hashes`.
    """
    # the hash of a blank image is 0
    is_comparable = [record["hash"] != 0 for record in records.values()]
    row = np.concatenate([np.flatnonzero(mask) for mask in is_comparable])
    cohort = np.repeat(np.arange(len(records)), [np.count_nonzero(mask) for mask in is_comparable])
    hashes, thumbnails = (
        np.concatenate([record[field][mask] for record, mask in zip(records.values(), is_comparable, strict=True)])
        for field in ("hash", "small")
    )
    # `cohort` is sorted, so the first image of each pair belongs to the earlier cohort
    pairs = near_pairs(hashes, MAX_DISTANCE, CAP, cohort=cohort)
    similar = are_correlated(pairs.first, pairs.second, thumbnails)
    first, second = pairs.first[similar], pairs.second[similar]
    tables = {}
    for (i, one), (j, other) in combinations(enumerate(caches), 2):
        of_cohorts = (cohort[first] == i) & (cohort[second] == j)
        left, right = row[first[of_cohorts]], row[second[of_cohorts]]
        same = _have_equal_details(caches[one], left, caches[other], right)
        ids = {
            "image_id": caches[other].index["image_id"].to_numpy(object)[right[same]],
            "copy_of": caches[one].index["image_id"].to_numpy(object)[left[same]],
        }
        tables[one, other] = pd.DataFrame(ids, dtype=object).assign(kind="near")
        swapped = {"image_id": "copy_of", "copy_of": "image_id"}
        tables[other, one] = tables[one, other].rename(columns=swapped)
    return tables, pairs.crowded


def _have_equal_details(
    one: ImageCache, first: NDArray[np.int64], other: ImageCache, second: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the mask of pairs of images with a correlation of at least MIN_DETAIL between their cached pixels.

    The pair k has the image in row `first[k]` of the cache `one`, and the image in row `second[k]` of the cache
    `other`.
    """
    is_equal = np.zeros(len(first), bool)
    for start in range(0, len(first), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = _details(one.images, first[block]), _details(other.images, second[block])
        is_equal[block] = correlations(left, right) >= MIN_DETAIL
    return is_equal


def _details(images: Any, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the images in some rows of a cache, reduced to at most 64 x 64 pixels, as uint8 [n images, P pixels]."""
    side = min(_SIDE, images.shape[1])
    return np.stack(
        [cv2.resize(images[row], (side, side), interpolation=cv2.INTER_AREA).ravel() for row in rows.tolist()]
    )
