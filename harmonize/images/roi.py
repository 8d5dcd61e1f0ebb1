"""Find the region of interest of a radiograph: a box without black borders, or a box around the lungs.

A box is (rows, columns) as slices of the image. The results depend on the pixels only.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Box = tuple[slice, slice]

CENTER = 0.9  # share of each side that the fixed region keeps
BLACK = 0.05  # share of white; a row or column belongs to the border if 99 % of its pixels are darker
BODY = 0.15  # share of white; brighter pixels of the low-passed image are body, darker ones are air
AREA = (0.25, 0.95)  # a box around the lungs is credible if it covers between these shares of the image
_SIDE = 128  # px, the long side of the reduced image in which lungs are detected
_LOWPASS = 0.02  # sigma of the low-pass filter, as a share of the long side
_LUNG = 0.03  # share of the image; minimum area of a dark component that can be a lung
_LEVELS = tuple(range(10, 70, 5))  # percentiles of the body's gray values, tried as thresholds between dark and bright


def bounds(image: Gray) -> Box:
    """Return the box of an image without its black border; the box is the entire image if all pixels are black."""
    bright = cv2.threshold(image, math.ceil(BLACK * 255) - 1, 1, cv2.THRESH_BINARY)[1]
    height, width = image.shape
    rows = np.flatnonzero(cv2.reduce(bright, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / width > 0.01)
    columns = np.flatnonzero(cv2.reduce(bright, 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / height > 0.01)
    if not len(rows) or not len(columns):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def fixed(image: Gray, center: float = CENTER) -> Box:
    """Return the box of the center of an image without its border; `center` is the share of height and width to keep."""
    rows, columns = bounds(image)
    return _middle(rows, center), _middle(columns, center)


def adaptive(image: Gray, margin: float = 0.1) -> Box | None:
    """Return the box around both lungs, or None if the result is not credible.

    `margin` widens the box on each side, as a share of its height and width. A box is credible if it covers
    25 % to 95 % of the image without its border. Steps:

    1. Remove the border; reduce and low-pass the image.
    2. The body is all pixels brighter than air, with holes filled.
    3. At each of twelve thresholds, find the dark components in the body. A component may touch neither the air nor the
       left, right or lower edge of the image.
    4. The two largest components are lungs if they lie side by side. Use the threshold with the largest pair. (With
       Otsu's single threshold, lungs merge with the soft rim of the body in most images.)
    """
    rows, columns = bounds(image)
    inside = image[rows, columns]
    shrink = min(1.0, _SIDE / max(inside.shape))
    size = tuple(max(1, round(side * shrink)) for side in inside.shape)
    reduced = np.asarray(cv2.resize(inside, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)
    lungs = two_lungs(reduced)
    if lungs is None:
        return None
    extents = [np.flatnonzero((lungs[0] | lungs[1]).any(axis)) for axis in (1, 0)]
    box = tuple(
        _widened(slice(int(pixels[0]), int(pixels[-1]) + 1), side, margin, length / side)
        for pixels, side, length in zip(extents, size, inside.shape, strict=True)
    )
    share = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / inside.size
    if not AREA[0] <= share <= AREA[1]:
        return None
    return _shifted(box[0], rows.start), _shifted(box[1], columns.start)


def two_lungs(image: Gray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return the masks [H, W] of both lungs: the two largest dark components in the body.

    Of several thresholds between dark and bright, the one with the largest pair is used. Return None if no threshold
    gives two components side by side. The black border of the image must have been removed before.
    """
    smoothed = np.asarray(cv2.GaussianBlur(image, (0, 0), _LOWPASS * max(image.shape)), np.uint8)
    body = _fill_holes(smoothed > BODY * 255)
    body_values = smoothed[body]
    best: tuple[int, NDArray[np.bool_], NDArray[np.bool_]] | None = None
    for level in np.unique(np.percentile(body_values, _LEVELS).astype(int)) if len(body_values) else ():
        pair = _pair(body & (smoothed <= level), body)
        if pair is not None and (best is None or pair[0] > best[0]):
            best = pair
    return None if best is None else best[1:]


def _pair(dark: NDArray[np.bool_], body: NDArray[np.bool_]) -> tuple[int, NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return the area and masks of the two largest enclosed dark components; None unless they lie side by side."""
    count, labels, stats, centers = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=4)
    air = cv2.dilate((~body).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    for edge in (air[:, 0], air[:, -1], air[-1]):
        edge[:] = True
    is_open = np.zeros(count, bool)
    # open components, which touch the air around the body or the edge of the image, cannot be lungs
    is_open[labels[air]] = True
    is_open[0] = True  # label 0 is the background: pixels that are not dark
    area = np.where(is_open, 0, stats[:, cv2.CC_STAT_AREA])
    first, second = np.argsort(-area, kind="stable")[:2] if count > 2 else (0, 0)
    if area[second] < _LUNG * dark.size:
        return None
    side_by_side = abs(centers[first, 0] - centers[second, 0]) > abs(centers[first, 1] - centers[second, 1])
    return (int(area[first] + area[second]), labels == first, labels == second) if side_by_side else None


def _fill_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill the holes of a mask; a hole is background that does not reach the edge of the image."""
    framed = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(framed, connectivity=4)
    return np.asarray(labels[1:-1, 1:-1] != labels[0, 0])


def _middle(extent: slice, share: float) -> slice:
    """Return the middle of a slice, `share` of its length."""
    length = extent.stop - extent.start
    length_kept = max(1, round(length * share))
    start = extent.start + (length - length_kept) // 2
    return slice(start, start + length_kept)


def _widened(extent: slice, side: int, margin: float, scale: float) -> slice:
    """Return a slice of the reduced image, widened at both ends, in pixels of the full image.

    At each end, the slice grows by the share `margin` of its length, but not beyond the `side` pixels of the reduced
    image. `scale` is the number of full pixels per reduced pixel.
    """
    extra = margin * (extent.stop - extent.start)
    low, high = max(0.0, extent.start - extra), min(float(side), extent.stop + extra)
    return slice(round(low * scale), max(round(low * scale) + 1, round(high * scale)))


def _shifted(extent: slice, by: int) -> slice:
    """Return a slice shifted by `by` pixels."""
    return slice(extent.start + by, extent.stop + by)
