"""Pictures of heat maps: a panel of one finding of one image.

The color map is OpenCV's viridis, which is perceptually uniform and readable with red-green color blindness. A view is
an image, a heat map or an overlay (an image with its heat map drawn on it). A tile is a view with its caption. The
reference is a region that the user gives. Shapes: D side of a view in pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHOWN = 384  # minimum side of a view in pixels
OPAQUE = 0.65  # opacity of the overlay at the maximum of the map
LINE = (0, 94, 213)  # outline of the reference in BGR: vermilion, distinct from every color of the map
WARNING = "Not for clinical use."
SYNTHETIC_WARNING = "Trained on drawings: says nothing about a real radiograph."
_INK, _FAINT, _PAPER = (20, 20, 20), (100, 100, 100), 255
_MARGIN, _GAP, _TEXT = 14, 10, 20

Gray = NDArray[np.uint8]
ColorImage = NDArray[np.uint8]  # [H, W, 3], blue, green, red


@dataclass(frozen=True, eq=False)
class FindingMap:
    """Logit, threshold and heat map of one finding in one image."""

    finding: str
    logit: float
    threshold: float  # on the probability; NaN if unknown
    heat: NDArray[np.float32]  # [D, D], >= 0
    empty: bool  # whether the map is zero everywhere

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
    mask: Gray | None  # [D, D] of 0 and 1: the reference region that the user gives
    finding_maps: tuple[FindingMap, ...]
    synthetic: bool = False  # whether a program drew the training images of the run
    mean_of: int = 1  # number of heat maps (of networks and views) of which each map is the mean


def panel(explanation: Explanation, finding_map: FindingMap) -> ColorImage:
    """Return a picture of one finding with its views side by side: image, heat map, reference (if given), overlay."""
    gray = np.repeat(explanation.gray[:, :, None], 3, 2)
    heat = _colored(finding_map)
    views = [("image", gray), ("heat map", heat), ("overlay", _outlined(_overlay(gray, finding_map), explanation.mask))]
    if explanation.mask is not None:
        views.insert(2, ("reference", _outlined(gray, explanation.mask, filled=True)))
    side = gray.shape[0]
    tiles = [_captioned(view, [title]) for title, view in views]
    body = _in_row([*tiles, _bar(side, tiles[0].shape[0])])
    return _framed(body, [finding_map.finding, _numbers(finding_map)], explanation)


def overlaid(explanation: Explanation, finding_map: FindingMap) -> ColorImage:
    """Return the image with the heat map of one finding drawn on it, and with the outline of the reference (if given)."""
    return _outlined(_overlay(np.repeat(explanation.gray[:, :, None], 3, 2), finding_map), explanation.mask)


def _numbers(finding_map: FindingMap) -> str:
    threshold = "no threshold" if finding_map.called is None else f"threshold {finding_map.threshold:.3f}"
    verdict = {None: "", True: ": positive", False: ": negative"}[finding_map.called]
    note = " - no evidence for it" if finding_map.empty else ""
    return f"logit {finding_map.logit:+.2f}, probability {finding_map.probability:.3f};{threshold}{verdict}{note}"


def _scaled(finding_map: FindingMap) -> NDArray[np.float32]:
    """Return the map scaled to maximum 1; an empty map stays zero."""
    largest = float(finding_map.heat.max())
    return finding_map.heat / largest if largest > 0 else np.zeros_like(finding_map.heat)


def _colored(finding_map: FindingMap) -> ColorImage:
    return np.asarray(
        cv2.applyColorMap((255 * _scaled(finding_map) + 0.5).astype(np.uint8), cv2.COLORMAP_VIRIDIS), np.uint8
    )


def _overlay(gray: ColorImage, finding_map: FindingMap) -> ColorImage:
    """Return the image with the map drawn on it; the larger the map's value, the more opaque is the map."""
    weight = OPAQUE * _scaled(finding_map)[:, :, None]
    return (gray * (1 - weight) + _colored(finding_map) * weight + 0.5).astype(np.uint8)


def _outlined(view: ColorImage, mask: Gray | None, filled: bool = False) -> ColorImage:
    """Return a view with the outline of the reference; with `filled`, the inside of the outline is tinted."""
    outlined = view.copy()
    if mask is None:
        return outlined
    if filled:
        inside = mask > 0
        outlined[inside] = (0.75 * outlined[inside] + 0.25 * np.array(LINE)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(outlined, outlines, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(outlined, outlines, -1, LINE, 2, cv2.LINE_AA)
    return outlined


def _bar(side: int, height: int) -> ColorImage:
    """Return a picture that is `height` pixels high, with a color scale that is as high as a view (`side` pixels)."""
    bar = _blank(height, 62)
    levels = np.linspace(255, 0, side).round().astype(np.uint8)[:, None]
    bar[_TEXT : _TEXT + side, :18] = cv2.applyColorMap(np.repeat(levels, 18, 1), cv2.COLORMAP_VIRIDIS)
    for text, y in (("largest", _TEXT + 10), ("none", _TEXT + side - 2)):
        cv2.putText(bar, text, (22, y), cv2.FONT_HERSHEY_SIMPLEX, 0.34, _INK, 1, cv2.LINE_AA)
    return bar


def _captioned(view: ColorImage, lines: Sequence[str]) -> ColorImage:
    """Return a view with lines of text above it."""
    head = _blank(_TEXT * len(lines), view.shape[1])
    for k, line in enumerate(lines):
        _write(head, line, (0, _TEXT * k + 14), 0.45, _INK if k == 0 else _FAINT)
    return np.concatenate([head, view])


def _framed(body: ColorImage, title: Sequence[str], explanation: Explanation) -> ColorImage:
    """Return the picture `body` with a title above it, and with notes on its origin and a warning below it.

    If the run was trained on synthetic images, SYNTHETIC_WARNING is the first line of the title.
    """
    notes = [
        f"{explanation.image}, as shown to {explanation.run} ({explanation.input_side} x {explanation.input_side} pixels)",
        f"{_method(explanation)}; each map in its own scale; it shows where the evidence is, not the extent of a disease",
        WARNING,
    ]
    title = [SYNTHETIC_WARNING, *title] if explanation.synthetic else title
    width = max(body.shape[1], 620)
    body = np.concatenate([body, _blank(body.shape[0], width - body.shape[1])], 1)
    head, foot = _blank(24 * len(title) + 8, width), _blank(_TEXT * len(notes) + 8, width)
    for k, line in enumerate(title):
        _write(
            head,
            line.replace(";", ", "),
            (0, 24 * k + 18),
            0.65 if k == 0 else 0.5,
            LINE if line == SYNTHETIC_WARNING else _INK,
        )
    for k, line in enumerate(notes):
        _write(foot, line, (0, _TEXT * k + 20), 0.42, _INK if line == WARNING else _FAINT)
    picture = np.concatenate([head, body, foot])
    return np.asarray(
        cv2.copyMakeBorder(
            picture, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=(_PAPER, _PAPER, _PAPER)
        ),
        np.uint8,
    )


def _method(explanation: Explanation) -> str:
    """Return how the maps were made, e.g. "Grad-CAM of 7 x 7 maps".

    >>> blank = np.zeros((1, 1), np.uint8)
    >>> _method(Explanation("a.png", "both", "7 x 7", 224, blank, None, (), mean_of=2))
    'mean of 2 heat maps (networks and views): Grad-CAM of 7 x 7 maps'
    """
    single = f"Grad-CAM of {explanation.maps} maps"
    number = explanation.mean_of
    return f"mean of {number} heat maps (networks and views): {single}" if number > 1 else single


def _write(canvas: ColorImage, text: str, position: tuple[int, int], scale: float, ink: tuple[int, int, int]) -> None:
    """Write a line of text on the canvas, in smaller letters if the line is too long for the canvas.

    OpenCV draws only ASCII, so other letters become question marks.
    """
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    (width, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    room = canvas.shape[1] - position[0]
    cv2.putText(
        canvas, plain, position, cv2.FONT_HERSHEY_SIMPLEX, scale * min(1.0, room / max(width, 1)), ink, 1, cv2.LINE_AA
    )


def _in_row(tiles: Sequence[ColorImage]) -> ColorImage:
    """Return tiles of equal height as one row with gaps."""
    gap = _blank(tiles[0].shape[0], _GAP)
    return np.concatenate([strip for tile in tiles for strip in (tile, gap)][:-1], 1)


def _blank(height: int, width: int) -> ColorImage:
    return np.full((height, width, 3), _PAPER, np.uint8)
