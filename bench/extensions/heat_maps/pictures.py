"""Small gallery pictures: an image, its heat map, both together, and the outline of the finding. This module does not use torch."""

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE, GAP = 112, 4  # pixels: side of each view in the picture, and white space between two views
COVER = 0.7  # opacity of the heat map at its maximum
OUTLINE = (255, 208, 0)  # color (BGR) of the finding's outline: light blue, which is not in the color map

Gray = NDArray[np.uint8]


def views(image: Gray, heat: NDArray[np.float32], outline: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return a picture in BGR, [2 * SIDE + GAP, 2 * SIDE + GAP, 3], with four views of a case.

    Top: the image, and the image with its heat map and the outline of the finding. Bottom: the heat map alone, and the
    image with the outline. Without a known outline, no outline is drawn. Each map is scaled to its own maximum, so colors
    of two pictures cannot be compared. A map that is zero everywhere is not drawn over the image.
    """
    plain = cv2.cvtColor(_sized(image), cv2.COLOR_GRAY2BGR)
    share = _sized(heat / heat.max() if heat.max() > 0 else heat).clip(0, 1)
    # the darkest and the brightest colors of the map are left out
    color = cv2.applyColorMap((80 + 160 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    cover = (COVER * share)[..., None]
    overlay = (plain * (1 - cover) + color.astype(np.float32) * cover).round().astype(np.uint8)
    outlined = plain.copy()
    if outline is not None:
        large = cv2.resize(outline.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        edges, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        for view in (overlay, outlined):
            cv2.drawContours(view, edges, -1, OUTLINE, 1)
    picture = np.full((2 * SIDE + GAP, 2 * SIDE + GAP, 3), 255, np.uint8)
    first, second = slice(SIDE), slice(SIDE + GAP, None)
    picture[first, first], picture[first, second] = plain, overlay
    picture[second, first], picture[second, second] = color, outlined
    return picture


def webp(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a small WebP file, because a page may have up to 200 pictures."""
    return bytes(cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 60])[1])


def picture_name(dataset: str, finding: str, kind: str, rank: int) -> str:
    """Return the file name of a picture of the gallery.

    >>> picture_name("nih", "Pleural Effusion", "sure miss", 0)
    'nih-pleural-effusion-sure-miss-0.webp'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{dataset}-{finding.lower()}-{kind}-{rank}.webp")


def _sized(image: NDArray[Any]) -> NDArray[Any]:
    interpolation = cv2.INTER_AREA if image.shape[0] > SIDE else cv2.INTER_LINEAR
    sized: NDArray[Any] = cv2.resize(image, (SIDE, SIDE), interpolation=interpolation)
    return sized
