"""Find copies of the internal cohort's images in external cohorts: equal images, and images that were encoded again.

The images come from caches. Near copies are found in three steps: similar hashes of 64 bits, then correlation at 16 x
16 pixels, then correlation at up to 64 x 64 pixels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cache.cache import ImageCache
from harmonize.cache.fill import Progress
from harmonize.cache.image_hashes import image_hashes
from harmonize.checks.duplicates import CAP, MAX_DISTANCE, MIN_CORRELATION, are_correlated, correlations
from harmonize.images.perceptual_hash import HASH_VERSION, near_pairs

_SIDE = 64  # px; near copies are compared at this side, or at the side of the cached images if that is smaller
# Minimum correlation of two near copies at 64 x 64 pixels; at 16 x 16 pixels, the minimum is MIN_CORRELATION.
# Measured correlations in caches of 64 and 224 pixels, at 16 x 16 and at 64 x 64:
#   3,960 copies, encoded again as JPEG of quality 30 to 95 at 0.5 to 2 times the size (phantoms of six hospitals, 20 images
#   of NIH, 20 of the COVID-19 Image Data Collection): at least 0.993 at 16 x 16 and 0.968 at 64 x 64 (99 % of the copies of
#   each hospital: 0.977). Of each hospital, 96 to 100 % are within MAX_DISTANCE.
#   5.1 million pairs of different phantoms of two hospitals: at most 0.983 and 0.970.
#   107,000 pairs of NIH and the COVID-19 collection: at most 0.938 and 0.908; none is within MAX_DISTANCE.
MIN_DETAIL = 0.97
_BLOCK = 1 << 12  # number of pairs whose pixels are compared at once; more pairs need more memory


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies of internal images in other cohorts.

    tables   cohort -> image_id, internal_image_id, kind (exact or near); one row for each image that is a copy
    crowded  number of images in groups of similar images that are too large to compare all pairs
    """

    tables: Mapping[str, pd.DataFrame]
    crowded: int


def find_copies(internal: ImageCache, external: Mapping[str, ImageCache], progress: Progress | None = None) -> Copies:
    """Find the images of the external caches that are copies of internal images. All caches have the same geometry.

    Exact copies have the same file size and the same pixels. Near copies have similar hashes, similar thumbnails and
    similar pixels. Blank images are not compared.
    """
    names = {"internal images": internal, **external}
    records = [image_hashes(cache, f"compare {name}", progress) for name, cache in names.items()]
    near, crowded = _near_copies(internal, external, records)
    tables, originals = {}, prints(internal)
    for (name, cache), record in zip(external.items(), records[1:], strict=True):
        comparable = cache.index["image_id"][record["hash"] != 0]
        images = prints(cache)
        exact = _exact_copies(originals, images[images["image_id"].isin(comparable)])
        pairs = pd.concat([exact, near[name]], ignore_index=True)
        tables[name] = pairs.drop_duplicates("image_id", ignore_index=True)
    return Copies(tables, crowded)


def comparison_key(internal: ImageCache, external: Mapping[str, ImageCache]) -> str:
    """Return 16 hex digits that change when the images or the rules of `find_copies` change."""
    rules = (HASH_VERSION, MAX_DISTANCE, CAP, MIN_CORRELATION, MIN_DETAIL)
    images = (internal.fingerprint, *(cache.fingerprint for cache in external.values()))
    return hashlib.sha256(repr((rules, images)).encode()).hexdigest()[:16]


def prints(cache: ImageCache) -> pd.DataFrame:
    """Return image_id and print (text of file size and checksum of pixels) of readable images that are not uniform."""
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


def _exact_copies(internal: pd.DataFrame, external: pd.DataFrame) -> pd.DataFrame:
    """Return image_id, internal_image_id and kind of the external images with the print of an internal image."""
    originals = internal.drop_duplicates("print").rename(columns={"image_id": "internal_image_id"})
    same = external.merge(originals, on="print")
    return same[["image_id", "internal_image_id"]].assign(kind="exact")


def _near_copies(
    internal: ImageCache, external: Mapping[str, ImageCache], records: Sequence[NDArray[Any]]
) -> tuple[dict[str, pd.DataFrame], int]:
    """Return cohort -> (image_id, internal_image_id, kind) of the near copies, and `Copies.crowded`.

    `records`: the result of `image_hashes` for the internal cache, then for each external cache.
    """
    row = np.concatenate([np.flatnonzero(part["hash"]) for part in records])
    cohort = np.repeat(np.arange(len(records)), [np.count_nonzero(part["hash"]) for part in records])
    hashes, thumbnails = (
        np.concatenate([part[field][part["hash"] != 0] for part in records]) for field in ("hash", "small")
    )
    # rows of the internal cohort come first, so `first` of a pair is internal
    pairs = near_pairs(hashes, MAX_DISTANCE, CAP, side=cohort == 0)
    similar = are_correlated(pairs.first, pairs.second, thumbnails)
    first, second = pairs.first[similar], pairs.second[similar]
    tables = {}
    for number, name in enumerate(external, start=1):
        of_cohort = cohort[second] == number
        own, other = row[first[of_cohort]], row[second[of_cohort]]
        same = _have_equal_details(internal, own, external[name], other)
        ids = {
            "image_id": external[name].index["image_id"].to_numpy(object)[other[same]],
            "internal_image_id": internal.index["image_id"].to_numpy(object)[own[same]],
        }
        tables[name] = pd.DataFrame(ids, dtype=object).assign(kind="near")
    return tables, pairs.crowded


def _have_equal_details(
    internal: ImageCache, own: NDArray[np.int64], external: ImageCache, other: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return the mask of pairs of images with a correlation of at least MIN_DETAIL between their cached pixels.

    `own` and `other` are the rows of the pairs in the internal and in the external cache.
    """
    is_equal = np.zeros(len(own), bool)
    for start in range(0, len(own), _BLOCK):
        block = slice(start, start + _BLOCK)
        left, right = _details(internal.images, own[block]), _details(external.images, other[block])
        is_equal[block] = correlations(left, right) >= MIN_DETAIL
    return is_equal


def _details(images: Any, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return rows of a cache at no more than 64 x 64 pixels, as uint8 [n images, P pixels]."""
    side = min(_SIDE, images.shape[1])
    return np.stack(
        [cv2.resize(images[row], (side, side), interpolation=cv2.INTER_AREA).ravel() for row in rows.tolist()]
    )
