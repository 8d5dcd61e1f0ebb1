"""Compiled kernels on uint8 images: histogram, lookup table and resampling, with the same bits on every machine.

The import of this module takes half a second, so other modules import it only when they process an image.
Legend: N images, P pixels per image, V = 256 gray values, C channels, H and W pixels.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
# Six arrays for one row of output pixels. Each output pixel lies between four pixels of the source image, its neighbors.
# The arrays are: 1. distance from the left neighbors, 2. distance from the upper neighbors, 3. share of the pixel inside
# the source image, 4. index of the neighbors in the array `packed`, 5. the four neighbors packed into one number, 6. gray
# value.
Row = tuple[Floats, Floats, Floats, NDArray[np.uint32], NDArray[np.uint32], Floats]
# lengths of rows are padded to a multiple of this number, because the compiler vectorizes up to 64 iterations
STRIDE = 64


@compiled
def count(image_NP: Bytes, count_NV: NDArray[np.int64]) -> None:
    """Compute the gray-value histogram of each image and write it into count_NV."""
    low, one = np.uint64(255), np.uint32(1)
    for n in range(image_NP.shape[0]):
        image = image_NP[n]
        counts = np.zeros((4, 256), np.uint32)  # four histograms, because consecutive increments of one entry are slow
        words = image[: image.shape[0] // 8 * 8].view(np.uint64)
        for i in range(words.shape[0]):
            word = words[i]
            counts[0, word & low] += one
            counts[1, (word >> np.uint64(8)) & low] += one
            counts[2, (word >> np.uint64(16)) & low] += one
            counts[3, (word >> np.uint64(24)) & low] += one
            counts[0, (word >> np.uint64(32)) & low] += one
            counts[1, (word >> np.uint64(40)) & low] += one
            counts[2, (word >> np.uint64(48)) & low] += one
            counts[3, word >> np.uint64(56)] += one
        for i in range(words.shape[0] * 8, image.shape[0]):
            counts[0, image[i]] += one
        for v in range(256):
            count_NV[n, v] = np.int64(counts[0, v]) + counts[1, v] + counts[2, v] + counts[3, v]


@compiled
def look_up(image_NP: Bytes, table_NCV: Floats, out_NCP: Floats) -> None:
    """Write into out_NCP the lookup-table entry of each pixel's gray value.

    table_NCV has one table for each image and channel.
    """
    for n in range(image_NP.shape[0]):
        image = image_NP[n]
        for c in range(table_NCV.shape[1]):
            table, out = table_NCV[n, c], out_NCP[n, c]
            for i in range(image.shape[0]):
                out[i] = table[image[i]]


@compiled
def _gain_and_offset(image_HW: Bytes, contrast: np.float32, brightness: np.float32) -> tuple[np.float32, np.float32]:
    """Return gain and offset: gain * value + offset is the gray value after the changes of contrast and brightness.

    `value` is a uint8 value of the image. The gray value is on the scale from 0 to 1 and is not clipped. The change of
    contrast is about the mean of the image.
    """
    height, width = image_HW.shape
    total = np.uint64(0)
    for y in range(height):
        for x in range(width):
            total += image_HW[y, x]
    gain = contrast * brightness
    return gain / np.float32(255), (brightness - gain) * np.float32(total / (255.0 * height * width))


@compiled
def _pack_neighbors(image_HW: Bytes, padded: Bytes, packed: NDArray[np.uint32]) -> None:
    """Pack each pixel and its right, lower and lower right neighbors into one number. Pixels outside the image are black.

    padded  array [H + 2, W + 2] of zeros; the image is written into its middle
    packed  output [H + 1, W + 1]: 8 bits each for the upper left pixel (lowest bits), upper right, lower left, lower right
    """
    height, width = image_HW.shape
    for y in range(height):
        for x in range(width):
            padded[y + 1, x + 1] = image_HW[y, x]
    for y in range(height + 1):
        for x in range(width + 1):
            left = np.uint32(padded[y, x]) | (np.uint32(padded[y + 1, x]) << np.uint32(16))
            right = np.uint32(padded[y, x + 1]) | (np.uint32(padded[y + 1, x + 1]) << np.uint32(16))
            packed[y, x] = left | (right << np.uint32(8))


@compiled
def _source_coordinates(
    start: tuple[np.float32, np.float32], step: tuple[np.float32, np.float32], size: tuple[int, int], row: Row
) -> None:
    """Fill the first four arrays of `row`: the position of each output pixel between the pixels of the source image.

    start: source coordinates (x, y) of the first pixel of the output row. step: change of x and of y from one output
    pixel to the next. size: height and width of the source image, without the border of one black pixel that
    `_pack_neighbors` adds.
    """
    across, down, inside, index, _, _ = row
    (x0, y0), (dx, dy) = start, step
    height, width = np.float32(size[0]), np.float32(size[1])
    zero, one = np.float32(0), np.float32(1)
    last_y, last_x, stride = np.int32(size[0]), np.int32(size[1]), np.int32(size[1] + 1)
    for i in range(index.shape[0]):
        column = np.float32(np.int32(i))
        x, y = x0 + dx * column + one, y0 + dy * column + one  # in the padded image
        x, y = max(zero, x), max(zero, y)
        right, lower = max(zero, width + one - x), max(zero, height + one - y)
        inside[i] = min(one, right, x) * min(one, lower, y)
        x, y = min(width + one, x), min(height + one, y)
        left, top = np.int32(x), np.int32(y)
        left, top = min(last_x, left), min(last_y, top)  # stay within the pixels that have neighbors
        across[i], down[i] = x - np.float32(left), y - np.float32(top)
        index[i] = top * stride + left


@compiled
def _gather_neighbors(packed: NDArray[np.uint32], row: Row) -> None:
    """Fill the fifth array of `row`: the four packed neighbors of each output pixel."""
    _, _, _, index, neighbors, _ = row
    for i in range(index.shape[0]):
        neighbors[i] = packed[index[i]]


@compiled
def _blend(row: Row, gain: np.float32, offset: np.float32) -> None:
    """Fill the last array of `row`: the gray value of each output pixel, clipped to [0, 1].

    The four neighbors are interpolated bilinearly; then gain and offset are applied. Where a pixel is partly outside
    the source image, only its share inside the image gets the offset.
    """
    across, down, inside, _, neighbors, value = row
    zero, one = np.float32(0), np.float32(1)
    for i in range(neighbors.shape[0]):
        pixels = neighbors[i]
        upper_left, upper_right = np.float32(np.int32(pixels & 255)), np.float32(np.int32((pixels >> 8) & 255))
        lower_left, lower_right = np.float32(np.int32((pixels >> 16) & 255)), np.float32(np.int32((pixels >> 24) & 255))
        upper = upper_left + across[i] * (upper_right - upper_left)
        lower = lower_left + across[i] * (lower_right - lower_left)
        gray = (upper + down[i] * (lower - upper)) * gain + offset * inside[i]
        value[i] = min(one, max(zero, gray))


@compiled
def resample(image_NHW: Bytes, from_N23: NDArray[np.float64], factor_N2: Floats, out_NHW: Floats) -> None:
    """Resample images bilinearly into out_NHW, in [0, 1]; pixels outside the source image are black.

    from_N23   matrices that map an output pixel to source coordinates: from @ (x, y, 1); pixel centers are integers
    factor_N2  factor of contrast (about the mean of the image), factor of brightness; a factor of 1 changes nothing
    The result is as if first contrast, then brightness, and then the position of the pixels were changed. Only the final
    values are clipped to [0, 1].
    """
    height, width = image_NHW.shape[1], image_NHW.shape[2]
    padded, packed = np.zeros((height + 2, width + 2), np.uint8), np.empty((height + 1, width + 1), np.uint32)
    flat = packed.reshape(-1)
    length = (width + STRIDE - 1) // STRIDE * STRIDE
    across, down, inside = np.empty(length, np.float32), np.empty(length, np.float32), np.empty(length, np.float32)
    index, neighbors, value = np.empty(length, np.uint32), np.empty(length, np.uint32), np.empty(length, np.float32)
    row = (across, down, inside, index, neighbors, value)
    for n in range(image_NHW.shape[0]):
        image_HW = image_NHW[n]
        gain, offset = _gain_and_offset(image_HW, factor_N2[n, 0], factor_N2[n, 1])
        _pack_neighbors(image_HW, padded, packed)
        step = np.float32(from_N23[n, 0, 0]), np.float32(from_N23[n, 1, 0])
        for y in range(height):
            x0 = np.float32(from_N23[n, 0, 1] * y + from_N23[n, 0, 2])
            y0 = np.float32(from_N23[n, 1, 1] * y + from_N23[n, 1, 2])
            _source_coordinates((x0, y0), step, (height, width), row)
            _gather_neighbors(flat, row)
            _blend(row, gain, offset)
            for x in range(width):
                out_NHW[n, y, x] = value[x]
