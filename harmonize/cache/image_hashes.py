"""Compute hashes and thumbnails of the images in a cache once, and store them beside the pixels.

    <cache folder>/hashes-<plan>-v<HASH_VERSION>.npy    one record for each image, in the order of the index

<plan> is the same as in the name of the pixel file. A new build of the cache removes the file of hashes, because the
new build may have other images.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmonize.cache.cache import ImageCache
from harmonize.disk_space import DiskFullError
from harmonize.errors import SetupError
from harmonize.file_lock import file_lock
from harmonize.images.perceptual_hash import HASH_VERSION, SMALL_SIDE, is_flat, perceptual_hash, smaller, thumbnail
from harmonize.progress import Progress

# 264 bytes for each image: the hash, and the image at 16 x 16 pixels. If two hashes are similar, the images at 16 x 16
# are compared first. So the cached pixels are read only for few pairs.
_RECORD = np.dtype([("hash", "<u8"), ("small", "u1", SMALL_SIDE**2)])
_CHUNK = 256  # number of images that are hashed at once


def image_hashes(cache: ImageCache, name: str = "", progress: Progress | None = None) -> NDArray[Any]:
    """Return the records of all images, with the fields `hash` (uint64) and `small` (uint8 [256]).

    The hash is 0 for a blank or unreadable image, which cannot be compared. No other image has the hash 0, because
    about half of the bits of a hash are ones. `progress` is called with (name, images done, total images).

    Raises SetupError if the hashes cannot be stored.
    """
    path = cache.path.with_name(f"hashes-{cache.path.stem.removeprefix('images-')}-v{HASH_VERSION}.npy")
    # a second process waits, then reads the file that the first process has written
    with file_lock(path.with_name("lock")):
        try:
            stored = np.load(path, mmap_mode="r")
            if stored.dtype == _RECORD and len(stored) == len(cache.index):
                return np.asarray(stored)
        except (OSError, ValueError, EOFError):  # the file is missing or damaged
            pass
        records = _computed(cache, name, progress)
        # np.save to memory, then a write: np.save to a full disk would raise an error without `errno`
        content = io.BytesIO()
        np.save(content, records)
        try:
            partial_file = path.with_suffix(".part")
            partial_file.write_bytes(content.getbuffer())
            partial_file.replace(path)
        except OSError as error:
            full = DiskFullError.of(error, path, content.getbuffer().nbytes)
            problem, fix = (full.strerror, full.fix) if full else (error, "choose a folder in which you may write")
            raise SetupError(f"cannot store the hashes of the images: {problem}", str(path), fix) from error
    return records


def _computed(cache: ImageCache, name: str, progress: Progress | None) -> NDArray[Any]:
    """Compute the records from the cached pixels."""
    records = np.zeros(len(cache.index), _RECORD)
    rows = np.flatnonzero(cache.index["reason"] == "")
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        thumbnails = np.stack([thumbnail(cache.images[row]) for row in chunk])
        records["hash"][chunk] = np.where(is_flat(thumbnails), 0, perceptual_hash(thumbnails))
        records["small"][chunk] = smaller(thumbnails)
        if progress is not None:
            progress(name, start + len(chunk), len(rows))
    return records
