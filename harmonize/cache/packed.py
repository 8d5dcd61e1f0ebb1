"""Lossless compression of large decoded images: one block per image, located by a table.

A gray value is replaced by its difference from the one above it, modulo 256, and the differences are compressed by zstd
(through pyarrow). Every 64th row is stored as it is, so that rows are added up 16 at a time and not one after another.
Legend: N images of S x S pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harmonize.errors import SetupError

PACKED_FROM = 1024  # px: smaller images are mapped as they are, which reads twenty times as fast
_LEVEL = 1  # of zstd; 2 and 3 take longer both ways and gain a percent
_ROWS = 64  # between two rows that are stored as they are

Gray = NDArray[np.uint8]


def pack(image: Gray) -> bytes:
    """Return the compressed block of an image [H, W]; the reader must know H and W, which the block does not store."""
    steps = image.copy()
    for row in range(1, min(_ROWS, len(image))):
        below = image[row::_ROWS]
        np.subtract(below, image[row - 1 :: _ROWS][: len(below)], out=steps[row::_ROWS])
    return bytes(_codec().compress(np.ascontiguousarray(steps).data, asbytes=True))


def unpack(block: Any, into: Gray) -> None:
    """Write the image of a block (bytes or an array of them) into an array [H, W]. Raises OSError for a damaged one."""
    raw = _codec().decompress(pa.py_buffer(block), into.size)
    into[:] = np.frombuffer(raw, np.uint8).reshape(into.shape)
    for row in range(1, min(_ROWS, len(into))):
        below = into[row::_ROWS]
        np.add(below, into[row - 1 :: _ROWS][: len(below)], out=below)


def _codec() -> pa.Codec:
    return pa.Codec("zstd", compression_level=_LEVEL)


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Packed images that are read as an array uint8 [N, S, S] is: by a row, rows or a slice; each reading unpacks anew."""

    blocks: Gray  # of all images, memory-mapped
    at: NDArray[np.int64]  # [N] where the block of an image begins
    length: NDArray[np.int64]  # [N] length of the block; 0 means no image: black pixels
    size: int  # S, the side of an image in pixels
    where: str  # for messages

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (N, S, S)."""
        return len(self.at), self.size, self.size

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Return uint8."""
        return np.dtype(np.uint8)

    @property
    def nbytes(self) -> int:
        """Return the bytes of all images unpacked."""
        return len(self.at) * self.size**2

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> Gray:
        """Return the image of a row [S, S], or of many [n, S, S]. Raises SetupError for a block that is damaged."""
        chosen = np.arange(len(self.at))[rows]
        images = np.empty((chosen.size, self.size, self.size), np.uint8)
        for image, row in zip(images, np.atleast_1d(chosen).tolist(), strict=True):
            self._unpack(row, image)
        return images[0] if np.ndim(chosen) == 0 else images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all images unpacked."""
        if copy is False:
            raise ValueError("packed images cannot be had without unpacking them")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def _unpack(self, row: int, into: Gray) -> None:
        start, length = int(self.at[row]), int(self.length[row])
        if not length:
            into[:] = 0
            return
        try:
            unpack(self.blocks[start : start + length], into)
        except (OSError, ValueError) as error:
            fix = "check the disk, then delete this file: it is made again"
            raise SetupError(f"the image cache is damaged at image {row} ({error})", self.where, fix) from error


Images = NDArray[np.uint8] | PackedImages
