"""Compute approximate lung masks for images without lung outlines.

`benchmarks/lungs.py` measures the overlap with lungs that people outlined.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images.roi import bounds, two_lungs

Gray = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 128  # px, the long side of the reduced image in which lungs are detected
CLIP, TILES = 2.0, 4  # clip limit and tiles per side of the equalization, which makes a hazy lung dark enough
RIM = 7  # px of the reduced image; masks grow by this distance, because a thresholded lung ends inside the pleura


def lung_field(image: Gray) -> Mask | None:
    """Return the mask [H, W] of both lungs of a radiograph, or None if two lungs are not detected.

    `roi.two_lungs` detects the lungs in an equalized image. Ribs, vessels and disease cut into the detected regions, so
    each region is replaced by its convex hull. Then the hull grows by RIM. An opacity can hide a part of the lung that
    lies outside the hull; the mask misses this part.
    """
    rows, columns = bounds(image)
    crop = image[rows, columns]
    shrink = min(1.0, SIDE / max(crop.shape))
    size = (max(1, round(crop.shape[1] * shrink)), max(1, round(crop.shape[0] * shrink)))
    reduced = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    equalized = np.asarray(cv2.createCLAHE(clipLimit=CLIP, tileGridSize=(TILES, TILES)).apply(reduced), np.uint8)
    pair = two_lungs(equalized)
    if pair is None:
        return None
    hulls = np.zeros(reduced.shape, np.uint8)
    for lung in pair:
        cv2.fillConvexPoly(hulls, cv2.convexHull(cv2.findNonZero(lung.astype(np.uint8))), (1,))
    rim = max(3, round(RIM * max(reduced.shape) / SIDE) | 1)
    hulls = np.asarray(cv2.dilate(hulls, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))), np.uint8)
    mask = np.zeros(image.shape, bool)
    crop_size = (crop.shape[1], crop.shape[0])
    mask[rows, columns] = np.asarray(cv2.resize(hulls, crop_size, interpolation=cv2.INTER_NEAREST)) > 0
    return mask
