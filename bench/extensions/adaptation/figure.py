"""Curves of a difference by a number on a logarithmic axis."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import integer, is_number
from reports.report_data.headline_rows import Estimate

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 440.0, 260.0, 34.0, 38.0, 8.0  # px: size and margins
Curve = Sequence[tuple[float, Estimate]]


def log_curves(curves: Sequence[Curve], axis: str, label: str) -> Markup:
    """Draw curves with bands of 95 % intervals, and the line at 0. axis: name of the number."""
    points = [point for curve in curves for point in curve]
    ends = [v for _, e in points for v in (e.value, e.low, e.high) if is_number(v)]
    numbers = sorted({n for n, _ in points})
    x = svg.Scale(math.log(numbers[0]), math.log(numbers[-1]), LEFT + 10, WIDTH - 14)
    y = svg.Scale(min(*ends, 0.0) - 0.01, max(*ends, 0.0) + 0.01, HEIGHT - BOTTOM, TOP)
    grid = svg.ticks(y.low, y.high, 5)
    body = "".join(
        svg.line(LEFT, y(t), WIDTH - 8, y(t), "z" if t == 0 else "g")
        + svg.text(LEFT - 6, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    body += "".join(svg.text(x(math.log(n)), HEIGHT - BOTTOM + 16, integer(n), "tk", "middle") for n in numbers)
    body += svg.text(WIDTH - 8, HEIGHT - 4, f"{axis} \u2192", "tk", "end")
    for k, curve in reversed(list(enumerate(curves))):
        at = [(x(math.log(n)), e) for n, e in curve]
        body += f'<g class="le{k}">{svg.band([(px, y(e.low), y(e.high)) for px, e in at], "le-b")}'
        body += svg.polyline([(px, y(e.value)) for px, e in at], "le-l")
        body += "".join(svg.circle(px, y(e.value), 3, "le-d") for px, e in at) + "</g>"
    return svg.svg(WIDTH, HEIGHT, body, label)


def key(k: int) -> Markup:
    """Draw the mark of a curve for the legend."""
    body = f'<g class="le{k}">{svg.line(0, 6, 18, 6, "le-l")}{svg.circle(9, 6, 3, "le-d")}</g>'
    return svg.svg(18, 12, body, "", "ky")
