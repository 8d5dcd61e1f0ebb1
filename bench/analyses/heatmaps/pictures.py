"""Small gallery pictures: an image, and next to it the same image with its heat map. This module does not use torch."""

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 112  # side in pixels of each half of the picture
COVER = 0.7  # opacity of the heat map at its maximum
OUTLINE = (255, 208, 0)  # color (BGR) of the finding's outline: light blue, which is not in the color map

Gray = NDArray[np.uint8]


def pair(image: Gray, heat: NDArray[np.float32], outline: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
    """Return a picture in BGR, [SIDE, 2 * SIDE + 4, 3], with two halves: the image, and the image with its heat map.

    The right half also has the outline of the finding, if an outline is known. Each map is scaled to its own maximum,
    so colors of two pictures cannot be compared. A map that is zero everywhere is not drawn.
    """
    plain = _sized(image)
    share = _sized(heat / heat.max() if heat.max() > 0 else heat).clip(0, 1)
    color = cv2.applyColorMap((80 + 160 * share).astype(np.uint8), cv2.COLORMAP_INFERNO).astype(np.float32)
    cover = (COVER * share)[..., None]
    gray = cv2.cvtColor(plain, cv2.COLOR_GRAY2BGR).astype(np.float32)
    overlay = (gray * (1 - cover) + color * cover).round().astype(np.uint8)
    if outline is not None:
        large = cv2.resize(outline.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
        edges, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(overlay, edges, -1, OUTLINE, 1)
    gap = np.full((SIDE, 4, 3), 255, np.uint8)
    return np.asarray(np.hstack([cv2.cvtColor(plain, cv2.COLOR_GRAY2BGR), gap, overlay]), np.uint8)


def png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file."""
    return bytes(cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])[1])


def is_picture(content: bytes) -> bool:
    """Return True if the bytes are a picture that OpenCV can decode."""
    return len(content) > 0 and cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) is not None


def webp(content: bytes, quality: int = 60) -> bytes:
    """Convert a PNG picture to WebP with about a tenth of the bytes, because a page may have up to 200 pictures."""
    picture: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return bytes(cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, quality])[1])


def picture_name(dataset: str, finding: str, kind: str, rank: int) -> str:
    """Return the file name of a picture of the gallery.

    >>> picture_name("nih", "Pleural Effusion", "sure miss", 0)
    'nih-pleural-effusion-sure-miss-0.png'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{dataset}-{finding.lower()}-{kind}-{rank}.png")


def _sized(image: NDArray[Any]) -> NDArray[Any]:
    interpolation = cv2.INTER_AREA if image.shape[0] > SIDE else cv2.INTER_LINEAR
    sized: NDArray[Any] = cv2.resize(image, (SIDE, SIDE), interpolation=interpolation)
    return sized
