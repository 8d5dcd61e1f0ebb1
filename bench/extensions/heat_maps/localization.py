"""Localization metrics that compare a heat map with a mask: overlap, pointing game, energy. No function uses torch.

Shapes: heat [H, W] >= 0 on any scale, mask [H, W] of bool. An empty map is zero everywhere. For an empty map, overlap
and pointing are 0, and energy is NaN.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Heat = NDArray[np.floating]
Mask = NDArray[np.bool_]

SHARE = 0.5  # share of the map's maximum
TOLERANCE = 15 / 224  # allowed distance of the maximum from the mask, as a share of the side


def iou(heat: Heat, mask: Mask) -> float:
    """Return the IoU of the mask and the pixels with at least half of the map's maximum; 0 for an empty map.

    >>> iou(np.array([1.0, 0.5, 0.4]), np.array([False, True, True]))
    0.3333333333333333
    """
    region = (heat >= SHARE * heat.max()) & (heat > 0)
    union = int((region | mask).sum())
    return int((region & mask).sum()) / union if union else 0.0


def near(mask: Mask, tolerance: float = TOLERANCE) -> Mask:
    """Return the mask enlarged on all sides by `tolerance` times the longer side of the image.

    An empty mask stays empty.
    """
    distance = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= tolerance * max(mask.shape)) & mask.any()


def pointing(heat: Heat, mask: Mask, tolerance: float = TOLERANCE) -> float:
    """Return 1 if the map's maximum is in or near the mask, else 0.

    If several pixels have the maximum, the result is the share of these pixels that are in or near the mask. Source:
    Zhang et al. 2018, doi:10.1007/s11263-017-1059-x, section 4.2: 15 pixels of tolerance for images of 224 pixels.
    """
    top = heat == heat.max()
    return float(near(mask, tolerance)[top].mean()) if heat.max() > 0 else 0.0


def energy(heat: Heat, mask: Mask) -> float:
    """Return the share of the map's sum that is inside the mask; NaN for an empty map.

    Source: Wang et al. 2020, arXiv:1910.01279, section 4.3 (energy-based pointing game).
    """
    total = float(heat.sum(dtype=np.float64))
    return float(heat[mask].sum(dtype=np.float64)) / total if total > 0 else float("nan")


def center_prior(height: int, width: int) -> NDArray[np.float32]:
    """Return a baseline map [H, W] that is high in the center of the image.

    The map is a Gaussian whose standard deviation is a quarter of each side and whose maximum is about 1.
    """
    rows, columns = (np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * 0.25**2)) for n in (height, width))
    return np.asarray(np.outer(rows, columns), np.float32)
