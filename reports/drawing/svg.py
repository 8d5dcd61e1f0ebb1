"""Draw small figures as inline SVG: marks, axes, and strips (figures in one row of a table).

All positions and sizes are in pixels; y grows downward. `css` is the CSS class of a mark: marks have no style
attributes, because the page's security policy forbids them. This module formats all numbers and escapes all texts, so
its results may be marked as safe HTML.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from markupsafe import Markup, escape

from reports.formatting import is_number, places
from reports.report_data.headline_rows import Estimate

SHAPES = {  # architecture family -> shape of its mark, for readers who cannot distinguish the colors
    "classic": "circle",
    "modern": "square",
    "attention": "triangle",
    "other": "diamond",
    "efficient": "triangle-down",
    "lightweight": "pentagon",
    "scratch": "cross",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from the values `low` to `high` to the pixels `start` to `end`; other values are clipped."""

    low: float  # value at the pixel position `start`
    high: float  # value at the pixel position `end`
    start: float
    end: float

    @classmethod
    def of_areas(cls, estimates: Sequence[Estimate], width: float) -> Self:
        """Return the scale of a column of strips, each with the interval of an area (0 to 1); `width` of a strip in px."""
        ends = [v for e in estimates for v in (e.value, e.low, e.high) if is_number(v)] or [0.5, 1.0]
        return cls(max(0.0, min(ends) - 0.01), min(1.0, max(ends) + 0.01), 6, width - 6)

    def __call__(self, value: float) -> float:
        """Return the pixel position of a value."""
        share = (value - self.low) / (self.high - self.low or 1.0)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def ticks(low: float, high: float, at_most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high` with equal distances, about `at_most` of them, for the ticks of an axis.

    >>> ticks(0.62, 0.9)
    [0.65, 0.7, 0.75, 0.8, 0.85, 0.9]
    """
    width = max(high - low, 1e-9)
    power = 10.0 ** math.floor(math.log10(width / at_most))
    step = next(power * m for m in (1, 2, 5, 10, 20) if width / (power * m) <= at_most)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 10) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """Format the number of a tick with as many decimals as the `ticks` of its axis need; zero becomes "0".

    >>> tick_text(0.05, [0, 0.05]), tick_text(0.0, [0]), tick_text(0.5, [0, 0.5])
    ('.05', '0', '.5')
    """
    if value == 0:
        return "0"
    digits = max(len(f"{v:.10f}".rstrip("0").partition(".")[2]) for v in ticks)
    return f"{value:.0f}" if digits == 0 else places(value, digits).removesuffix("." + "0" * digits)


def svg(width: float, height: float, body: str, label: str = "", css: str = "ch") -> Markup:
    """Wrap marks (`body`) in an SVG element of class `css`; width and height in px.

    Screen readers read the label; without a label, the element is hidden from them.
    """
    role = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'
    size = f'viewBox="0 0 {number(width)} {number(height)}" width="{number(width)}" height="{number(height)}"'
    return Markup(f'<svg class="{css}" {size} {role}>{body}</svg>')  # noqa: S704


def number(value: float) -> str:
    """Format a coordinate in pixels with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    """Draw a straight line from (x1, y1) to (x2, y2), as a path: a page of 500 runs has 8,000 lines, and a path is shorter."""
    x, y = number(x2), number(y2)
    end = f"V{y}" if x == number(x1) else f"H{x}" if y == number(y1) else f"L{x} {y}"
    return f'<path d="M{number(x1)} {number(y1)}{end}" class="{css}"/>'


def circle(x: float, y: float, radius: float, css: str) -> str:
    """Draw a dot with its center at (x, y)."""
    return f'<circle cx="{number(x)}" cy="{number(y)}" r="{radius}" class="{css}"/>'


def dots(points: Sequence[tuple[float, float]], css: str) -> str:
    """Draw equal dots at these points (x, y) as one path; return "" without points.

    Each dot is a line of length zero with round ends. Circles would need five times as many bytes.
    """
    path = "".join(f"M{number(x)} {number(y)}h0" for x, y in points)
    return f'<path d="{path}" class="{css}"/>' if path else ""


def named_dots(points: Sequence[tuple[float, float, str]], css: str) -> str:
    """Draw dots (x, y, name); a browser shows the name of the dot under the pointer. The names are escaped.

    >>> named_dots([(1, 2, "A & B")], "sw")
    '<g class="sw"><path d="M1 2h0"><title>A &amp; B</title></path></g>'
    """
    paths = "".join(
        f'<path d="M{number(x)} {number(y)}h0"><title>{escape(name)}</title></path>' for x, y, name in points
    )
    return f'<g class="{css}">{paths}</g>' if paths else ""


def polyline(points: Sequence[tuple[float, float]], css: str) -> str:
    """Draw a line through the points (x, y); there must be at least one point.

    The path has relative coordinates with one decimal, which saves two thirds of the bytes.
    """
    tenths = [(round(10 * x), round(10 * y)) for x, y in points]
    steps = [(x1 - x0, y1 - y0) for (x0, y0), (x1, y1) in pairwise(tenths)]
    path = "".join(f"l{number(dx / 10)} {number(dy / 10)}" for dx, dy in steps if dx or dy)
    return f'<path d="M{number(tenths[0][0] / 10)} {number(tenths[0][1] / 10)}{path}" class="{css}"/>'


def band(points: Sequence[tuple[float, float, float]], css: str) -> str:
    """Draw the area between two lines; a point is (x, y of the one line, y of the other). Return "" for fewer than two points.

    >>> band([(0, 1, 2), (5, 1, 3)], "bd")
    '<path d="M0 1L5 1L5 3L0 2z" class="bd"/>'
    """
    corners = [(x, y) for x, y, _ in points] + [(x, y) for x, _, y in reversed(points)]
    path = "L".join(f"{number(x)} {number(y)}" for x, y in corners)
    return f'<path d="M{path}z" class="{css}"/>' if len(points) > 1 else ""


def diamond(x: float, y: float, radius: float, css: str) -> str:
    """Draw a diamond with its center at (x, y); `radius`: distance from the center to each corner."""
    r = number(radius)
    return f'<path d="M{number(x)} {number(y - radius)}l{r} {r}l-{r} {r}l-{r} -{r}z" class="{css}"/>'


def rect(x: float, y: float, width: float, height: float, css: str) -> str:
    """Draw a rectangle with its upper left corner at (x, y); a negative width counts as 0."""
    return f'<rect x="{number(x)}" y="{number(y)}" width="{number(max(width, 0))}" height="{number(height)}" class="{css}"/>'


def text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    """Draw the text `words`; `anchor` states which part of the text is at (x, y): start, middle or end."""
    return f'<text x="{number(x)}" y="{number(y)}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def swarm(values: Sequence[float], scale: Callable[[float], float], gap: float = 5.5) -> list[tuple[float, int]]:
    """Return the position (x in px, lane) of each value's dot, in the order of `values`, so that dots do not overlap.

    A lane is a row of dots; there are 11 lanes, from -5 to 5. A dot gets the lane nearest to 0 in which the previous dot
    is at least `gap` pixels away. If there is no such lane, dots overlap in lane 0.
    """
    lanes: dict[int, float] = {}
    placed: dict[int, tuple[float, int]] = {}
    for i in sorted(range(len(values)), key=lambda k: values[k]):
        x = scale(values[i])
        order = sorted(range(-5, 6), key=lambda lane: (abs(lane), -lane))
        lane = next((q for q in order if x - lanes.get(q, -1e9) >= gap), 0)
        lanes[lane] = x
        placed[i] = (x, lane)
    return [placed[i] for i in range(len(values))]


def intervals(estimate: Estimate, scale: Scale, y: float) -> str:
    """Draw the intervals of an estimate: its own interval as a thick line, the simultaneous interval as a thin line."""
    if not estimate.has_interval:
        return ""
    thin = line(scale(estimate.all_low), y, scale(estimate.all_high), y, "thin") if estimate.is_compared else ""
    return thin + line(scale(estimate.low), y, scale(estimate.high), y, "iv")


def marked(estimate: Estimate, scale: Scale, y: float, radius: float) -> str:
    """Draw an estimate as a dot with its intervals; the dot is filled if the difference of the estimate from 0 is clear."""
    return intervals(estimate, scale, y) + circle(
        scale(estimate.value), y, radius, "dot" if estimate.clear else "dot o"
    )


def grid_lines(scale: Scale, grid: Sequence[float], height: float, reference: float = 0.0) -> str:
    """Draw a vertical line from y = 0 to `height` at each value of `grid`; the line at the value `reference` is stronger."""
    return "".join(line(scale(t), 0, scale(t), height, "z" if t == reference else "g") for t in grid)


def tick_axis(scale: Scale, grid: Sequence[float]) -> Markup:
    """Draw the tick numbers at the values of `grid`, for the head of a table column of figures."""
    body = "".join(text(scale(t), 11, tick_text(t, grid), "tk", "middle") for t in grid)
    return svg(scale.end + scale.start, 14, body)


def difference_axis(differences: Sequence[Estimate], width: float) -> tuple[Scale, list[float]]:
    """Return an axis with 0 and with the bounds of all differences, and the values at its grid lines."""
    ends = [0.0, *(v for e in differences for v in (e.value, *e.bounds) if is_number(v))]
    margin = 0.03 * (max(ends) - min(ends)) + 0.002
    scale = Scale(min(ends) - margin, max(ends) + margin, 6, width - 6)
    return scale, ticks(scale.low, scale.high, 5)


def difference_mark(difference: Estimate, scale: Scale, grid: Sequence[float], height: float) -> Markup:
    """Draw one difference as a dot with its intervals on an axis with grid lines, for one row of a table."""
    body = grid_lines(scale, grid, height) + marked(difference, scale, height / 2, 3.4)
    return svg(scale.end + scale.start, height, body, difference.with_interval, "st")


def strip_grid(scale: Scale, grid: Sequence[float]) -> Markup:
    """Return an invisible element with the vertical grid lines at the values of `grid`, which all strips of the page repeat."""
    path = f'<path id="strip-grid" d="{"".join(f"M{number(scale(t))} 0v34" for t in grid)}" class="g"/>'
    return Markup(f'<svg class="vh" width="0" height="0" aria-hidden="true"><defs>{path}</defs></svg>')  # noqa: S704


def strip(worst: Estimate, external: Estimate, internal: Estimate, scale: Scale, seeds: Sequence[float] = ()) -> Markup:
    """Draw three AUROCs of a recipe as dots on one axis: worst hospital, external mean and internal hospital.

    The grid lines are from `strip_grid`, which the page contains once. `seeds`: external AUROC of each run of the recipe,
    drawn as small marks below the axis. Screen readers skip the strip, because the cells of the table row contain the same
    numbers.
    """
    y, height = 17.0, 34.0
    body = '<use href="#strip-grid"/>'
    available = [e for e in (worst, external, internal) if e.has_value]
    if available:
        body += line(scale(min(e.value for e in available)), y, scale(max(e.value for e in available)), y, "span")
    for estimate, css in ((worst, "i-wst"), (internal, "i-int"), (external, "i-ext")):
        if estimate.has_interval:
            body += line(scale(estimate.low), y, scale(estimate.high), y, css)
    if worst.has_value:
        body += diamond(scale(worst.value), y, 4.6, "m-wst")
    if internal.has_value:
        body += circle(scale(internal.value), y, 4, "m-int")
    if external.has_value:
        body += circle(scale(external.value), y, 4.6, "m-ext")
    body += dots([(scale(value), y + 11) for value in seeds], "sd")
    return svg(scale.end + scale.start, height, body, "", "st")


def axis(scale: Scale, grid: Sequence[float]) -> Markup:
    """Draw the axis of `strip` with a tick number at each value of `grid`, for the head of the table column."""
    body = "".join(
        line(scale(t), 13, scale(t), 18, "z") + text(scale(t), 10, tick_text(t, grid), "tk", "middle") for t in grid
    )
    return svg(scale.end + scale.start, 18, body)


def micro(estimate: Estimate, low: float, high: float, mark: float, width: float = 64) -> Markup:
    """Draw one estimate with its intervals on an axis from `low` to `high`.

    `mark`: value of a reference line (0, or chance); the dot is hollow if the interval contains this value.
    """
    scale = Scale(low, high, 3, width - 3)
    body = line(scale(mark), 0, scale(mark), 10, "z")
    body += intervals(estimate, scale, 5)
    low, high = estimate.bounds
    hollow = estimate.has_interval and low <= mark <= high
    body += circle(scale(estimate.value), 5, 3, "dot o" if hollow else "dot")
    return svg(width, 10, body, "", "mi")


def micro_axis(low: float, high: float, width: float = 64) -> Markup:
    """Draw a few tick numbers of the axis of `micro`, for the head of the table column."""
    scale = Scale(low, high, 3, width - 3)
    body = ""
    grid = next(grid for grid in (ticks(low, high, n) for n in range(2, 6)) if len(grid) > 1)  # one number is no scale
    for t in grid:
        label = tick_text(t, grid)
        half = 3 * len(label)  # half of the label's width in pixels; the next column would cover a label beyond the end
        at = min(max(scale(t), half), width - half)
        body += line(scale(t), 12, scale(t), 16, "z") + text(at, 10, label, "tk", "middle")
    return svg(width, 16, body)


def rank_bar(low: float, high: float, mean: float, total: int, width: float = 76) -> Markup:
    """Draw the rank interval (`low` to `high`) and the mean rank of a recipe on an axis from 1 to `total`."""
    scale = Scale(1, max(total, 2), 2, width - 2)
    body = rect(scale(low) - 1.5, 2, scale(high) - scale(low) + 3, 5, "bar2")
    return svg(width, 9, body + rect(scale(mean) - 1, 0, 2, 9, "dot"), "", "mi")
