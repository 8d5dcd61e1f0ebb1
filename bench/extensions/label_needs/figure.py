"""Draw the curves of `bench labels-needed` as one SVG file: a row for each finding, a column for each goal."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg

NAME, WIDE, HIGH = 150.0, 250.0, 128.0  # width of the names, and width and height of a panel with its axes
LEFT, RIGHT, TOP, BOTTOM = 34.0, 14.0, 14.0, 24.0  # margins inside a panel
HEAD = 78.0  # height of the lines above the panels
COLUMNS = {  # goal -> heading, and the columns of the curve: line, lower and upper bound of the band
    "calibration": ("ECE after recalibration", ("median", "low", "high")),
    "sensitivity": ("sensitivity at the chosen threshold", ("median", "low", "high")),
    "difference": ("share that tells the runs apart", ("share", "share_low", "share_high")),
}
STYLE = """<style>
svg { background: #fff; font: 11px system-ui, sans-serif; }
text { fill: #4a515a; } .h { fill: #16191d; font-weight: 600; }
.g { stroke: #e4e1da; } .target { stroke: #bd4f08; stroke-dasharray: 4 3; } .needed { stroke: #bd4f08; } .at { fill: #bd4f08; }
.band { fill: #0072b2; fill-opacity: .18; } .curve { fill: none; stroke: #0072b2; stroke-width: 1.8; }
.dot { fill: #0072b2; } .start { stroke: #0072b2; stroke-opacity: .35; stroke-width: 4; }
</style>"""


def label_curves(curves: pd.DataFrame, needs: pd.DataFrame, synthetic: bool) -> str:
    """Return the content of an SVG file with the curves over all hospitals.

    curves, needs: the tables of bench.extensions.label_needs.draws; the rows of their first dataset are drawn. `synthetic`: whether
    a program drew the images, which the picture then states.
    """
    curves, needs = (table[table["dataset"] == table["dataset"].iloc[0]] for table in (curves, needs))
    goals = [goal for goal in COLUMNS if (needs["goal"] == goal).any()]
    findings = list(dict.fromkeys(needs["finding"]))
    width, height = NAME + WIDE * len(goals), HEAD + HIGH * len(findings)
    notice = " Synthetic images: no number applies to a real hospital." if synthetic else ""
    about = [
        "x axis: labeled patients. Line: median. Band: 10 to 90 % of the draws. Dashed: goal. Dot: the run as it is."
    ]
    if "difference" in goals:
        about.append("Shares of draws: mean over the hospitals, and band from the lowest to the highest hospital.")
    body = svg.text(8, 18, f"How many labeled patients a new hospital needs.{notice}", "h")
    body += "".join(svg.text(8, 34 + 15 * i, line) for i, line in enumerate(about))
    body += "".join(svg.text(NAME + WIDE * j + LEFT, HEAD - 8, COLUMNS[goal][0], "h") for j, goal in enumerate(goals))
    for i, finding in enumerate(findings):
        body += svg.text(8, HEAD + HIGH * i + HIGH / 2, finding, "h")
        for j, goal in enumerate(goals):
            points, answer = (t[(t["goal"] == goal) & (t["finding"] == finding)] for t in (curves, needs))
            if len(points):
                body += _panel(NAME + WIDE * j, HEAD + HIGH * i, points, answer.iloc[0])
    words = f"Curves for {len(findings)} findings: {', '.join(COLUMNS[goal][0] for goal in goals)}"
    drawn = svg.svg(width, height, Markup(STYLE + body), words)  # noqa: S704  (svg.text escapes every text)
    return str(drawn).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def _panel(left: float, top: float, points: pd.DataFrame, answer: Any) -> str:
    """Draw the curve of one goal and finding; `answer`: the row of `needs`."""
    columns = COLUMNS[str(answer["goal"])][1]
    n = [int(value) for value in points["n"]]
    middle, low, high = ([float(v) for v in points[column]] for column in columns)
    # the target stays clearly below the upper end
    largest = max([*(v for v in (*middle, *high) if math.isfinite(v)), 1.5 * float(answer["target"])])
    highest = largest if answer["goal"] == "calibration" else 1.0
    # from half of the smallest number of labels above 0, and at least from 5 to 20
    x_n = svg.Scale(
        math.log(min(v for v in (*n, 10) if v) / 2), math.log(max(*n, 20)), left + LEFT, left + WIDE - RIGHT
    )
    y = svg.Scale(0.0, highest, top + HIGH - BOTTOM, top + TOP)

    def x(number: float) -> float:
        return x_n(math.log(number)) if number else x_n.start  # 0 has no logarithm: it is at the left end

    grid = svg.ticks(0.0, highest, 4)
    out = "".join(
        svg.line(x_n.start, y(t), x_n.end, y(t), "g")
        + svg.text(x_n.start - 4, y(t) + 4, svg.tick_text(t, grid), "", "end")
        for t in grid
    )
    out += "".join(svg.text(x(v), top + HIGH - 10, f"{v:,}", "", "middle") for v in n)
    out += svg.line(x_n.start, y(answer["target"]), x_n.end, y(answer["target"]), "target")
    # A missing bound means that the labels of some draws did not suffice: the band then goes to the worst value.
    worst = highest if answer["goal"] == "calibration" else 0.0
    bounds = [tuple(v if math.isfinite(v) else worst for v in pair) for pair in zip(low, high, strict=True)]
    drawn = [(x(v), y(m), y(lo), y(hi)) for v, m, (lo, hi) in zip(n, middle, bounds, strict=True) if math.isfinite(m)]
    if n[0] == 0 and drawn:  # without local labels: a different calibrator, so not a point of the curve
        (x_0, y_0, low_0, high_0), *drawn = drawn
        out += svg.line(x_0, low_0, x_0, high_0, "start") + svg.circle(x_0, y_0, 3.5, "dot")
    out += _band([(at, lo, hi) for at, _, lo, hi in drawn])
    out += svg.polyline([(at, m) for at, m, _, _ in drawn], "curve") if drawn else ""
    if math.isfinite(answer["needed"]):
        at = x(float(answer["needed"]))
        return (
            out
            + svg.line(at, y.start, at, y.end, "needed")
            + svg.text(at + 3, top + 10, f"{answer['needed']:,.0f} needed", "at")
        )
    return out + svg.text(x_n.start, top + 10, answer["note"], "at")


def _band(points: Sequence[tuple[float, float, float]]) -> str:
    """Draw the area between the lower and the upper bound: points (x, low y, high y)."""
    corners = [*((px, low) for px, low, _ in points), *((px, high) for px, _, high in reversed(points))]
    path = "L".join(f"{svg.number(px)} {svg.number(py)}" for px, py in corners)
    return f'<path d="M{path}Z" class="band"/>' if points else ""
