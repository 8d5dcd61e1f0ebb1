"""Calibration: reliability curves by hospital, uncalibrated and after Platt scaling at the internal hospital."""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.drawing.run_figures import OF_BIN
from reports.formatting import is_number, places
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sentences import gaps as gap_sentences
from reports.sentences import main_findings as sentences
from reports.tables import rows_of

DRAWN = 10  # runs with curves in the file; the table lists more
LISTED = 60  # runs in that table; the ECE of the others is in the ranking
USUAL_BINS, MOST_BINS = (15, 10), 100
SIDE, LEFT, TOP = 226.0, 22.0, 14.0  # px of one panel
X, Y = svg.Scale(0, 1, LEFT, LEFT + SIDE), svg.Scale(0, 1, TOP + SIDE, TOP)


def calibration(board: ReportData) -> Section:
    """Write the reliability panels of the first runs, and the table of ECE."""
    choice = board.headline
    platt, plain, drift = (
        choice.lookup(metric, (calibrator,), finding=MACRO)
        for metric, calibrator in (("ece", "platt"), ("ece", "none"), ("ece_drift", "platt"))
    )
    curves = board.tables["reliability"]
    pooled = curves.loc[curves["finding"] == "pooled", ["run_id", "dataset", "calibrator", *OF_BIN]]
    with_any = set(pooled["run_id"].unique())
    drawn = [r for r in board.ranked if r.id in with_any][:DRAWN]
    pooled = pooled[pooled["run_id"].isin([r.id for r in drawn])]
    bins = dict(iter(pooled.groupby(["run_id", "dataset", "calibrator"])))
    first = drawn[0] if drawn else (board.ranked[0] if board.ranked else None)
    context = {
        "board": board,
        "title": _title(board, first, drift) if first else sentences.NO_SCORE,
        "drawn": [{"run": r, "panels": _panels(board, r, bins, platt, plain)} for r in drawn],
        "rows": [
            {
                "run": r,
                "cells": [
                    _cell(r, key, platt, plain) | {"drift": drift.get((r.id, key, MACRO), MISSING)}
                    for key in (*(h.key for h in board.all_hospitals), EXTERNAL)
                ],
            }
            for r in board.ranked[:LISTED]
        ],
        "unlisted": max(0, len(board.ranked) - LISTED),
        "left_out": max(0, len(board.ranked) - DRAWN),
    }
    return Section("calibration", "Calibration", write("calibration.html.j2", **context))


def _title(board: ReportData, run: Run, drift: dict[tuple[str, str, str], Estimate]) -> str:
    """Return the sentence on the change of ECE of one run, on average and at the hospital with the largest change."""
    there = [
        (h.title, found) for h in board.hospitals if (found := drift.get((run.id, h.key, MACRO), MISSING)).has_value
    ]
    mean = drift.get((run.id, EXTERNAL, MACRO), MISSING)
    return gap_sentences.calibration(run.label, mean, [(title, found.value) for title, found in there])


def _cell(
    run: Run, key: str, platt: dict[tuple[str, str, str], Estimate], plain: dict[tuple[str, str, str], Estimate]
) -> dict[str, Estimate]:
    return {"platt": platt.get((run.id, key, MACRO), MISSING), "plain": plain.get((run.id, key, MACRO), MISSING)}


def _panels(
    board: ReportData,
    run: Run,
    bins: Mapping[Any, pd.DataFrame],
    platt: dict[tuple[str, str, str], Estimate],
    plain: dict[tuple[str, str, str], Estimate],
) -> list[dict[str, Any]]:
    """Return one panel per hospital, the internal hospital first; `bins` by run, hospital and calibrator."""
    panels = []
    for k, hospital in enumerate(board.all_hospitals):
        given, scaled = (bins.get((run.id, hospital.key, name)) for name in ("none", "platt"))
        ece = _cell(run, hospital.key, platt, plain)
        panels.append(
            {
                "hospital": hospital,
                "internal": k == 0,
                "ece": ece,
                "figure": _panel(given, scaled, k == 0, hospital.title, ece),
            }
        )
    return panels


def _panel(
    given: pd.DataFrame | None, scaled: pd.DataFrame | None, internal: bool, title: str, ece: dict[str, Estimate]
) -> Markup:
    """Draw one reliability diagram: Platt-scaled curve with intervals, thin uncalibrated curve, counts below."""
    body = ""
    for t, word in ((0.0, "0"), (0.5, ".5"), (1.0, "1")):
        body += svg.line(LEFT, Y(t), LEFT + SIDE, Y(t), "g") + svg.text(LEFT - 6, Y(t) + 4, word, "tk", "end")
        body += svg.text(X(t), TOP + SIDE + 15, word, "tk", "middle")
    body += svg.line(X(0), Y(0), X(1), Y(1), "diag")
    side = "internal" if internal else "external"
    body += _curve(given, "rl-plain", "", "rd-plain", 2.2)
    body += _curve(scaled, f"rl-{side}", f"ri-{side}", "dot" if internal else "m-ext", 2.8) + _counts(scaled)
    if ece["platt"].has_value:
        body += svg.text(LEFT + 5, TOP + 12, f"ECE {ece['platt'].text}", "b")
    if ece["plain"].has_value:
        body += svg.text(LEFT + 5, TOP + 28, f"uncalibrated {ece['plain'].text}", "tk fine")
    if internal:
        body += svg.text(LEFT + SIDE - 2, TOP + SIDE - 6, "predicted probability →", "tk fine", "end")
        body += svg.text(LEFT + 5, TOP + 44, "↑ observed share", "tk fine")
    label = f"Reliability at {title}: expected calibration error {places(ece['platt'].value)} after Platt scaling"
    return svg.svg(LEFT + SIDE + 8, TOP + SIDE + 38, body, label)


def _curve(rows: pd.DataFrame | None, line: str, bar: str, mark: str, radius: float) -> str:
    """Draw the non-empty bins of one calibrator, joined by a line."""
    found = [] if rows is None else sorted(rows_of(rows, *OF_BIN), key=itemgetter(0))
    spots = [(X(p), Y(o), low, high) for _, p, o, low, high, num in found if num > 0 and is_number(p) and is_number(o)]
    path = "L".join(f"{svg.number(px)} {svg.number(py)}" for px, py, _, _ in spots)
    body = f'<path d="M{path}" class="{line}"/>' if len(spots) > 1 else ""
    for px, py, low, high in spots:
        if bar and is_number(low) and is_number(high):
            body += svg.line(px, Y(low), px, Y(high), bar)
        body += svg.circle(px, py, radius, mark)
    return body


def _counts(rows: pd.DataFrame | None) -> str:
    """Draw the number of predictions per bin; the tallest bar is 14 px."""
    if rows is None or not max(rows["count"]):
        return ""
    width, most = SIDE / _num_bins(rows), max(rows["count"])
    return "".join(
        svg.rect(LEFT + int(k) * width + 0.5, TOP + SIDE + 36 - 14 * n / most, width - 1, 14 * n / most, "bar2")
        for k, n in zip(rows["bin"], rows["count"], strict=True)
    )


def _num_bins(rows: pd.DataFrame) -> int:
    """Return the number of equal-width bins, including empty ones: the first usual number in which every mean falls into its bin."""
    place, mean = rows["bin"].to_numpy(), rows["confidence"].to_numpy()
    least = int(place.max()) + 1
    fits = (
        num for num in (*USUAL_BINS, *range(least, MOST_BINS)) if (np.abs(mean * num - place - 0.5) <= 0.5 + 1e-6).all()
    )
    return next(fits, max(least, 10))
