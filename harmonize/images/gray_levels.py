"""Scale pixel values of any bit depth to 0 to 255."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
_CHUNK = 2**22  # pixels; numpy needs eight bytes for each pixel that it counts or looks up


def percentiles_to_uint8(image: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Scale an image linearly: the 0.5th percentile of its non-zero pixels becomes 0, the 99.5th becomes 255; clip.

    A division by 257 (65535 / 255) would make a 12-bit image almost black. An image of zeros stays black. Of two gray levels, the
    higher becomes 255.

    >>> percentiles_to_uint8(np.array([[0, 100, 300, 500]], np.uint16)).tolist()
    [[0, 0, 128, 255]]
    """
    chunks = np.array_split(image, -(-image.size // _CHUNK))
    counts = np.sum([np.bincount(chunk.ravel(), minlength=65536) for chunk in chunks], axis=0)
    below = np.cumsum(counts[1:])
    total = int(below[-1])
    if total == 0:
        return np.zeros(image.shape, np.uint8)
    low = 1 + int(np.searchsorted(below, total * LOW_PERCENT / 100, side="right"))
    high = 1 + int(np.searchsorted(below, total * HIGH_PERCENT / 100, side="left"))
    low = min(low, int(counts.nonzero()[0][-1]) - 1)
    ramp = (np.arange(65536) - low) / max(high - low, 1e-9)
    table = np.floor(np.clip(ramp, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.concatenate([table[chunk] for chunk in chunks])


def window_to_uint8(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Scale values linearly so that `low` becomes 0 and `high` becomes 255; clip."""
    ramp = (values.astype(np.float32) - np.float32(low)) / np.float32(max(high - low, 1e-9))
    return np.asarray(np.floor(np.clip(ramp, 0, 1) * 255 + 0.5), np.uint8)
