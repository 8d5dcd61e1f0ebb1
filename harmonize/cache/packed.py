"""Compress large decoded images without loss; each image becomes one block of bytes.

Each gray value is replaced by its difference from the gray value in the row above, modulo 256. zstd (through pyarrow)
compresses the differences. Every 64th row is stored unchanged, so that unpacking can add many rows in one numpy call.
A cache has N images of S x S pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from harmonize.errors import SetupError

PACKED_FROM = 1024  # px; smaller images are stored unpacked, because reading them is then twenty times as fast
_LEVEL = 1  # level of zstd; levels 2 and 3 are slower and save only one percent
_ROWS = 64  # distance between rows that are stored unchanged

Gray = NDArray[np.uint8]


def pack(image: Gray) -> bytes:
    """Return the compressed block of an image [H, W]. The block does not contain H and W."""
    steps = image.copy()
    for row in range(1, min(_ROWS, len(image))):
        below = image[row::_ROWS]
        np.subtract(below, image[row - 1 :: _ROWS][: len(below)], out=steps[row::_ROWS])
    return bytes(_codec().compress(np.ascontiguousarray(steps).data, asbytes=True))


def unpack(block: Any, into: Gray) -> None:
    """Decompress a block (bytes or a uint8 array) into an array [H, W]. Raises OSError for a damaged block."""
    raw = _codec().decompress(pa.py_buffer(block), into.size)
    into[:] = np.frombuffer(raw, np.uint8).reshape(into.shape)
    for row in range(1, min(_ROWS, len(into))):
        below = into[row::_ROWS]
        np.add(below, into[row - 1 :: _ROWS][: len(below)], out=below)


def _codec() -> pa.Codec:
    return pa.Codec("zstd", compression_level=_LEVEL)


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Packed images that can be indexed like an array uint8 [N, S, S].

    An index is the number of an image, an array of such numbers, or a slice. Each access unpacks the images again.
    """

    blocks: Gray  # the blocks of all images, memory-mapped
    at: NDArray[np.int64]  # [N] position in bytes at which each image's block starts
    length: NDArray[np.int64]  # [N] bytes of each image's block; 0 means an unreadable image, which becomes black
    size: int  # S, the side of an image in pixels
    where: str  # the name of the file, for error messages

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
        """Return the number of bytes of all images when unpacked."""
        return len(self.at) * self.size**2

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: Any) -> Gray:
        """Return one image [S, S] or several [n, S, S]. Raises SetupError for a damaged block."""
        selected = np.arange(len(self.at))[rows]
        images = np.empty((selected.size, self.size, self.size), np.uint8)
        for image, row in zip(images, np.atleast_1d(selected).tolist(), strict=True):
            self._unpack(row, image)
        return images[0] if np.ndim(selected) == 0 else images

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all images unpacked."""
        if copy is False:
            raise ValueError("packed images cannot be read without a copy: use copy=None or copy=True")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def _unpack(self, row: int, into: Gray) -> None:
        start, length = int(self.at[row]), int(self.length[row])
        if not length:
            into[:] = 0
            return
        try:
            unpack(self.blocks[start : start + length], into)
        except (OSError, ValueError) as error:
            fix = "check the disk, then delete this file; the next run makes it again"
            raise SetupError(f"the image cache is damaged at image {row} ({error})", self.where, fix) from error


Images = NDArray[np.uint8] | PackedImages
