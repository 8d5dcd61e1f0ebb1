"""Draw the triage of a run as inline SVG: miss rates by hospital, and miss rates with thresholds from local labels."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from bench.extensions.decisions.triage_rates import LEVEL, Key, Rate
from reports.drawing import svg
from reports.formatting import integer, is_number, places
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.tables import rows_of

NAME, WIDTH, ROW, TOP = 150.0, 190.0, 20.0, 8.0  # px: width of the names and of the axis, height of a row, top margin
LEFT, SIDE, HEIGHT = 30.0, 210.0, 110.0  # px: left margin, width and height of the curves


def triage_panels(
    data: ReportData, run_id: str, rates: Mapping[tuple[str, Key], Rate], repair: pd.DataFrame | None
) -> list[dict[str, Any]]:
    """Return a dict for each figure of a run: the macro miss rate by hospital, and the curves of local labels.

    rates: by name of the rate. repair: the rows of the run in the table `triage_repair`.
    """
    hospitals = [(h.short, rates.get(("miss_rate", (run_id, h.key, MACRO)))) for h in data.all_hospitals]
    hospitals.append(("External, mean", rates.get(("miss_rate", (run_id, EXTERNAL, MACRO)))))
    known = [(name, rate) for name, rate in hospitals if rate is not None]
    panels = []
    if known:
        panels.append({"title": "Miss rate, internal thresholds", "figure": _by_hospital(known)})
    if repair is not None:
        repair = repair[(repair["dataset"] == EXTERNAL) & (repair["finding"] == MACRO) & (repair["level"] == LEVEL)]
    if repair is not None and len(repair):
        panels.append({"title": "Thresholds from local labels", "figure": _by_labels(repair.sort_values("n"))})
    return panels


def _by_hospital(rates: list[tuple[str, Rate]]) -> Markup:
    """Draw one miss rate per row, with its intervals, and the stated rate as a vertical line."""
    # the axis reaches at least twice the stated rate
    ends = [2 * LEVEL, *(v for _, rate in rates for v in (rate.estimate.value, *rate.estimate.bounds) if is_number(v))]
    x = svg.Scale(0.0, min(max(ends), 1.0), NAME, NAME + WIDTH)
    grid, bottom = svg.ticks(x.low, x.high, 5), TOP + ROW * len(rates)
    body = "".join(
        svg.line(x(t), TOP, x(t), bottom, "g") + svg.text(x(t), bottom + 14, svg.tick_text(t, grid), "tk", "middle")
        for t in grid
    )
    body += svg.line(x(LEVEL), TOP - 4, x(LEVEL), bottom + 2, "diag")
    words = []
    for i, (name, rate) in enumerate(rates):
        y, estimate = TOP + ROW * (i + 0.5), rate.estimate
        css = "dot" if rate.is_below or rate.is_above else "dot o"
        body += (
            svg.text(0, y + 4, name, "tk") + svg.intervals(estimate, x, y) + svg.circle(x(estimate.value), y, 3.4, css)
        )
        words.append(f"{name} {estimate.with_interval}")
    label = f"Miss rate by hospital; stated: {places(LEVEL, 2)}; {'; '.join(words)}"
    return svg.svg(NAME + WIDTH + 12, bottom + 20, body, label)


def _by_labels(rows: pd.DataFrame) -> Markup:
    """Draw miss rate (black, with the spread of the draws) and share of deferred images (blue) by number of labeled patients."""
    columns = ("n", "miss_rate", "miss_rate_low", "miss_rate_high", "deferred")
    points = [tuple(map(float, row)) for row in rows_of(rows, *columns)]
    x = svg.Scale(math.log(points[0][0] / 1.5), math.log(points[-1][0] * 1.5), LEFT, LEFT + SIDE)
    y = svg.Scale(0.0, max(1.5 * LEVEL, *(max(p[3:]) for p in points)), TOP + 12 + HEIGHT, TOP + 12)
    grid = svg.ticks(y.low, y.high, 5)
    body = "".join(
        svg.line(LEFT, y(t), LEFT + SIDE, y(t), "g") + svg.text(LEFT - 5, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    body += svg.line(LEFT, y(LEVEL), LEFT + SIDE, y(LEVEL), "diag")
    body += svg.band([(x(math.log(n)), y(low), y(high)) for n, _, low, high, _ in points], "bd-internal")
    for column, css, dot in ((1, "cv-internal", "dot"), (4, "cv-mean", "m-ext")):
        path = [(x(math.log(point[0])), y(point[column])) for point in points]
        body += svg.polyline(path, css) if len(path) > 1 else ""
        body += "".join(svg.circle(px, py, 2.8, dot) for px, py in path)
    bottom = TOP + 12 + HEIGHT
    body += "".join(svg.text(x(math.log(p[0])), bottom + 14, integer(int(p[0])), "tk", "middle") for p in points)
    body += svg.text(0, 10, "↑ share", "tk fine")
    body += svg.text(LEFT + SIDE, bottom + 28, "labeled patients →", "tk fine", "end")
    words = "; ".join(
        f"{integer(int(n))} patients: miss rate {places(miss)}, deferred {places(deferred)}"
        for n, miss, _, _, deferred in points
    )
    return svg.svg(LEFT + SIDE + 8, bottom + 32, body, f"Triage by number of local labels: {words}")
