"""Draw the figures of the cohort page as inline SVG. Text is 12 px high at the natural width of a figure."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from reports.drawing import svg
from reports.formatting import percent

WIDTH = 300.0  # natural width of a small figure in px; the page scales figures to the width of a column
_EDGES = (0.05, 0.10, 0.20, 0.30, 0.40, 0.50, 0.60)  # shares at which color steps 1 to 7 begin; step 0 begins at 0
# label state -> CSS class of its color
STATE_CSS = {"present": "dot", "uncertain": "s-unc", "absent": "s-abs", "not_mentioned": "s-not", "unmapped": "s-unm"}


def bar(part: float, total: float, css: str = "bar1", width: float = 150) -> Markup:
    """Draw part / total as a bar of at most `width` px."""
    share = part / total if total else 0.0
    long = max(width * share, 1.0 if part else 0.0)
    return svg.svg(width, 10, svg.rect(0, 0, width, 10, "bar0") + svg.rect(0, 0, long, 10, css), "", "mi")


def stacked(counts: Mapping[str, int], css: Mapping[str, str], width: float = 150) -> Markup:
    """Draw the shares of the counts as a stacked bar, in the order of `css`. css: name of a count -> CSS class."""
    total = sum(counts.get(name, 0) for name in css)
    body, x = "", 0.0
    for name, css_class in css.items():
        long = width * counts.get(name, 0) / total if total else 0.0
        body += svg.rect(x, 0, long, 10, css_class) if long else ""
        x += long
    return svg.svg(width, 10, body, "", "mi")


def swatch(css: str) -> Markup:
    """Draw the colored box of a legend entry."""
    return svg.svg(12, 10, svg.rect(0, 0, 12, 10, css), "", "mi")


def step(share: float) -> int:
    """Return the color step, 0 to 7, of a share.

    >>> step(0.0), step(0.05), step(0.35), step(1.0)
    (0, 1, 4, 7)
    """
    return sum(share >= edge for edge in _EDGES)


def heat(names: Sequence[str], shares: Mapping[tuple[str, str], float | None], label: str) -> Markup:
    """Draw a colored table of shares; names: findings of the rows and columns.

    shares: (row, column) -> among the images with the row's finding, the share that also has the column's finding. The
    share is None if too few images have the row's finding. The pair is missing if a finding is not labeled.
    """
    x_start, y_start = 104.0, 98.0
    cell = min(22.0, (WIDTH - x_start) / max(1, len(names)))
    body = "".join(_upright(x_start + (j + 0.5) * cell + 4, y_start - 6, name) for j, name in enumerate(names))
    for i, row in enumerate(names):
        y = y_start + i * cell
        body += svg.text(x_start - 7, y + cell / 2 + 4, _short(row), "lb", "end")
        for j, column in enumerate(names):
            x = x_start + j * cell
            if i == j or (row, column) not in shares:
                continue
            share = shares[row, column]
            if share is None:
                body += svg.text(x + cell / 2, y + cell / 2 + 4, "·", "tk", "middle")
                continue
            level = step(share)
            body += svg.rect(x + 0.5, y + 0.5, cell - 1, cell - 1, f"c{level}")
            body += svg.text(x + cell / 2, y + cell / 2 + 4, f"{100 * share:.0f}", f"n{level}", "middle")
    return svg.svg(WIDTH, y_start + cell * len(names), body, label)


def _upright(x: float, y: float, words: str) -> str:
    transform = f"translate({svg.number(x)} {svg.number(y)}) rotate(-90)"
    return svg.text(0, 0, _short(words), "lb").replace("<text ", f'<text transform="{transform}" ', 1)


def _short(words: str) -> str:
    return words if len(words) <= 16 else words[:15] + "…"


def columns(
    shares: Sequence[float], names: Sequence[str], top: float, label: str, reference: Sequence[float] = ()
) -> Markup:
    """Draw shares as columns on an axis from 0 to `top`, with their names, and other shares (`reference`) as a line.

    Every second name is left out to save space. `label`: text for screen readers.
    """
    height, base, x_start = 132.0, 108.0, 34.0
    up = svg.Scale(0, top, base, 8)
    wide = (WIDTH - x_start) / max(1, len(shares))
    grid = svg.ticks(0, top, 3)
    body = "".join(
        svg.line(x_start, up(t), WIDTH, up(t), "ax" if t == 0 else "g")
        + svg.text(x_start - 6, up(t) + 4, percent(t, 1), "tk", "end")
        for t in grid
    )
    for k, (share, name) in enumerate(zip(shares, names, strict=True)):
        x = x_start + k * wide
        body += svg.rect(x + 1, up(share), wide - 2, base - up(share), "bar1") if share else ""
        body += svg.text(x, height - 8, name, "tk", "middle") if k % 2 == 0 else ""
    return svg.svg(WIDTH, height, body + _line(reference, x_start + wide / 2, wide, up), label)


def curve(shares: NDArray[np.float64], reference: NDArray[np.float64], top: float, label: str) -> Markup:
    """Draw a histogram of gray values (0 to 255, black at the left) as an area, and `reference` as a line.

    shares, reference: share of pixels in each bin. top: share at the upper end of the y axis.
    """
    height, base, x_start = 128.0, 100.0, 4.0
    up = svg.Scale(0, top, base, 6)
    wide = (WIDTH - 2 * x_start) / len(shares)
    edge = "".join(
        f"V{svg.number(up(float(share)))}H{svg.number(x_start + (k + 1) * wide)}" for k, share in enumerate(shares)
    )
    body = f'<path d="M{svg.number(x_start)} {svg.number(base)}{edge}V{svg.number(base)}z" class="area"/>'
    body += _line([float(v) for v in reference], x_start + wide / 2, wide, up)
    body += svg.line(x_start, base, WIDTH - x_start, base, "ax")
    across = svg.Scale(0, 255, x_start, WIDTH - x_start)
    for value in (0, 64, 128, 192, 255):
        anchor = "start" if value == 0 else "end" if value == 255 else "middle"
        body += svg.line(across(value), base, across(value), base + 4, "ax")
        body += svg.text(across(value), height - 10, str(value), "tk", anchor)
    return svg.svg(WIDTH, height, body, label)


def _line(values: Sequence[float], start: float, wide: float, up: svg.Scale) -> str:
    points = [f"{svg.number(start + k * wide)} {svg.number(up(v))}" for k, v in enumerate(values)]
    return f'<path d="M{"L".join(points)}" class="all"/>' if points else ""


def scatter(width: Sequence[float], height: Sequence[float], largest: float, label: str) -> Markup:
    """Draw one dot per image, its width on the x axis and its height on the y axis, both in pixels.

    Both axes end at `largest`. Square images lie on the diagonal line. `label`: text for screen readers.
    """
    tall, x_start, base = 252.0, 44.0, 220.0
    across, up = svg.Scale(0, largest, x_start, WIDTH - 8), svg.Scale(0, largest, base, 8)
    grid = svg.ticks(0, largest, 4)
    body = "".join(
        svg.line(x_start, up(t), WIDTH - 8, up(t), "ax" if t == 0 else "g")
        + svg.text(x_start - 6, up(t) + 4, f"{t:.0f}", "tk", "end")
        + svg.text(across(t), base + 17, f"{t:.0f}", "tk", "middle")
        for t in grid
    )
    body += svg.line(across(0), up(0), across(largest), up(largest), "diag")
    return svg.svg(
        WIDTH, tall, body + svg.dots([(across(w), up(h)) for w, h in zip(width, height, strict=True)], "sw"), label
    )


AGE = svg.Scale(0, 100, 8, 252)  # from ages in years to px
AGE_TICKS = (0.0, 20.0, 40.0, 60.0, 80.0, 100.0)


def quartiles(low: float, median: float, high: float) -> Markup:
    """Draw the quartiles of age in years: a line from the lower to the upper quartile, and a dot at the median."""
    grid = "".join(svg.line(AGE(t), 0, AGE(t), 22, "g") for t in AGE_TICKS)
    return svg.svg(
        260,
        22,
        grid + svg.line(AGE(low), 11, AGE(high), 11, "i-ext") + svg.circle(AGE(median), 11, 4.4, "m-ext"),
        "",
        "st",
    )


def age_axis() -> Markup:
    """Draw the tick numbers of the axis of `quartiles`."""
    body = "".join(svg.text(AGE(t), 11, f"{t:.0f}", "tk", "middle") for t in AGE_TICKS)
    return svg.svg(260, 14, body)
