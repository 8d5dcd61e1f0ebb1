"""Pictures of heat maps: the views of one finding side by side, and one image asked for several findings.

Colours are OpenCV's viridis: even steps look even, and readers who confuse red and green see the same order. D: side of a view.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SHOWN = 384  # pixels that a view has at least on each side
COLUMNS = 5  # views beside each other in the picture of several findings
OPAQUE = 0.65  # of the overlay where the map is largest
LINE = (0, 94, 213)  # of the reference, blue-green-red: vermilion, apart from every colour of the map
WARNING = "Not for clinical use."
_INK, _FAINT, _PAPER = (20, 20, 20), (100, 100, 100), 255
_MARGIN, _GAP, _TEXT = 14, 10, 20

Gray = NDArray[np.uint8]
Colour = NDArray[np.uint8]  # [H, W, 3], blue, green, red


@dataclass(frozen=True, eq=False)
class Answer:
    """What a network says of one finding of one image."""

    finding: str
    logit: float
    threshold: float  # NaN where none is known
    heat: NDArray[np.float32]  # [D, D], >= 0
    empty: bool  # the map is zero everywhere

    @property
    def probability(self) -> float:
        """Return the sigmoid of the logit."""
        return 1 / (1 + math.exp(-self.logit)) if self.logit > -700 else 0.0

    @property
    def called(self) -> bool | None:
        """Whether the probability reaches the threshold; None where there is none."""
        return None if math.isnan(self.threshold) else self.probability >= self.threshold


@dataclass(frozen=True, eq=False)
class Asked:
    """One image and what a run says of it."""

    image: str
    run: str
    method: str
    maps: str  # size of the feature maps, e.g. "7 x 7"
    seen: int  # side in pixels of what the network sees
    gray: Gray  # [D, D], as the network is shown it
    mask: Gray | None  # [D, D] of 0 and 1: where a reader saw the finding
    answers: tuple[Answer, ...]


def panel(asked: Asked, answer: Answer) -> Colour:
    """Return the views of one finding side by side: image, heat map, reference where there is one, overlay."""
    gray = np.repeat(asked.gray[:, :, None], 3, 2)
    heat = _coloured(answer)
    views = [("image", gray), ("heat map", heat), ("overlay", _outlined(_overlay(gray, answer), asked.mask))]
    if asked.mask is not None:
        views.insert(2, ("reference", _outlined(gray, asked.mask, filled=True)))
    side = gray.shape[0]
    tiles = [_captioned(view, [title]) for title, view in views]
    body = _beside([*tiles, _bar(side, tiles[0].shape[0])])
    return _framed(body, [answer.finding, _numbers(answer)], asked)


def several(asked: Asked) -> Colour:
    """Return the image and, beside and below it, its overlay for each finding, each map in its own scale."""
    gray = np.repeat(asked.gray[:, :, None], 3, 2)
    tiles = [_captioned(_outlined(gray, asked.mask), ["image", "", ""])]
    tiles += [
        _captioned(_outlined(_overlay(gray, each), asked.mask), [each.finding, *_numbers(each).split(";")])
        for each in asked.answers
    ]
    blank = np.full_like(tiles[0], _PAPER)
    columns = min(COLUMNS, len(tiles))
    tiles += [blank] * (-len(tiles) % columns)
    rows = [_beside(tiles[k : k + columns]) for k in range(0, len(tiles), columns)]
    body = np.concatenate([part for row in rows for part in (row, _paper(_GAP, row.shape[1]))][:-1])
    bar = _bar(gray.shape[0], body.shape[0])
    return _framed(_beside([body, bar]), ["One image, asked for several findings"], asked)


def overlaid(asked: Asked, answer: Answer) -> Colour:
    """Return the image with the heat map of one finding on it, and the outline of the reference where there is one."""
    return _outlined(_overlay(np.repeat(asked.gray[:, :, None], 3, 2), answer), asked.mask)


def _numbers(answer: Answer) -> str:
    threshold = "no threshold" if answer.called is None else f"threshold {answer.threshold:.3f}"
    verdict = {None: "", True: ": called", False: ": not called"}[answer.called]
    note = " - nothing speaks for it" if answer.empty else ""
    return f"logit {answer.logit:+.2f}, probability {answer.probability:.3f};{threshold}{verdict}{note}"


def _scaled(answer: Answer) -> NDArray[np.float32]:
    """Return the map with largest value 1; an empty one stays zero."""
    largest = float(answer.heat.max())
    return answer.heat / largest if largest > 0 else np.zeros_like(answer.heat)


def _coloured(answer: Answer) -> Colour:
    return np.asarray(cv2.applyColorMap((255 * _scaled(answer) + 0.5).astype(np.uint8), cv2.COLORMAP_VIRIDIS), np.uint8)


def _overlay(gray: Colour, answer: Answer) -> Colour:
    """Return the image with the map on it, the more opaque the hotter."""
    weight = OPAQUE * _scaled(answer)[:, :, None]
    return (gray * (1 - weight) + _coloured(answer) * weight + 0.5).astype(np.uint8)


def _outlined(view: Colour, mask: Gray | None, filled: bool = False) -> Colour:
    """Return a view with the outline of the reference, and a light tint inside where it is `filled`."""
    drawn = view.copy()
    if mask is None:
        return drawn
    if filled:
        inside = mask > 0
        drawn[inside] = (0.75 * drawn[inside] + 0.25 * np.array(LINE)).astype(np.uint8)
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, outlines, -1, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.drawContours(drawn, outlines, -1, LINE, 2, cv2.LINE_AA)
    return drawn


def _bar(side: int, height: int) -> Colour:
    """Return the colour scale of a map, as tall as a view."""
    bar = _paper(height, 62)
    levels = np.linspace(255, 0, side).round().astype(np.uint8)[:, None]
    bar[_TEXT : _TEXT + side, :18] = cv2.applyColorMap(np.repeat(levels, 18, 1), cv2.COLORMAP_VIRIDIS)
    for text, at in (("largest", _TEXT + 10), ("none", _TEXT + side - 2)):
        cv2.putText(bar, text, (22, at), cv2.FONT_HERSHEY_SIMPLEX, 0.34, _INK, 1, cv2.LINE_AA)
    return bar


def _captioned(view: Colour, lines: Sequence[str]) -> Colour:
    """Return a view with lines of text above it."""
    head = _paper(_TEXT * len(lines), view.shape[1])
    for k, line in enumerate(lines):
        _write(head, line, (0, _TEXT * k + 14), 0.45, _INK if k == 0 else _FAINT)
    return np.concatenate([head, view])


def _framed(body: Colour, title: Sequence[str], asked: Asked) -> Colour:
    """Return a picture with its title above, its origin and the warning below."""
    notes = [
        f"{asked.image}, as shown to {asked.run} ({asked.seen} x {asked.seen} pixels)",
        f"{asked.method} of {asked.maps} maps; each map in its own scale; it shows where evidence lies, not how far a disease reaches",
        WARNING,
    ]
    width = max(body.shape[1], 620)
    body = np.concatenate([body, _paper(body.shape[0], width - body.shape[1])], 1)
    head, foot = _paper(24 * len(title) + 8, width), _paper(_TEXT * len(notes) + 8, width)
    for k, line in enumerate(title):
        _write(head, line.replace(";", ", "), (0, 24 * k + 18), 0.65 if k == 0 else 0.5, _INK)
    for k, line in enumerate(notes):
        _write(foot, line, (0, _TEXT * k + 20), 0.42, _INK if line == WARNING else _FAINT)
    whole = np.concatenate([head, body, foot])
    return np.asarray(
        cv2.copyMakeBorder(
            whole, _MARGIN, _MARGIN, _MARGIN, _MARGIN, cv2.BORDER_CONSTANT, value=(_PAPER, _PAPER, _PAPER)
        ),
        np.uint8,
    )


def _write(on: Colour, text: str, at: tuple[int, int], scale: float, ink: tuple[int, int, int]) -> None:
    """Write a line, smaller where it would not fit; OpenCV's letters are ASCII, others become question marks."""
    plain = "".join(c if " " <= c <= "~" else "?" for c in text)
    (width, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    room = on.shape[1] - at[0]
    cv2.putText(on, plain, at, cv2.FONT_HERSHEY_SIMPLEX, scale * min(1.0, room / max(width, 1)), ink, 1, cv2.LINE_AA)


def _beside(tiles: Sequence[Colour]) -> Colour:
    """Return tiles of one height in a row, with gaps."""
    gap = _paper(tiles[0].shape[0], _GAP)
    return np.concatenate([part for tile in tiles for part in (tile, gap)][:-1], 1)


def _paper(height: int, width: int) -> Colour:
    return np.full((height, width, 3), _PAPER, np.uint8)
