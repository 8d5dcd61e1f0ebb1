"""Compiled kernels on uint8 images: histogram, lookup table and resampling. The results are the same bits on every machine.

N images, P pixels, V = 256 gray values, C channels, H and W pixels. Importing this module takes half a second, so it is imported
when the first image needs it.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Row = tuple[Floats, Floats, Floats, NDArray[np.uint32], NDArray[np.uint32], Floats]  # buffers, see `resample`
STRIDE = 64  # maximum number of loop iterations that the compiler vectorizes together


@compiled
def count(image_NP: Bytes, count_NV: NDArray[np.int64]) -> None:
    """Compute the gray-value histogram of each image into `count_NV`."""
    low_byte, one = np.uint64(255), np.uint32(1)
    for n in range(image_NP.shape[0]):
        image = image_NP[n]
        counts = np.zeros((4, 256), np.uint32)  # four histograms, because consecutive increments of one entry are slow
        words = image[: image.shape[0] // 8 * 8].view(np.uint64)
        for i in range(words.shape[0]):
            word = words[i]
            counts[0, word & low_byte] += one
            counts[1, (word >> np.uint64(8)) & low_byte] += one
            counts[2, (word >> np.uint64(16)) & low_byte] += one
            counts[3, (word >> np.uint64(24)) & low_byte] += one
            counts[0, (word >> np.uint64(32)) & low_byte] += one
            counts[1, (word >> np.uint64(40)) & low_byte] += one
            counts[2, (word >> np.uint64(48)) & low_byte] += one
            counts[3, word >> np.uint64(56)] += one
        for i in range(words.shape[0] * 8, image.shape[0]):
            counts[0, image[i]] += one
        for v in range(256):
            count_NV[n, v] = np.int64(counts[0, v]) + counts[1, v] + counts[2, v] + counts[3, v]


@compiled
def look_up(image_NP: Bytes, table_NCV: Floats, out_NCP: Floats) -> None:
    """Map each image through the tables of its channels into `out_NCP`."""
    for n in range(image_NP.shape[0]):
        image = image_NP[n]
        for c in range(table_NCV.shape[1]):
            table, out = table_NCV[n, c], out_NCP[n, c]
            for i in range(image.shape[0]):
                out[i] = table[image[i]]


@compiled
def _gain_and_offset(image_HW: Bytes, contrast: np.float32, brightness: np.float32) -> tuple[np.float32, np.float32]:
    """Return the gain and the offset that map a byte to its gray value in [0, 1] after contrast and brightness."""
    height, width = image_HW.shape
    total = np.uint64(0)
    for y in range(height):
        for x in range(width):
            total += image_HW[y, x]
    gain = contrast * brightness
    return gain / np.float32(255), (brightness - gain) * np.float32(total / (255.0 * height * width))


@compiled
def _pack_neighbors(image_HW: Bytes, framed: Bytes, packed_neighbors: NDArray[np.uint32]) -> None:
    """Pack each pixel and its right, lower and lower right neighbors into one number. A frame of black pixels surrounds the image.

    framed  buffer [H + 2, W + 2] with a frame of zeros; packed_neighbors  output [H + 1, W + 1]
    """
    height, width = image_HW.shape
    for y in range(height):
        for x in range(width):
            framed[y + 1, x + 1] = image_HW[y, x]
    for y in range(height + 1):
        for x in range(width + 1):
            left = np.uint32(framed[y, x]) | (np.uint32(framed[y + 1, x]) << np.uint32(16))
            right = np.uint32(framed[y, x + 1]) | (np.uint32(framed[y + 1, x + 1]) << np.uint32(16))
            packed_neighbors[y, x] = left | (right << np.uint32(8))


@compiled
def _source_coordinates(
    start: tuple[np.float32, np.float32], step: tuple[np.float32, np.float32], sides: tuple[int, int], row: Row
) -> None:
    """Compute for each pixel of a row: the index of its upper left source pixel, the distances from it, and the share inside the image."""
    across, down, inside, index, _, _ = row
    (x0, y0), (dx, dy) = start, step
    height, width = np.float32(sides[0]), np.float32(sides[1])
    zero, one = np.float32(0), np.float32(1)
    last_y, last_x, stride = np.int32(sides[0]), np.int32(sides[1]), np.int32(sides[1] + 1)
    for i in range(index.shape[0]):
        column = np.float32(np.int32(i))
        x, y = x0 + dx * column + one, y0 + dy * column + one  # in coordinates of the framed image
        x, y = max(zero, x), max(zero, y)
        right, lower = max(zero, width + one - x), max(zero, height + one - y)
        inside[i] = min(one, right, x) * min(one, lower, y)
        x, y = min(width + one, x), min(height + one, y)
        left, top = np.int32(x), np.int32(y)
        left, top = min(last_x, left), min(last_y, top)  # pixels with a right and a lower neighbor
        across[i], down[i] = x - np.float32(left), y - np.float32(top)
        index[i] = top * stride + left


@compiled
def _gather_neighbors(packed_neighbors: NDArray[np.uint32], row: Row) -> None:
    """Copy the four packed neighbors of each pixel of a row."""
    _, _, _, index, packed, _ = row
    for i in range(index.shape[0]):
        packed[i] = packed_neighbors[index[i]]


@compiled
def _blend(row: Row, gain: np.float32, base: np.float32) -> None:
    """Interpolate bilinearly between the four neighbors of each pixel of a row."""
    across, down, inside, _, packed, value = row
    zero, one = np.float32(0), np.float32(1)
    for i in range(packed.shape[0]):
        neighbors = packed[i]
        upper_left, upper_right = np.float32(np.int32(neighbors & 255)), np.float32(np.int32((neighbors >> 8) & 255))
        lower_left, lower_right = (
            np.float32(np.int32((neighbors >> 16) & 255)),
            np.float32(np.int32((neighbors >> 24) & 255)),
        )
        upper = upper_left + across[i] * (upper_right - upper_left)
        lower = lower_left + across[i] * (lower_right - lower_left)
        adjusted = (upper + down[i] * (lower - upper)) * gain + base * inside[i]
        value[i] = min(one, max(zero, adjusted))


@compiled
def resample(image_NHW: Bytes, from_N23: NDArray[np.float64], factor_N2: Floats, out_NHW: Floats) -> None:
    """Resample uint8 images bilinearly into float32 images in [0, 1]. Pixels outside the image are black.

    from_N23   affine map to source coordinates: (x, y) = from @ (x, y, 1), in pixels, integers at pixel centers
    factor_N2  factors of contrast (about the image's mean) and of brightness, applied in this order
    Contrast and brightness are applied before the interpolation, clipping to [0, 1] after it.
    """
    height, width = image_NHW.shape[1], image_NHW.shape[2]
    framed, packed_neighbors = np.zeros((height + 2, width + 2), np.uint8), np.empty((height + 1, width + 1), np.uint32)
    flat = packed_neighbors.reshape(-1)
    padded_width = (width + STRIDE - 1) // STRIDE * STRIDE
    across, down, inside = (
        np.empty(padded_width, np.float32),
        np.empty(padded_width, np.float32),
        np.empty(padded_width, np.float32),
    )
    index, packed, value = (
        np.empty(padded_width, np.uint32),
        np.empty(padded_width, np.uint32),
        np.empty(padded_width, np.float32),
    )
    row = (across, down, inside, index, packed, value)
    for n in range(image_NHW.shape[0]):
        image_HW = image_NHW[n]
        gain, base = _gain_and_offset(image_HW, factor_N2[n, 0], factor_N2[n, 1])
        _pack_neighbors(image_HW, framed, packed_neighbors)
        step = np.float32(from_N23[n, 0, 0]), np.float32(from_N23[n, 1, 0])
        for y in range(height):
            x0 = np.float32(from_N23[n, 0, 1] * y + from_N23[n, 0, 2])
            y0 = np.float32(from_N23[n, 1, 1] * y + from_N23[n, 1, 2])
            _source_coordinates((x0, y0), step, (height, width), row)
            _gather_neighbors(flat, row)
            _blend(row, gain, base)
            for x in range(width):
                out_NHW[n, y, x] = value[x]
