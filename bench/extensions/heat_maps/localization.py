"""Localization metrics that compare a heat map with a mask: overlap, pointing game, energy. No function uses torch.

Shapes: heat [H, W] >= 0 on any scale, mask [H, W] of bool. An empty map is zero everywhere. For an empty map, overlap
and pointing are 0, and energy is NaN.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Heat = NDArray[np.floating]
Mask = NDArray[np.bool_]

THRESHOLDS = (0.3, 0.5, 0.7)  # shares of the map's maximum
TOLERANCE = 15 / 224  # allowed distance of the maximum from the mask, as a share of the side


def overlap(region: Mask, mask: Mask) -> tuple[float, float]:
    """Return IoU and Dice of two masks; both scores are 0 if both masks are empty.

    >>> overlap(np.array([True, True, False]), np.array([False, True, True]))
    (0.3333333333333333, 0.5)
    """
    intersection, union = int((region & mask).sum()), int((region | mask).sum())
    return (intersection / union, 2 * intersection / (intersection + union)) if union else (0.0, 0.0)


def above(heat: Heat, share: float) -> Mask:
    """Return the mask of the pixels with at least `share` of the map's maximum; no pixel for an empty map."""
    return np.asarray((heat >= share * heat.max()) & (heat > 0))


def hottest(heat: Heat, count: int) -> Mask:
    """Return the mask of the `count` pixels with the largest values.

    Pixels with the same value are selected together, so the mask can have more pixels than `count`. Pixels of value 0
    are never selected, so the mask can also have fewer pixels.
    """
    if not 0 < count <= heat.size:
        return np.full(heat.shape, count > 0) & (heat > 0)
    smallest = np.partition(heat, heat.size - count, axis=None)[heat.size - count]
    return np.asarray((heat >= smallest) & (heat > 0))


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


def localization_metrics(heat: Heat, mask: Mask) -> dict[str, float]:
    """Return IoU and Dice of the mask with four regions of the map, and the result of `pointing` as `hit`.

    The keys are iou_R and dice_R for each region R. The regions 30, 50 and 70 have the pixels with at least 30, 50 and
    70 % of the maximum. The region top has the pixels with the largest values, as many pixels as the mask has.
    """
    metrics = {}
    for name, region in (
        *((f"{round(100 * share)}", above(heat, share)) for share in THRESHOLDS),
        ("top", hottest(heat, int(mask.sum()))),
    ):
        metrics[f"iou_{name}"], metrics[f"dice_{name}"] = overlap(region, mask)
    return {**metrics, "hit": pointing(heat, mask)}


def center_prior(height: int, width: int) -> NDArray[np.float32]:
    """Return a baseline map [H, W] that is high in the center of the image.

    The map is a Gaussian whose standard deviation is a quarter of each side and whose maximum is about 1.
    """
    rows, columns = (np.exp(-(((np.arange(n) + 0.5) / n - 0.5) ** 2) / (2 * 0.25**2)) for n in (height, width))
    return np.asarray(np.outer(rows, columns), np.float32)
