"""Region of interest of a radiograph: a box without black borders, or a box around the lungs.

A box is (rows, columns) as slices into the image it was found in. Every function is a pure function of the pixels.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Box = tuple[slice, slice]

CENTRE = 0.9  # side of the centre that the fixed region keeps
BLACK = 0.05  # of white: a row or column is border when 99 % of its pixels are darker
BODY = 0.15  # of white: brighter than air, after the low-pass
AREA = (0.25, 0.95)  # a lung box of another share of the image is a mistake
_SIDE = 128  # px, the long side of the picture in which lungs are looked for
_LOWPASS = 0.02  # sigma, as a share of that side
_LUNG = 0.03  # of the picture: a smaller dark component is no lung
_LEVELS = tuple(range(10, 70, 5))  # percentiles of the body: thresholds between dark and bright


def bounds(image: Gray) -> Box:
    """Return the box from the first to the last row and column that is not border; all of a black image."""
    bright = cv2.threshold(image, math.ceil(BLACK * 255) - 1, 1, cv2.THRESH_BINARY)[1]
    rows, columns = (
        np.flatnonzero(cv2.reduce(bright, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() / image.shape[axis] > 0.01)
        for axis in (1, 0)
    )
    if not len(rows) or not len(columns):
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def fixed(image: Gray, centre: float = CENTRE) -> Box:
    """Return the centre of what is not border: `centre` of its height and of its width."""
    rows, columns = bounds(image)
    return _middle(rows, centre), _middle(columns, centre)


def adaptive(image: Gray, margin: float = 0.1) -> Box | None:
    """Return the box around both lungs, wider by `margin` of its sides on each side; None when none is credible.

    The image loses its border and is low-passed; what is brighter than air is body, holes filled. At each of a dozen
    thresholds inside the body the dark components are found that are enclosed: not joined to the air, nor cut off by the
    picture but at its top. Two of them side by side are lungs; the threshold with the largest pair decides. (One threshold,
    Otsu's, joins lungs to the soft rim of the body in most images.) A box is not credible when there is no such pair, or
    when it takes less than a quarter or more than 95 % of the image without its border.
    """
    rows, columns = bounds(image)
    whole = image[rows, columns]
    shrink = min(1.0, _SIDE / max(whole.shape))
    size = tuple(max(1, round(side * shrink)) for side in whole.shape)
    picture = np.asarray(cv2.resize(whole, (size[1], size[0]), interpolation=cv2.INTER_AREA), np.uint8)
    found = two_lungs(picture)
    if found is None:
        return None
    spread = [np.flatnonzero((found[0] | found[1]).any(axis)) for axis in (1, 0)]
    box = tuple(
        _grown(slice(int(at[0]), int(at[-1]) + 1), side, margin, length / side)
        for at, side, length in zip(spread, size, whole.shape, strict=True)
    )
    share = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / whole.size
    if not AREA[0] <= share <= AREA[1]:
        return None
    return _moved(box[0], rows.start), _moved(box[1], columns.start)


def two_lungs(picture: Gray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return masks [H, W] of the two dark components inside the body that are largest, at the best of the thresholds.

    None where there is no such pair at any. The picture has no border, and is low-passed here.
    """
    smooth = np.asarray(cv2.GaussianBlur(picture, (0, 0), _LOWPASS * max(picture.shape)), np.uint8)
    body = _filled(smooth > BODY * 255)
    inside = smooth[body]
    best: tuple[int, NDArray[np.bool_], NDArray[np.bool_]] | None = None
    for level in np.unique(np.percentile(inside, _LEVELS).astype(int)) if len(inside) else ():
        pair = _pair(body & (smooth <= level), body)
        if pair is not None and (best is None or pair[0] > best[0]):
            best = pair
    return None if best is None else best[1:]


def _pair(dark: NDArray[np.bool_], body: NDArray[np.bool_]) -> tuple[int, NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return the area of the two largest dark components that are enclosed and lie side by side, and both of them."""
    count, labels, stats, centres = cv2.connectedComponentsWithStats(dark.astype(np.uint8), connectivity=4)
    air = cv2.dilate((~body).astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    for edge in (air[:, 0], air[:, -1], air[-1]):
        edge[:] = True
    open_ = np.zeros(count, bool)
    open_[np.unique(labels[air])] = True  # joined to the air beside the body, or cut off by the picture
    open_[0] = True  # what is not dark
    area = np.where(open_, 0, stats[:, cv2.CC_STAT_AREA])
    first, second = np.argsort(-area, kind="stable")[:2] if count > 2 else (0, 0)
    if area[second] < _LUNG * dark.size:
        return None
    beside = abs(centres[first, 0] - centres[second, 0]) > abs(centres[first, 1] - centres[second, 1])
    return (int(area[first] + area[second]), labels == first, labels == second) if beside else None


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask with its holes: all but the background that reaches the edge of the picture."""
    framed = np.pad(~mask, 1, constant_values=True).astype(np.uint8)
    _, labels = cv2.connectedComponents(framed, connectivity=4)
    return np.asarray(labels[1:-1, 1:-1] != labels[0, 0])


def _middle(part: slice, share: float) -> slice:
    length = part.stop - part.start
    kept = max(1, round(length * share))
    start = part.start + (length - kept) // 2
    return slice(start, start + kept)


def _grown(part: slice, side: int, margin: float, scale: float) -> slice:
    """Return a part of a side widened by a share of itself at both ends, in pixels that are `scale` times smaller."""
    extra = margin * (part.stop - part.start)
    low, high = max(0.0, part.start - extra), min(float(side), part.stop + extra)
    return slice(round(low * scale), max(round(low * scale) + 1, round(high * scale)))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
