"""Detect markers on a radiograph (side letters, words, tags): small marks with sharp edges near the border."""

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 320  # px, the long side of the picture in which they are looked for; smaller pictures stay as they are
STEP = 0.30  # of white, within 3 x 3 px: ink has such edges, anatomy is blurred by scatter
BRIGHT = 0.60  # of white: a mark has ink or paper of this brightness
ZONE = 0.27  # of each side: marks lie in this rim, but not in its lower middle, where metal and gas are
GAP = 0.012  # of the long side: letters nearer than this are one word
SMALLEST, LARGEST = 2e-4, 0.03  # of the picture: specks, and what is no mark
LINE = 0.18  # share of the long side; longer straight edges belong to the collimator
LONGEST = 0.3  # likewise: a longer mark is none
DENSE = 0.3  # of its box: writing is edge nearly everywhere, an outline is not


def markers(image: Gray) -> Mask:
    """Return the mask [H, W] of what looks written: boxes around bright marks with sharp edges in the rim of the picture.

    A detector without learning: it takes cable ends and clips for marks, and misses faint letters.
    `benchmarks/lungs.py` states how many tags of phantoms it finds, and what it marks beside them.
    """
    height, width = image.shape
    shrink = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    picture = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    step = np.asarray(cv2.morphologyEx(picture, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    edge = ((step >= STEP * 255) & _rim(picture.shape)).astype(np.uint8)
    line = max(3, round(LINE * max(size)))
    for shape in ((1, line), (line, 1)):  # the edges of a collimator, which may touch a mark
        straight = cv2.morphologyEx(edge, cv2.MORPH_OPEN, np.ones(shape, np.uint8))
        edge = np.where(cv2.dilate(straight, np.ones((3, 3), np.uint8)) > 0, 0, edge).astype(np.uint8)
    reach = max(3, round(GAP * max(size)) | 1)
    words = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(words, connectivity=8)
    drawn = np.zeros(picture.shape, bool)
    for label in range(1, count):
        left, top, wide, tall = (int(v) for v in stats[label, :4])
        box = slice(top, top + tall), slice(left, left + wide)
        small = SMALLEST <= wide * tall / picture.size <= LARGEST and min(wide, tall) >= 3
        if not small or max(wide, tall) > LONGEST * max(size):
            continue
        ink = (edge[box] > 0) & (labels[box] == label)
        if ink.mean() >= DENSE and picture[box][labels[box] == label].max() >= BRIGHT * 255:
            drawn[box] = True
    if shrink == 1.0:
        return drawn
    return np.asarray(cv2.resize(drawn.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)) > 0


def _rim(shape: tuple[int, ...]) -> Mask:
    """Return the outer part of a picture in which marks lie."""
    height, width = shape
    tall, wide = max(1, round(ZONE * height)), max(1, round(ZONE * width))
    rim = np.ones((height, width), bool)
    rim[tall:, wide : width - wide] = False
    return rim
