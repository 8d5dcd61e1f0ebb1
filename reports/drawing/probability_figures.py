"""Draw the distributions of predicted probabilities of a run as inline SVG."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import places
from reports.report_data.report_data import ReportData
from reports.tables import rows_of

WIDTH, HEIGHT, LEFT, TOP = 150.0, 110.0, 30.0, 20.0  # px: width and height of a panel, and its left and top margin
PROBABILITIES = (0.01, 0.1, 0.5, 0.9, 0.99)  # tick numbers of the axis of probabilities


def probability_panels(data: ReportData, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict for each finding: distributions of the probability at the internal and at external hospitals."""
    shares: dict[tuple[str, str, str], np.ndarray[Any, np.dtype[np.float64]]] = {}
    edges: list[float] = []
    for finding, dataset, outcome, bounds, heights in rows_of(rows, "finding", "dataset", "outcome", "edges", "shares"):
        edges = [float(bound) for bound in bounds]
        shares[str(finding), str(dataset), str(outcome)] = np.array(heights, np.float64)
    panels = []
    for finding in data.findings:
        sides: Mapping[str, list[str]] = {
            "internal": [data.internal.key],
            "external": [h.key for h in data.hospitals],
        }
        means = {
            (side, outcome): np.mean([shares[finding, key, outcome] for key in known], axis=0)
            for side, keys in sides.items()
            for outcome in ("absent", "present")
            if (known := [key for key in keys if (finding, key, outcome) in shares])
        }
        if not means:
            continue
        top = max(float(heights.max()) for heights in means.values())
        words = {"internal": "internal images", "external": "images of external hospitals"}
        figures = {
            side: _densities(edges, means, side, top, f"Predicted probabilities of {words[side]}, {finding}")
            for side in sides
        }
        panels.append({"finding": finding, **figures})
    return panels


def _densities(
    edges: Sequence[float], means: Mapping[tuple[str, str], Any], side: str, top: float, label: str
) -> Markup:
    """Draw two distributions over one axis: images without the finding as an area, images with the finding as a line."""
    if (side, "absent") not in means:
        return Markup("")
    inner = [float(np.log(edge / (1 - edge))) for edge in edges[1:-1]]  # the outer bins are open
    step = inner[1] - inner[0]
    bounds = [inner[0] - step, *inner, inner[-1] + step]
    x, y = svg.Scale(bounds[0], bounds[-1], LEFT, LEFT + WIDTH), svg.Scale(0, top, TOP + HEIGHT, TOP)
    grid = svg.ticks(0, top, 3)
    body = "".join(
        svg.line(LEFT, y(t), LEFT + WIDTH, y(t), "g" if t else "z")
        + svg.text(LEFT - 5, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    for tick in PROBABILITIES:
        at = x(float(np.log(tick / (1 - tick))))
        body += svg.line(at, TOP, at, TOP + HEIGHT, "g") + svg.text(
            at, TOP + HEIGHT + 14, places(tick, 2), "tk", "middle"
        )
    for outcome, css in (("absent", "area"), ("present", f"cv-{'internal' if side == 'internal' else 'mean'}")):
        corners = [(x(bounds[0]), y(0))]
        for k, height in enumerate(means[side, outcome].tolist()):
            corners += [(x(bounds[k]), y(height)), (x(bounds[k + 1]), y(height))]
        body += svg.polyline([*corners, (x(bounds[-1]), y(0))], css)
    body += svg.text(0, 10, "↑ share of images", "tk fine") + svg.text(
        LEFT + WIDTH, TOP + HEIGHT + 28, "predicted probability →", "tk fine", "end"
    )
    return svg.svg(LEFT + WIDTH + 6, TOP + HEIGHT + 32, body, label)
