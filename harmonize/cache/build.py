"""Decode chunks of images in one or more processes; read and write the journal of a cache.

The journal is a file that lists the finished rows of an unfinished cache. An image is packed if the cache stores it as
a compressed block of bytes.
"""

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.cache.packed import PACKED_FROM, pack
from harmonize.child_processes import ProcessPool
from harmonize.errors import SetupError
from harmonize.images.image_header import UnreadableImage
from harmonize.images.pixels import Geometry, fit_to_square, read_radiograph, region

# maximum bytes of pixels in a chunk; one process decodes a chunk, and the journal has one line per chunk
CHUNK_BYTES = 4 * 2**20
# if the remaining work takes fewer seconds than this, no further process starts, because a start takes seconds
POOL_WORTH_S = 10.0
_AHEAD = 3  # maximum number of unfinished chunks per process; more would need more memory


class CachedRow(NamedTuple):
    """The journal entry of one image."""

    crc: int  # checksum of the pixels; 0 for an unreadable image
    reason: str  # why the image is unreadable, or ""
    # whether a fixed region was cropped, because the geometry crops to the lungs and no lungs were detected
    fell_back: bool
    at: int = 0  # only for a packed image: first byte of its block in the file
    length: int = 0  # only for a packed image: number of bytes of its block


Pixels = NDArray[np.uint8] | list[bytes]  # array [n images, S, S pixels], or one block per packed image
Decoded = tuple[Pixels, list[CachedRow]]


def packs(geometry: Geometry) -> bool:
    """Return whether the cache stores images of this geometry in packed form."""
    return geometry.size >= PACKED_FROM


def decode_rows(
    chunks: Sequence[list[int]], paths: Sequence[str], geometry: Geometry, workers: int
) -> Iterator[tuple[list[int], Pixels, list[CachedRow]]]:
    """Yield (rows, pixels, journal entries) of each chunk, in the order in which chunks finish.

    A chunk is a list of row numbers, and `paths` has the file of each row. The pixels do not depend on the number of
    processes. The first chunk is decoded in this process. More processes start only if the remaining chunks would take
    `POOL_WORTH_S` seconds or longer.
    """
    started = time.monotonic()
    for number, rows in enumerate(chunks):
        remaining_s = (time.monotonic() - started) / max(number, 1) * (len(chunks) - number)
        if workers > 1 and number > 0 and remaining_s >= POOL_WORTH_S:
            yield from _decode_in_pool(chunks[number:], paths, geometry, workers)
            return
        yield rows, *decode([paths[row] for row in rows], geometry)


def _decode_in_pool(
    chunks: Sequence[list[int]], paths: Sequence[str], geometry: Geometry, workers: int
) -> Iterator[tuple[list[int], Pixels, list[CachedRow]]]:
    """Yield the same tuples as `decode_rows`, decoded in several processes."""
    pending: dict[Future[Decoded], list[int]] = {}
    queue = iter(chunks)
    try:
        with ProcessPool(min(workers, len(chunks)), cv2.setNumThreads, 1) as pool:
            while True:
                for rows in queue:
                    pending[pool.submit(decode, [paths[row] for row in rows], geometry)] = rows
                    if len(pending) >= _AHEAD * workers:
                        break
                if not pending:
                    break
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield pending.pop(future), *future.result()
    except BrokenProcessPool as error:
        fix = "run again with --workers 1: it continues where it stopped and names the image"
        raise SetupError("a decoding process died (out of memory?)", "image cache", fix) from error


def decode(paths: Sequence[str], geometry: Geometry) -> Decoded:
    """Decode files; return their pixels and journal entries. An unreadable file gives black pixels or an empty block."""
    pixels = np.zeros((len(paths), geometry.size, geometry.size), np.uint8)
    entries: list[CachedRow] = []
    for image, path in zip(pixels, paths, strict=True):
        try:
            image[:], fell_back = _decode_one(path, geometry)
            entries.append(CachedRow(zlib.crc32(image.tobytes()), "", fell_back))
        except UnreadableImage as error:
            entries.append(CachedRow(0, str(error), fell_back=False))
    return stored(pixels, entries, geometry), entries


def stored(images: NDArray[np.uint8], entries: Sequence[CachedRow], geometry: Geometry) -> Pixels:
    """Return decoded images in the form that the cache stores.

    The form is the array itself or, if the cache packs images of this geometry, one block per image. The block of an
    unreadable image is empty.
    """
    if not packs(geometry):
        return images
    return [b"" if entry.reason else pack(image) for image, entry in zip(images, entries, strict=True)]


def _decode_one(path: str, geometry: Geometry) -> tuple[NDArray[np.uint8], bool]:
    """Decode one file; return its pixels and whether lung detection failed. The path "" means a missing file."""
    if not path:
        raise UnreadableImage("listed but absent")
    crop, fell_back = region(read_radiograph(Path(path), geometry.decode_at), geometry)
    return fit_to_square(crop, geometry), fell_back


def journal_line(rows: list[int], entries: list[CachedRow]) -> str:
    """Return the line of the journal that states that the pixels of these rows are written."""
    return json.dumps([[row, *entry] for row, entry in zip(rows, entries, strict=True)]) + "\n"


def read_journal(path: Path, total: int) -> dict[int, CachedRow]:
    """Return the entries of rows that an interrupted build finished; truncated or invalid lines are skipped."""
    rows: dict[int, CachedRow] = {}
    if not path.exists():
        return rows
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries = json.loads(line)
            parsed = {row: CachedRow(*entry) for row, *entry in entries if row < total}
        except (ValueError, TypeError):
            continue
        rows |= parsed
    return rows
