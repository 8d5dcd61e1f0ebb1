"""Lung masks for images without lung outlines; approximate, with measured overlap.

`benchmarks/lungs.py` states its overlap with lungs that people outlined. It returns both lungs or no mask.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images.roi import bounds, two_lungs

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 128  # px, the long side of the picture in which they are looked for
CLIP, TILES = 2.0, 4  # of the equalisation that makes a veiled lung dark enough
RIM = 7  # px of that side: thresholds stop short of the pleura


def lung_field(image: Gray) -> Mask | None:
    """Return the mask [H, W] of both lungs of a radiograph, None if two lungs are not found.

    The two dark enclosed components of `roi.two_lungs`, in an equalised picture; the convex hull of each, because ribs,
    vessels and disease cut into it, wider by a rim. What opacities hide of a lung beyond its hull is missing.
    """
    rows, columns = bounds(image)
    inside = image[rows, columns]
    shrink = min(1.0, SIDE / max(inside.shape))
    size = (max(1, round(inside.shape[1] * shrink)), max(1, round(inside.shape[0] * shrink)))
    picture = np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_AREA), np.uint8)
    equal = np.asarray(cv2.createCLAHE(clipLimit=CLIP, tileGridSize=(TILES, TILES)).apply(picture), np.uint8)
    pair = two_lungs(equal)
    if pair is None:
        return None
    drawn = np.zeros(picture.shape, np.uint8)
    for lung in pair:
        cv2.fillConvexPoly(drawn, cv2.convexHull(cv2.findNonZero(lung.astype(np.uint8))), (1,))
    rim = max(3, round(RIM * max(picture.shape) / SIDE) | 1)
    drawn = np.asarray(cv2.dilate(drawn, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))), np.uint8)
    found = np.zeros(image.shape, bool)
    back = (inside.shape[1], inside.shape[0])
    found[rows, columns] = np.asarray(cv2.resize(drawn, back, interpolation=cv2.INTER_NEAREST)) > 0
    return found
