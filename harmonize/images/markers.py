"""Detect markers on a radiograph (side letters, words, tags): small signs with sharp edges near the border."""

import cv2
import numpy as np
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 320  # px, the long side of the reduced image in which markers are detected; smaller images keep their size
# share of white; minimum difference of gray values within 3 x 3 px at the edge of a marker (anatomy has smaller
# differences)
STEP = 0.30
BRIGHT = 0.60  # share of white; minimum gray value of the brightest pixel of a marker
# share of each side: width of the rim in which markers are searched. The rim has no lower part: metal and gas are there
ZONE = 0.27
GAP = 0.012  # share of the long side; maximum distance of two letters of one word
SMALLEST, LARGEST = 2e-4, 0.03  # minimum and maximum area of a marker's box, as a share of the image
LINE = 0.18  # share of the long side; longer straight edges belong to the collimator
LONGEST = 0.3  # share of the long side; a longer object is no marker
# minimum share of edge pixels in the box of a marker: a box around text has edges nearly everywhere, a box around an
# object only at its outline
DENSE = 0.3


def markers(image: Gray) -> Mask:
    """Return a mask [H, W] of boxes around bright objects with sharp edges in the rim of the image.

    The rules are fixed, not learned. The function wrongly selects cable ends and clips, and misses faint letters.
    `benchmarks/lungs.py` measures the share of phantom tags that the function detects, and its false positives.
    """
    height, width = image.shape
    shrink = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    reduced = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    gradient = np.asarray(cv2.morphologyEx(reduced, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))
    edge = ((gradient >= STEP * 255) & _rim(reduced.shape)).astype(np.uint8)
    line = max(3, round(LINE * max(size)))
    for shape in ((1, line), (line, 1)):  # remove the edges of a collimator, which may touch a marker
        straight = cv2.morphologyEx(edge, cv2.MORPH_OPEN, np.ones(shape, np.uint8))
        edge = np.where(cv2.dilate(straight, np.ones((3, 3), np.uint8)) > 0, 0, edge).astype(np.uint8)
    kernel = max(3, round(GAP * max(size)) | 1)
    joined = cv2.morphologyEx(edge, cv2.MORPH_CLOSE, np.ones((kernel, kernel), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(joined, connectivity=8)
    mask = np.zeros(reduced.shape, bool)
    for label in range(1, count):
        left, top, box_width, box_height = (int(value) for value in stats[label, :4])
        box = slice(top, top + box_height), slice(left, left + box_width)
        small = SMALLEST <= box_width * box_height / reduced.size <= LARGEST and min(box_width, box_height) >= 3
        if not small or max(box_width, box_height) > LONGEST * max(size):
            continue
        is_edge = (edge[box] > 0) & (labels[box] == label)
        if is_edge.mean() >= DENSE and reduced[box][labels[box] == label].max() >= BRIGHT * 255:
            mask[box] = True
    if shrink == 1.0:
        return mask
    return np.asarray(cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)) > 0


def _rim(shape: tuple[int, ...]) -> Mask:
    """Return the mask of the rim in which markers are searched."""
    height, width = shape
    rim_height, rim_width = max(1, round(ZONE * height)), max(1, round(ZONE * width))
    rim = np.ones((height, width), bool)
    rim[rim_height:, rim_width : width - rim_width] = False
    return rim
