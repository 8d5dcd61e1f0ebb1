"""Draw the decision curves of a run as inline SVG."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number, places
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.tables import rows_of

WIDTH, HEIGHT, LEFT, TOP = 150.0, 110.0, 30.0, 20.0  # px: width and height of a panel, and its left and top margin
Row = tuple[float, float, float, float, float]  # threshold, net benefit, its bounds, net benefit of treating all


def decision_panels(data: ReportData, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict for the macro and for each finding: its decision curves at the internal and at external hospitals."""
    curves: dict[tuple[str, str], list[Row]] = {}
    columns = ("finding", "dataset", "threshold", "value", "low", "high", "treat_all")
    for finding, dataset, *numbers in rows_of(rows, *columns):
        curves.setdefault((str(finding), str(dataset)), []).append((*map(float, numbers),))  # type: ignore[arg-type]
    panels = []
    for finding in (MACRO, *data.findings):
        of_finding = {dataset: sorted(curve) for (name, dataset), curve in curves.items() if name == finding}
        if not of_finding:
            continue
        title = "Mean over findings" if finding == MACRO else finding
        top = max(row[1] for curve in of_finding.values() for row in curve)
        internal, external = of_finding.get(data.hospitals.internal.key, []), of_finding.get(EXTERNAL, [])
        hospitals = [of_finding[h.key] for h in data.hospitals.external if h.key in of_finding]
        panels.append(
            {
                "finding": title,
                "internal": _decision_curve(internal, [], top, "internal", f"Internal decision curve, {title}"),
                "external": _decision_curve(
                    external, hospitals, top, "external", f"Decision curves at external hospitals, {title}"
                ),
            }
        )
    return panels


def _decision_curve(
    curve: Sequence[Row], hospitals: Sequence[Sequence[Row]], top: float, side: str, label: str
) -> Markup:
    """Draw net benefit by threshold with its interval, and the lines of treating all (dashed) and treating none (0)."""
    if not curve:
        return Markup("")
    top = max(top, 1e-3)
    x, y = svg.Scale(0, 0.9, LEFT, LEFT + WIDTH), svg.Scale(-0.5 * top, top * 1.05, TOP + HEIGHT, TOP)
    grid = svg.ticks(-0.5 * top, top * 1.05, 4)
    body = "".join(
        svg.line(LEFT, y(t), LEFT + WIDTH, y(t), "z" if t == 0 else "g")
        + svg.text(LEFT - 5, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    body += "".join(svg.text(x(t), TOP + HEIGHT + 14, places(t, 1), "tk", "middle") for t in (0.2, 0.4, 0.6, 0.8))
    bounds = [(t, low, high) for t, _, low, high, _ in curve if is_number(low) and is_number(high)]
    body += svg.band([(x(t), y(low), y(high)) for t, low, high in bounds], f"bd-{side}")
    body += svg.polyline(
        [(x(t), y(of_all)) for t, _, _, _, of_all in curve if of_all > -0.5 * top] or [(x(0), y(0))], "diag"
    )
    for hospital in hospitals:
        body += svg.polyline([(x(t), y(value)) for t, value, *_ in hospital], "cv-external")
    body += svg.polyline(
        [(x(t), y(value)) for t, value, *_ in curve], "cv-internal" if side == "internal" else "cv-mean"
    )
    body += svg.text(0, 10, "↑ net benefit", "tk fine") + svg.text(
        LEFT + WIDTH, TOP + HEIGHT + 28, "threshold →", "tk fine", "end"
    )
    return svg.svg(LEFT + WIDTH + 6, TOP + HEIGHT + 32, body, label)
