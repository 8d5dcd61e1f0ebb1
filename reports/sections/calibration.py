"""Section on calibration: curves by hospital with their slope, uncalibrated and with Platt scaling fitted on internal data; ECE.

ECE is the expected calibration error, computed over bins of the predicted probability. Platt scaling is a calibrator. A
panel is the diagram of one run at one hospital.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.drawing.run_figures import smooth_points
from reports.formatting import places
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sentences import gaps as gap_sentences
from reports.sentences import main_findings as sentences

DRAWN = 10  # maximum number of runs with curves
LISTED = 60  # maximum number of runs in the table of ECE; the ranking has the ECE of the other runs
SIDE, LEFT, TOP = 168.0, 20.0, 38.0  # px: side, left margin and top margin of a panel
X, Y = svg.Scale(0, 1, LEFT, LEFT + SIDE), svg.Scale(0, 1, TOP + SIDE, TOP)


def calibration(data: ReportData) -> Section:
    """Write the section: reliability panels of the first DRAWN runs with curves, and the table of ECE."""
    headline = data.headline
    platt = headline.lookup("ece", ("platt",), finding=MACRO)
    uncalibrated = headline.lookup("ece", ("none",), finding=MACRO)
    drift = headline.lookup("ece_drift", ("platt",), finding=MACRO)
    curves = data.tables["reliability"]
    run_ids = set(curves["run_id"].unique())
    drawn_runs = [r for r in data.ranked_runs if r.id in run_ids][:DRAWN]
    drawn = curves[curves["run_id"].isin([r.id for r in drawn_runs])]
    bins = dict(iter(drawn.groupby(["run_id", "dataset", "calibrator"])))
    first = next(iter(drawn_runs or data.ranked_runs), None)

    def title(run: Run) -> str:
        eces = [_cell(run, hospital.key, platt, uncalibrated) for hospital in data.of_run(run).hospitals.all]
        pairs = [(ece["platt"], ece["uncalibrated"]) for ece in eces]
        known = [(scaled.value, plain.value) for scaled, plain in pairs if scaled.has_value and plain.has_value]
        return gap_sentences.calibration(drift.get((run.id, EXTERNAL, MACRO), MISSING), known)

    context = {
        "data": data,
        "title": title(first) if first else sentences.NONE_RANKED,
        "drawn": [
            {
                "run": r,
                "title": title(r),
                "shown": data.run_shown(r),
                "panels": _panels(data.of_run(r), r, bins, platt),
            }
            for r in drawn_runs
        ],
        "rows": [
            {
                "run": r,
                "cells": [
                    _cell(r, key, platt, uncalibrated) | {"drift": drift.get((r.id, key, MACRO), MISSING)}
                    for key in (*(h.key for h in data.hospitals.all), EXTERNAL)
                ],
            }
            for r in data.ranked_runs[:LISTED]
        ],
        "unlisted": max(0, len(data.ranked_runs) - LISTED),
        "left_out": max(0, len(data.ranked_runs) - DRAWN),
    }
    return Section("calibration", "Calibration", write("calibration.html.j2", **context))


def _cell(
    run: Run, key: str, platt: dict[tuple[str, str, str], Estimate], uncalibrated: dict[tuple[str, str, str], Estimate]
) -> dict[str, Estimate]:
    """Return the ECE of a run at a hospital, with Platt scaling and uncalibrated."""
    of_macro = (run.id, key, MACRO)
    return {"platt": platt.get(of_macro, MISSING), "uncalibrated": uncalibrated.get(of_macro, MISSING)}


def _panels(
    data: ReportData,
    run: Run,
    bins: Mapping[Any, pd.DataFrame],
    eces: Mapping[tuple[str, str, str], Estimate],
) -> list[dict[str, Any]]:
    """Return one panel per hospital, the internal hospital first.

    bins: (run id, cohort, calibrator) -> rows of the curve. eces: after Platt scaling.
    """
    panels = []
    for k, hospital in enumerate(data.hospitals.all):
        uncalibrated_bins, platt_bins = (bins.get((run.id, hospital.key, name)) for name in ("none", "platt"))
        ece = eces.get((run.id, hospital.key, MACRO), MISSING)
        figure = _panel(uncalibrated_bins, platt_bins, hospital.title, ece, internal=k == 0)
        panels.append({"hospital": hospital, "internal": k == 0, "figure": figure})
    return panels


def _panel(
    uncalibrated_bins: pd.DataFrame | None,
    platt_bins: pd.DataFrame | None,
    title: str,
    ece: Estimate,
    internal: bool,
) -> Markup:
    """Draw smooth calibration curves: Platt-scaled with its band, and uncalibrated as a thin line.

    Bars below the diagram show the number of predictions in each bin.
    """
    body = ""
    for t, word in ((0.0, "0"), (0.5, ".5"), (1.0, "1")):
        body += svg.line(LEFT, Y(t), LEFT + SIDE, Y(t), "g") + svg.text(LEFT - 6, Y(t) + 4, word, "tk", "end")
        body += svg.text(X(t), TOP + SIDE + 15, word, "tk", "middle")
    body += svg.line(X(0), Y(0), X(1), Y(1), "diag")
    side = "internal" if internal else "external"
    body += _curve(platt_bins, f"rl-{side}", f"bd-{side}") + _curve(uncalibrated_bins, "rl-plain", "")
    body += _counts(platt_bins)
    slope = f"slope {places(slope_of_curve(platt_bins), 2)}"
    body += svg.text(LEFT, 28, slope, "b")
    if ece.has_value:
        body += svg.text(LEFT + SIDE, 28, f"ECE {ece.text}", "tk fine", "end")
    label = f"Calibration at {title} after Platt scaling: {slope} of the curve, expected calibration error {ece.text}"
    return svg.svg(LEFT + SIDE + 8, TOP + SIDE + 38, body, label)


def slope_of_curve(rows: pd.DataFrame | None) -> float:
    """Return the slope of the line through the points of a curve, on logit scales; a point weighs as much as its bin; NaN if unknown.

    >>> points = pd.DataFrame({"confidence": [0.1, 0.5, 0.9], "smooth": [0.25, 0.5, 0.75], "count": [9, 5, 1]})
    >>> slope_of_curve(points)
    0.5
    """
    known = rows
    if rows is not None:
        known = rows[rows["smooth"].between(0, 1, "neither") & rows["confidence"].between(0, 1, "neither")]
    if known is None or len(known) < 2:
        return math.nan
    x, y = (np.log(known[name] / (1 - known[name])) for name in ("confidence", "smooth"))
    return round(float(np.polyfit(x, y, 1, w=np.sqrt(known["count"]))[0]), 6)


def _curve(rows: pd.DataFrame | None, line: str, area: str) -> str:
    """Draw the smooth curve of one calibrator over its band; `line` and `area` are CSS classes; without `area`, no band."""
    spots = [] if rows is None else smooth_points(rows)
    path = "L".join(f"{svg.number(X(p))} {svg.number(Y(o))}" for p, o, _, _ in spots)
    drawn = f'<path d="M{path}" class="{line}"/>' if len(spots) > 1 else ""
    return (svg.band([(X(p), Y(low), Y(high)) for p, _, low, high in spots], area) if area else "") + drawn


def _counts(rows: pd.DataFrame | None) -> str:
    """Draw the number of predictions in each bin as bars; the tallest bar is 14 px high."""
    if rows is None or not max(rows["count"]):
        return ""
    width, largest = SIDE / len(rows), max(rows["count"])
    return "".join(
        svg.rect(LEFT + int(k) * width + 0.5, TOP + SIDE + 36 - 14 * n / largest, width - 1, 14 * n / largest, "bar2")
        for k, n in zip(rows["bin"], rows["count"], strict=True)
        if n
    )
