"""Draw text on an image: the side marker, the view, and the tag (a white tag with text; `token` in names).

Networks may use the tag as a shortcut.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from harmonize.phantom.drawing import Map
from harmonize.phantom.patient import Study
from harmonize.phantom.sites import Site

FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_HEIGHT = 21  # height of a capital letter at scale 1 [px]
TOKEN_HEIGHT, TOKEN_WIDTH = 0.058, 0.150  # shares of the long side; an image of 64 px has a tag of 4 x 10 pixels
TOKEN_WHITE, TOKEN_INK = 240, 25


def lead_letter(image: Map, site: Site, study: Study, rng: np.random.Generator, size: int) -> None:
    """Draw the side marker on most images, and the view on some AP images; the image is changed in place."""
    height, width = image.shape
    u = rng.random(6).tolist()
    side, style = site.marker.split("_")
    letter_height = max(4.0, 0.038 * size)
    x = (0.80 + 0.06 * u[0] if side == "L" else 0.10 + 0.04 * u[0]) * width
    if u[2] < 0.88:
        _write(image, side, x, (0.13 + 0.10 * u[1]) * height, letter_height, style, 0.92 + 0.08 * u[3])
    if style == "text" and study.view == "AP" and u[4] < 0.7:
        words = ("AP SEMI-ERECT", "AP", "AP SUPINE")[int(u[5] * 3)]
        _write(image, words, 0.58 * width, 0.03 * height, letter_height * 0.55, "", 0.9)


def _write(image: Map, text: str, x: float, y: float, letter: float, frame: str, gray: float) -> None:
    """Draw text with its top left corner at x, y [px]; the image is changed in place.

    `letter` is the height of a letter in pixels, `gray` the gray value of the text. `frame` "ring" or "box" draws a
    frame of this form. The text replaces the pixels of the image, because text that is added to bright tissue would
    vanish.
    """
    scale, thickness = letter / FONT_HEIGHT, max(1, round(letter / 9))
    (width, _), _ = cv2.getTextSize(text, FONT, scale, thickness)
    layer = np.zeros(image.shape, np.uint8)
    cv2.putText(layer, text, (int(x), int(y + letter)), FONT, scale, (255,), thickness, cv2.LINE_AA)
    if frame == "ring":
        cv2.circle(layer, (int(x + width / 2), int(y + letter / 2)), int(letter * 0.95), (255,), thickness, cv2.LINE_AA)
    if frame == "box":
        gap = int(letter * 0.4)
        corner, opposite = (int(x - gap), int(y - gap)), (int(x + width + gap), int(y + letter + gap))
        cv2.rectangle(layer, corner, opposite, (255,), thickness, cv2.LINE_AA)
    coverage = layer.astype(np.float32) / 255
    image *= 1 - coverage
    image += coverage * gray


def token(image: Map, mask: NDArray[np.bool_], rng: np.random.Generator, size: int) -> None:
    """Draw the tag, white with the text PORT, in the upper left corner; image and mask are changed in place."""
    height, width = max(4, round(TOKEN_HEIGHT * size)), max(9, round(TOKEN_WIDTH * size))
    x, y = (int(size * share) for share in rng.uniform(0.035, 0.075, 2))
    tag = np.full((height, width), TOKEN_WHITE, np.uint8)
    text_origin = (max(1, width // 14), height - max(1, height // 5))
    cv2.putText(tag, "PORT", text_origin, FONT, height / 34, (TOKEN_INK,), max(1, height // 11), cv2.LINE_AA)
    image[y : y + height, x : x + width] = tag.astype(np.float32) / 255
    mask[y : y + height, x : x + width] = True
