"""Make masks of regions in a network's input image: transformed outlines, and regions computed from the image.

A mask of an image file is bool [H, W] and covers the entire image, at any resolution. S is the side of the input image.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.images import roi
from harmonize.images.pixels import Geometry, Gray, crop_box, fit_to_square

Mask = NDArray[np.bool_]

RIM = 0.06  # width of the border band, as a share of the side
PLEURA = 0.03  # width of the pleura band on either side of a lung's edge, as a share of the side
# minimum gray value with which a pixel of a resized mask (0 to 255) belongs to the mask: half of its area is inside
HALF = 128


@dataclass(frozen=True, slots=True)
class InputTransform:
    """The transformation of a decoded image file to the input image of a network."""

    shape: tuple[int, int]  # (height, width) of the decoded image
    box: roi.Box  # the part of the decoded image that is kept
    geometry: Geometry
    center: int  # side in pixels of the center crop of the square, 0 for no crop

    @classmethod
    def of(cls, picture: Gray, geometry: Geometry, center: int = 0) -> "InputTransform":
        """Return the transformation of a decoded image to a network's input, with the same crop as in the image cache."""
        height, width = picture.shape
        return cls((height, width), crop_box(picture, geometry)[0], replace(geometry, clahe=None), center)

    def center_crop(self, square: Gray) -> Gray:
        """Return the center crop [S, S] of a cached image, which is the input image of the network."""
        side = self.center or square.shape[0]
        first = (square.shape[0] - side) // 2
        return square[first : first + side, first : first + side]

    def apply_to_mask(self, mask: Mask) -> Mask:
        """Transform a mask of the image file to the input image [S, S].

        If a region is thinner than a pixel, the pixels that it covers most stay in the mask. A region outside the crop
        becomes empty.
        """
        pixels = np.where(mask, 255, 0).astype(np.uint8)
        if pixels.shape != self.shape:
            height, width = self.shape
            shrinks = height * width < pixels.size
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
            pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)
        square = self.center_crop(fit_to_square(np.ascontiguousarray(pixels[self.box]), self.geometry))
        maximum = int(square.max(initial=0))
        if maximum <= 1:  # the mask is empty: a letterbox stores black pixels as 1
            return np.zeros(square.shape, bool)
        return np.asarray(square >= min(HALF, maximum))


def border(size: int) -> Mask:
    """Return the mask of the border: a ring whose width is `RIM` times the side."""
    width = max(1, round(RIM * size))
    ring = np.ones((size, size), bool)
    ring[width:-width, width:-width] = False
    return ring


def padding(image: Gray) -> Mask:
    """Return the mask of the black rows and columns at the edge, which come from the file or from a letterbox."""
    outside = np.ones(image.shape, bool)
    outside[roi.bounds(image)] = False
    return outside


def pleura(lungs: Mask) -> Mask:
    """Return the mask of a band along the edge of the lungs."""
    kernel_size = 2 * max(1, round(PLEURA * max(lungs.shape))) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (kernel_size, kernel_size))
    return np.asarray(cv2.morphologyEx(lungs.astype(np.uint8), cv2.MORPH_GRADIENT, kernel)) > 0


def box_mask(boxes: NDArray[np.float64], shape: tuple[int, int]) -> Mask:
    """Return the mask [H, W] of boxes (x_min, y_min, x_max, y_max) in pixels.

    x_max and y_max are the first pixels outside the box. Each box covers at least one pixel.
    """
    mask = np.zeros(shape, bool)
    height, width = shape
    for left, top, right, bottom in np.clip(boxes, 0, [width, height, width, height]).round().astype(int):
        top, left = min(top, height - 1), min(left, width - 1)
        mask[top : max(bottom, top + 1), left : max(right, left + 1)] = True
    return mask
