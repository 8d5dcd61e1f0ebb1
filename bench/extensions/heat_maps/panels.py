"""Pictures of heat maps: a panel of one finding of one image.

The color map is OpenCV's viridis, which is perceptually uniform and readable with red-green color blindness.
Shapes: D side of the image and of each map in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHOWN = 384  # minimum side of an image in pixels
OPAQUE = 0.65  # opacity of the overlay at the maximum of the map
WARNING = "Not for clinical use."
SYNTHETIC_WARNING = "Trained on drawings: says nothing about a real radiograph."
_INK, _FAINT, _RED, _PAPER = (20, 20, 20), (100, 100, 100), (0, 94, 213), (255, 255, 255)

Gray = NDArray[np.uint8]
ColorImage = NDArray[np.uint8]  # [H, W, 3], blue, green, red


@dataclass(frozen=True, eq=False)
class FindingMap:
    """Logit, threshold and heat map of one finding in one image."""

    finding: str
    logit: float
    threshold: float  # threshold on the probability; NaN if unknown
    heat: NDArray[np.float32]  # [D, D], >= 0

    @property
    def empty(self) -> bool:
        """Return whether the map is zero everywhere: the image has no evidence for the finding."""
        return not bool((self.heat > 0).any())

    @property
    def probability(self) -> float:
        """Return the sigmoid of the logit."""
        return 1 / (1 + math.exp(-self.logit)) if self.logit > -700 else 0.0

    @property
    def called(self) -> bool | None:
        """Return whether the call is positive (the probability is at least the threshold); None without a threshold."""
        return None if math.isnan(self.threshold) else self.probability >= self.threshold


@dataclass(frozen=True, eq=False)
class Explanation:
    """One image, with the heat maps of its findings by one run."""

    image: str
    run: str
    maps: str  # size of the feature maps, e.g. "7 x 7"
    input_side: int  # side of the network input in pixels
    gray: Gray  # [D, D], in the geometry of the network input
    finding_maps: tuple[FindingMap, ...]
    synthetic: bool = False  # whether a program drew the training images of the run


def panel(explanation: Explanation, finding_map: FindingMap) -> ColorImage:
    """Return a picture of one finding: image, heat map and overlay, with the numbers above and a warning below."""
    gray = cv2.cvtColor(explanation.gray, cv2.COLOR_GRAY2BGR)
    gap = np.full((len(gray), 10, 3), 255, np.uint8)
    body = np.concatenate([gray, gap, _colored(_scaled(finding_map)), gap, overlaid(explanation, finding_map)], 1)
    threshold = "no threshold" if finding_map.called is None else f"threshold {finding_map.threshold:.3f}"
    verdict = {None: "", True: ": positive", False: ": negative"}[finding_map.called]
    note = " - no evidence for it" if finding_map.empty else ""
    numbers = f"logit {finding_map.logit:+.2f}, probability {finding_map.probability:.3f}, {threshold}{verdict}{note}"
    head = [(finding_map.finding, _INK), (numbers, _INK)]
    if explanation.synthetic:
        head.insert(0, (SYNTHETIC_WARNING, _RED))
    side = explanation.input_side
    foot = [
        (f"{explanation.image}, as shown to {explanation.run} ({side} x {side} pixels); heat map; overlay", _FAINT),
        (
            f"Grad-CAM of {explanation.maps} maps; each in its own scale; it shows where the evidence is, not the extent of a disease",
            _FAINT,
        ),
        (WARNING, _INK),
    ]
    picture = np.concatenate([_text(head, body.shape[1], 0.55), body, _text(foot, body.shape[1], 0.45)])
    return np.asarray(cv2.copyMakeBorder(picture, 14, 14, 14, 14, cv2.BORDER_CONSTANT, value=_PAPER), np.uint8)


def overlaid(explanation: Explanation, finding_map: FindingMap) -> ColorImage:
    """Return the image with the map drawn on it; the larger the map's value, the more opaque is the map."""
    share = _scaled(finding_map)
    weight = OPAQUE * share[:, :, None]
    return (explanation.gray[:, :, None] * (1 - weight) + _colored(share) * weight + 0.5).astype(np.uint8)


def _scaled(finding_map: FindingMap) -> NDArray[np.float32]:
    """Return the map scaled to maximum 1; an empty map stays zero."""
    return np.zeros_like(finding_map.heat) if finding_map.empty else finding_map.heat / finding_map.heat.max()


def _colored(share: NDArray[np.float32]) -> ColorImage:
    return np.asarray(cv2.applyColorMap((255 * share + 0.5).astype(np.uint8), cv2.COLORMAP_VIRIDIS), np.uint8)


def _text(lines: Sequence[tuple[str, tuple[int, int, int]]], width: int, scale: float) -> ColorImage:
    """Return lines of (text, color) as a picture; a line that is too long has smaller letters.

    OpenCV draws only ASCII, so other letters become question marks.
    """
    canvas = np.full((24 * len(lines) + 8, width, 3), 255, np.uint8)
    for number, (text, ink) in enumerate(lines):
        plain = "".join(c if " " <= c <= "~" else "?" for c in text)
        (length, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
        size = scale * min(1.0, width / max(length, 1))
        cv2.putText(canvas, plain, (0, 24 * number + 18), cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
    return canvas
