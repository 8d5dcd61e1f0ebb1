"""Region masks of a radiograph as the network sees it: outlines moved with the image, and regions computed from the image.

A mask has the field of view of its file in any number of pixels: [H, W] of bool. S is the side of what the network sees.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images import roi
from harmonize.images.pixels import Geometry, Gray, fitted, kept

Mask = NDArray[np.bool_]

RIM = 0.06  # of the side: the border band
PLEURA = 0.03  # of the side: how far the pleura reaches to either side of a lung's edge
HALF = 128  # of 255; a pixel of the smaller picture is in the mask if at least half of its area is


@dataclass(frozen=True, slots=True)
class Place:
    """How one picture came into the square that the network sees."""

    shape: tuple[int, int]  # of the picture as it was decoded
    box: roi.Box  # what was kept of it
    geometry: Geometry
    centre: int  # side of the centre that the network sees, 0 for all of it

    @classmethod
    def of(cls, picture: Gray, geometry: Geometry, centre: int = 0) -> "Place":
        """Return the place of a picture decoded for that geometry: the region is found in it as it was for the cache."""
        height, width = picture.shape
        return cls((height, width), kept(picture, geometry)[0], replace(geometry, clahe=None), centre)

    def image(self, square: Gray) -> Gray:
        """Return the network's input image [S, S] of a cached image."""
        side = self.centre or square.shape[0]
        first = (square.shape[0] - side) // 2
        return square[first : first + side, first : first + side]

    def moved(self, mask: Mask) -> Mask:
        """Return the mask as the network sees it [S, S].

        A mark that is thinner than a pixel there keeps the pixels that it fills most; one that was cut off is empty.
        """
        whole = np.where(mask, 255, 0).astype(np.uint8)
        if whole.shape != self.shape:
            height, width = self.shape
            shrinks = height * width < whole.size
            how = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            whole = np.asarray(cv2.resize(whole, (width, height), interpolation=how), np.uint8)
        seen = self.image(fitted(np.ascontiguousarray(whole[self.box]), self.geometry))
        most = int(seen.max(initial=0))
        if most <= 1:  # the black of a letterbox's picture
            return np.zeros(seen.shape, bool)
        return np.asarray(seen >= min(HALF, most))


def border(size: int) -> Mask:
    """Return the mask of the border: a ring whose width is `RIM` times the side."""
    wide = max(1, round(RIM * size))
    ring = np.ones((size, size), bool)
    ring[wide:-wide, wide:-wide] = False
    return ring


def padding(seen: Gray) -> Mask:
    """Return the black rows and columns at the edge of what the network sees: of the file, or added by a letterbox."""
    outside = np.ones(seen.shape, bool)
    outside[roi.bounds(seen)] = False
    return outside


def pleura(lungs: Mask) -> Mask:
    """Return the band along the edge of the lungs."""
    reach = 2 * max(1, round(PLEURA * max(lungs.shape))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    return np.asarray(cv2.morphologyEx(lungs.astype(np.uint8), cv2.MORPH_GRADIENT, kernel)) > 0


def boxed(boxes: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Return the mask [H, W] of boxes (x_min, y_min, x_max, y_max) in its pixels, edges half open; each has a pixel at least."""
    mask = np.zeros(shape, bool)
    height, width = shape
    for left, top, right, bottom in np.clip(boxes, 0, [width, height, width, height]).round().astype(int):
        top, left = min(top, height - 1), min(left, width - 1)
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask
