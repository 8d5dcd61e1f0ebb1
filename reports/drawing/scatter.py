"""Draw scatter charts of recipes as inline SVG: a mark for each recipe, intervals, lines, and names of a few recipes.

Color and shape of a mark depend on the architecture family. A browser shows the title of a mark (name and numbers)
under the pointer, and a click opens the details of the recipe. The same numbers are in a table below each chart.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from markupsafe import Markup, escape

from reports.drawing import svg
from reports.report_data.headline_rows import Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import ReportData

CROSSES = 60  # maximum number of recipes whose intervals are drawn; more intervals would hide the marks
MARKS = {  # shape of a mark in `svg.SHAPES` -> its path in a square of 12 x 12 px
    "circle": "M6 1.8a4.2 4.2 0 1 0 .001 0z",
    "square": "M2 2h8v8h-8z",
    "triangle": "M6 1.2l5 9h-10z",
    "diamond": "M6 .8l5.2 5.2l-5.2 5.2l-5.2 -5.2z",
    "triangle-down": "M6 10.8l5 -9h-10z",
    "pentagon": "M6 1l5 3.8l-1.9 6h-6.2l-1.9 -6z",
    "cross": "M4.4 1h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z",
}
# px: width and height of a chart on a wide screen and on a phone; its margins
WIDE, PHONE = (520.0, 330.0), (328.0, 300.0)
LEFT, RIGHT, TOP, BOTTOM = 38.0, 10.0, 20.0, 42.0

Box = tuple[float, float, float, float]  # left, right, top and bottom of a rectangle, px


class Spot(NamedTuple):
    """A recipe on a chart. words: its numbers in words; filled: whether the mark is filled, and not hollow."""

    run: Run
    x: Estimate
    y: Estimate
    words: str
    filled: bool = True


class Axis(NamedTuple):
    """An axis from `low` to `high`; ticks: positions and texts."""

    title: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    @classmethod
    def between(cls, title: str, low: float, high: float) -> Self:
        """Return an axis with at most six ticks at round numbers."""
        grid = svg.ticks(low, high, 6)
        return cls(title, low, high, [(tick, svg.tick_text(tick, grid)) for tick in grid])

    @classmethod
    def of(cls, title: str, estimates: Sequence[Estimate]) -> Self:
        """Return an axis that contains all values, and the intervals if they are drawn."""
        return cls.between(title, *_range(estimates))

    @classmethod
    def log(cls, title: str, values: Sequence[float]) -> Self:
        """Return an axis for the decimal logarithms of values above 0; ticks are at 1, 2 and 5 times powers of ten.

        Of ten and more ticks, only every third is drawn.
        """
        low, high = min(values) / 1.6, max(values) * 1.6  # with room for the outer marks
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [m * 10.0**e for e in powers for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        shown = ticks[:: 1 if len(ticks) < 10 else 3]
        return cls(title, math.log10(low), math.log10(high), [(math.log10(t), f"{t:g}") for t in shown])


def families(runs: Sequence[Run]) -> list[tuple[str, Markup]]:
    """Return the legend: pairs (family, its mark as SVG) for each architecture family of these runs."""
    order = {family: k for k, family in enumerate(svg.SHAPES)}
    names = sorted({run.family for run in runs if run.family}, key=lambda name: (order.get(name, len(order)), name))
    return [(name, svg.svg(12, 12, f'<path d="{_shape(name)}" class="{_css(name)}"/>', "", "ky")) for name in names]


class Line(NamedTuple):
    """A line on a chart: its points (x, y) in the units of the axes, its CSS class, and a name at its end."""

    points: Sequence[tuple[float, float]]
    css: str
    name: str = ""


def internal_against_external(data: ReportData, runs: Sequence[Run], label: str) -> Markup:
    """Draw internal AUROC (x) against external AUROC (y), on shared findings. On the dashed line, both are equal."""
    spots = [
        Spot(
            r,
            r.internal_common,
            r.external_common,
            f"internal {r.internal_common.with_interval}\nexternal {r.external_common.with_interval}",
        )
        for r in runs
    ]
    x = Axis.of("internal AUROC →", [spot.x for spot in spots])
    low, high = _range([spot.y for spot in spots])
    # the y axis contains the upper end of the x axis, so that a part of the diagonal is visible
    y = Axis.between("↑ external AUROC", min(low, x.high), max(high, x.high))
    start, end = max(x.low, y.low), min(x.high, y.high)
    fitted = [(a, b) for a, b in _fitted(data, runs) if y.low <= b <= y.high]
    lines = (Line([(start, start), (end, end)], "diag", "no gap"), Line(fitted, "fit"))
    return Chart(label, spots, x, y, lines).drawn(_extreme(spots))


def _fitted(data: ReportData, runs: Sequence[Run]) -> Sequence[tuple[float, float]]:
    """Return points of the line that predicts external from internal AUROC, straight on the logit scale; () if none was fitted."""
    table = data.tables["robustness"]
    line = table[table["dataset"] == "external"]
    low, high = (pick(run.internal_common.value for run in runs) for pick in (min, max))
    if not len(line) or not 0 < low < high < 1:
        return ()
    slope, intercept = float(line["slope"].iloc[0]), float(line["intercept"].iloc[0])
    xs = [low + (high - low) * k / 20 for k in range(21)]
    return [(x, 1 / (1 + math.exp(-(slope * math.log(x / (1 - x)) + intercept)))) for x in xs]


def against_gap(runs: Sequence[Run], scores: Sequence[Estimate], name: str, title: str, label: str) -> Markup:
    """Draw a score of each run (x) against its gap in AUROC (y). name: short name of the score; title: title of its axis."""
    spots = [
        Spot(run, score, run.gap, f"{name} {score.with_interval}\ngap {run.gap.with_interval}")
        for run, score in zip(runs, scores, strict=True)
    ]
    low, high = _range([run.gap for run in runs])
    x = Axis.of(title, scores)
    y = Axis.between("↑ generalization gap, AUROC", min(low, 0.0), max(high, 0.0))
    return Chart(label, spots, x, y, (Line([(x.low, 0.0), (x.high, 0.0)], "ax"),)).drawn(_extreme(spots))


@dataclass(frozen=True, slots=True)
class Chart:
    """A scatter chart. label: what a screen reader says."""

    label: str
    spots: Sequence[Spot]
    x: Axis
    y: Axis
    lines: Sequence[Line] = ()

    def drawn(self, named: Collection[Run]) -> Markup:
        """Draw the chart twice, for wide screens and for phones; `named` runs have a name beside their mark."""
        ids = {run.id for run in named}
        return self._drawn(ids, *WIDE, "ch wide") + self._drawn(ids, *PHONE, "ch narrow")

    def _drawn(self, named: Collection[str], width: float, height: float, css: str) -> Markup:
        x = svg.Scale(self.x.low, self.x.high, LEFT, width - RIGHT)
        y = svg.Scale(self.y.low, self.y.high, height - BOTTOM, TOP)
        body = svg.text(0, 10, self.y.title, "tk") + svg.text(width - RIGHT, height - 4, self.x.title, "tk", "end")
        for tick, text in self.y.ticks:
            body += svg.line(LEFT, y(tick), width - RIGHT, y(tick), "g")
            body += svg.text(LEFT - 6, y(tick) + 4, text, "tk", "end")
        for tick, text in self.x.ticks:
            body += svg.text(x(tick), height - BOTTOM + 16, text, "tk", "middle")
        for line in self.lines:
            points = [(x(a), y(b)) for a, b in line.points]
            if points:
                body += svg.polyline(points, line.css)
            if line.name:
                body += svg.text(points[-1][0] - 16, points[-1][1] + 10, line.name, "tk halo", "end")
        is_large = len(self.spots) <= CROSSES
        marks = [(x(spot.x.value), y(spot.y.value)) for spot in self.spots]
        for spot, (at_x, at_y) in zip(self.spots, marks, strict=True):
            if is_large and spot.x.has_interval:
                body += svg.line(x(spot.x.low), at_y, x(spot.x.high), at_y, "er")
            if is_large and spot.y.has_interval:
                body += svg.line(at_x, y(spot.y.low), at_x, y(spot.y.high), "er")
        for spot, at in zip(self.spots, marks, strict=True):
            body += _mark(spot, at, 1.0 if is_large else 0.6)
        names = [(at, spot.run.label) for spot, at in zip(self.spots, marks, strict=True) if spot.run.id in named]
        inside = (LEFT, width, TOP - 6, height - BOTTOM)
        body += "".join(_names(sorted(names, key=lambda name: name[0][1]), marks, inside))
        return svg.svg(width, height, body, self.label, css)


def _mark(spot: Spot, at: tuple[float, float], size: float) -> str:
    """Draw the mark of a recipe; `size` is its scale, 1 for 12 px."""
    place = f"translate({svg.number(at[0] - 6 * size)} {svg.number(at[1] - 6 * size)})"
    place += "" if size == 1 else f" scale({size})"
    css = _css(spot.run.family) + ("" if spot.filled else " o")
    title = escape(f"{spot.run.label}\n{spot.words}")
    return f'<path d="{_shape(spot.run.family)}" transform="{place}" class="{css}" data-run="{spot.run.anchor}"><title>{title}</title></path>'


def _names(
    names: Sequence[tuple[tuple[float, float], str]], marks: Sequence[tuple[float, float]], inside: Box
) -> Iterator[str]:
    """Draw each name beside its mark, where it covers no mark and no other name; without such a place, the name is left out."""
    taken: list[Box] = [(x - 7, x + 7, y - 7, y + 7) for x, y in marks]
    for (x, y), name in names:
        long = 6.9 * len(name)
        places = [(left, left + long, top, top + 15) for top in (y - 19, y + 4) for left in (x + 8, x - 8 - long)]
        free = (box for box in places if _contains(inside, box) and not any(_meet(box, other) for other in taken))
        if box := next(free, None):
            taken.append(box)
            yield svg.text(box[0], box[2] + 12, name, "lb halo")


def _contains(outer: Box, box: Box) -> bool:
    return outer[0] <= box[0] and box[1] <= outer[1] and outer[2] <= box[2] and box[3] <= outer[3]


def _meet(box: Box, other: Box) -> bool:
    return box[0] < other[1] and other[0] < box[1] and box[2] < other[3] and other[2] < box[3]


def _extreme(spots: Sequence[Spot]) -> list[Run]:
    """Return the runs with the largest and the smallest x and y; all runs if there are up to four."""
    by_y, by_x = (sorted(spots, key=key) for key in (lambda s: s.y.value, lambda s: s.x.value))
    chosen = spots if len(spots) <= 4 else (by_y[-1], by_y[0], by_x[-1], by_x[0])
    return [spot.run for spot in chosen]


def _range(estimates: Sequence[Estimate]) -> tuple[float, float]:
    """Return the ends of an axis that contains all values, and the intervals if they are drawn."""
    drawn = [e for e in estimates if len(estimates) <= CROSSES and e.has_interval]
    ends = [*(e.value for e in estimates), *(end for e in drawn for end in (e.low, e.high))]
    pad = 0.06 * (max(ends) - min(ends)) + 0.002
    return min(ends) - pad, max(ends) + pad


def _shape(family: str) -> str:
    return MARKS[svg.SHAPES.get(family, "circle")]


def _css(family: str) -> str:
    return f"mk fam-{family}" if family in svg.SHAPES else "mk"
