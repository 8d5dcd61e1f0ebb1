"""Draw the figures of a run as inline SVG: ROC, precision-recall, learning and reliability curves.

The figures are static, so the drawer, the run's own page and a printed page show the same figures.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pandas as pd
from markupsafe import Markup, escape

from reports.drawing import svg
from reports.formatting import is_number, places
from reports.report_data.headline_rows import MISSING
from reports.report_data.hospitals_and_runs import Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.tables import rows_of

SIDE, LEFT, TOP = 150.0, 26.0, 20.0  # px: side, left margin and top margin of a square panel
WIDE = 340.0  # px: width of a learning curve
Path = Sequence[tuple[float, float]]  # points (x, y) of a curve, in units of the data
Call = tuple[int, int, int, int]  # counts: true positive, false negative, false positive, true negative
Chosen = Mapping[str, tuple[float, Mapping[str, Call]]]  # finding -> chosen threshold, and the calls at each hospital
# columns of the table `reliability`
OF_CURVE = ("confidence", "smooth", "smooth_low", "smooth_high")
# scales of a square panel, from 0 to 1: of the x axis, of the y axis
UNIT = svg.Scale(0, 1, LEFT, LEFT + SIDE), svg.Scale(0, 1, TOP + SIDE, TOP)


@dataclass(frozen=True, slots=True)
class Curves:
    """The rows of the tables from which the figures of runs are drawn; each field is a dict: run id -> rows of the run.

    points: rows of the table `curves`. reliability: rows of the Platt-scaled curves over all findings. history: rows of
    the table `history`.
    """

    points: Mapping[str, pd.DataFrame]
    reliability: Mapping[str, pd.DataFrame]
    history: Mapping[str, pd.DataFrame]

    @classmethod
    def of(cls, data: ReportData, runs: Iterable[Run]) -> "Curves":
        """Select the rows of these runs."""
        ids = {run.id for run in runs}
        reliability = data.tables["reliability"]
        platt = reliability[reliability["calibrator"] == "platt"]
        tables = (data.tables["curves"], platt, data.tables["history"])
        return cls(*(by_run(table, ids) for table in tables))


def figures(data: ReportData, run: Run, curves: Curves, chosen: Chosen) -> dict[str, Any]:
    """Return {kind: figures of a run}, [] for missing data.

    Kinds: ranked (ROC, precision-recall, and rates by threshold), reliability, learning.
    """
    points, history = curves.points.get(run.id), curves.history.get(run.id)
    return {
        "ranked": [] if points is None else _ranked(data, run, points, chosen),
        "reliability": [] if run.id not in curves.reliability else _reliability(data, curves.reliability[run.id]),
        "learning": [] if history is None else _learning(run, history.sort_values("epoch")),
    }


def by_run(table: pd.DataFrame, ids: Collection[str]) -> dict[str, pd.DataFrame]:
    """Return {run id: its rows of the table}."""
    return {str(run): rows for run, rows in table[table["run_id"].isin(list(ids))].groupby("run_id", sort=False)}


def _ranked(data: ReportData, run: Run, points: pd.DataFrame, chosen: Chosen) -> list[dict[str, Any]]:
    """Return dicts with panels for the macro, then for each finding: `roc`, `pr` and `by_threshold`."""
    paths: dict[tuple[str, str], dict[str, Path]] = {}
    columns = (points[c] for c in ("finding", "kind", "dataset", "x", "y"))
    for finding, kind, dataset, xs, ys in zip(*columns, strict=True):
        path = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True) if is_number(float(y))]
        paths.setdefault((str(finding), str(kind)), {})[str(dataset)] = path
    panels = []
    for finding in (MACRO, *data.findings):
        if (finding, "roc") not in paths:
            continue
        title = "Mean over findings" if finding == MACRO else finding
        internal = data.cells.get((run.id, data.hospitals.internal.key, finding), MISSING)
        gap = data.gaps.get((run.id, EXTERNAL, finding), MISSING)
        texts = [f"internal {internal.text}"] if internal.has_value else []
        if is_number(gap.external):
            texts.append(f"external {places(gap.external)}")
        numbers = ", ".join(texts)
        pr = paths.get((finding, "pr"), {})
        from_zero = {key: [(0.0, 0.0), *path] for key, path in paths[finding, "roc"].items()}
        roc_label, pr_label = f"ROC curves, {title}: AUROC {numbers}", f"Precision-recall curves, {title}"
        panels.append(
            {
                "finding": title,
                "numbers": numbers,
                "roc": _square(data, from_zero, roc_label, ("1 − specificity →", "↑ sensitivity"), diagonal=True),
                "pr": _square(data, pr, pr_label, ("sensitivity →", "↑ precision")),
                "by_threshold": _by_threshold(data, finding, paths, *chosen.get(finding, (math.nan, {}))),
            }
        )
    return panels


def _by_threshold(
    data: ReportData,
    finding: str,
    paths: Mapping[tuple[str, str], Mapping[str, Path]],
    threshold: float,
    called: Mapping[str, Call],
) -> list[Markup]:
    """Draw F1, and sensitivity with specificity, by threshold; a line marks the chosen threshold, dots the calls of each hospital."""
    x, y = UNIT
    marks = svg.line(x(threshold), y(0), x(threshold), y(1), "diag") if is_number(threshold) else ""
    values = {
        key: {"f1": 2 * tp / (2 * tp + fn + fp), "sensitivity": tp / (tp + fn), "specificity": tn / (tn + fp)}
        for key, (tp, fn, fp, tn) in (called if is_number(threshold) else {}).items()
        if tp + fn and tn + fp
    }
    drawn = []
    for kinds in (["f1"], ["sensitivity", "specificity"]):
        lines = "".join(_lines(data, paths.get((finding, kind), {})) for kind in kinds)
        dots = "".join(
            svg.circle(x(threshold), y(of[kind]), 2.6, "dot" if key == data.hospitals.internal.key else "m-ext")
            for key, of in values.items()
            for kind in kinds
        )
        if lines and finding != MACRO:
            words = ", ".join(kinds).replace("f1", "F1")
            label = f"{finding}: {words} by threshold"
            drawn.append(_square(data, {}, label, ("threshold →", f"↑ {words}"), marks + lines + dots))
    return drawn


def _reliability(data: ReportData, rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a dict with the smooth calibration curve (`figure`) of each hospital that has one."""
    panels = []
    for hospital in data.hospitals.all:
        spots = smooth_points(rows[rows["dataset"] == hospital.key])
        if not spots:
            continue
        x, y = UNIT
        internal = hospital.key == data.hospitals.internal.key
        marks = svg.band(
            [(x(p), y(low), y(high)) for p, _, low, high in spots], "bd-internal" if internal else "bd-external"
        )
        path = {hospital.key: [(p, o) for p, o, _, _ in spots]}
        label = f"Reliability at {hospital.title}, after internal Platt scaling"
        figure = _square(
            data, path, label, diagonal=True, words=("predicted probability →", "↑ observed share"), marks=marks
        )
        panels.append({"hospital": hospital, "internal": internal, "figure": figure})
    return panels


def smooth_points(rows: pd.DataFrame) -> list[tuple[float, float, float, float]]:
    """Return the points (probability, share, low, high) of a smooth calibration curve, by probability."""
    return sorted((p, o, low, high) for p, o, low, high in rows_of(rows, *OF_CURVE) if is_number(o))


def _square(
    data: ReportData,
    paths: Mapping[str, Path],
    label: str,
    words: tuple[str, str],
    marks: str = "",
    diagonal: bool = False,
) -> Markup:
    """Draw one curve per hospital in a square whose axes go from 0 to 1.

    `paths`: cohort name -> points (x, y). `words`: titles of the x and the y axis; the y title is above the square.
    `marks`: SVG that is drawn over the curves.
    """
    x, y = UNIT
    body = "".join(
        svg.line(LEFT, y(t), LEFT + SIDE, y(t), "g")
        + svg.text(LEFT - 5, y(t) + 4, word, "tk", "end")
        + svg.text(x(t), TOP + SIDE + 14, word, "tk", "middle")
        for t, word in ((0.0, "0"), (0.5, ".5"), (1.0, "1"))
    )
    body += svg.line(x(0), y(0), x(1), y(1), "diag") if diagonal else ""
    body += _lines(data, paths)
    body += svg.text(LEFT + SIDE, TOP + SIDE + 28, words[0], "tk fine", "end")
    body += svg.text(0, 10, words[1], "tk fine")
    return svg.svg(LEFT + SIDE + 6, TOP + SIDE + 32, body + marks, label)


def _lines(data: ReportData, paths: Mapping[str, Path]) -> str:
    """Draw the curve of each hospital, the internal one last."""
    x, y = UNIT
    keys = (*(h.key for h in data.hospitals.external), data.hospitals.internal.key)
    return "".join(
        svg.polyline(
            [(x(px), y(py)) for px, py in paths[key]],
            "cv-internal" if key == data.hospitals.internal.key else "cv-external",
        )
        for key in keys
        if len(paths.get(key, ())) > 1
    )


def _learning(run: Run, history: pd.DataFrame) -> list[dict[str, Any]]:
    """Return two figures by epoch, the losses and the validation AUROC; a figure without finite values is left out.

    `history`: rows of the table `history` of this run, sorted by epoch.
    """
    of = {name: EpochCurve.of(run, history, name) for name in ("train_loss", "val_loss", "val_auroc")}
    losses = [of["train_loss"]._replace(name="training"), of["val_loss"]._replace(name="validation")]
    drawn = {"Loss": losses, "Internal validation AUROC": [of["val_auroc"]._replace(name="")]}
    return [{"said": title, "figure": figure} for title, of in drawn.items() if (figure := by_epoch(title, of))]


class EpochCurve(NamedTuple):
    """A curve by epoch: the name of its run, its points, and the selected epoch."""

    name: str
    path: Path
    best: object

    @classmethod
    def of(cls, run: Run, history: pd.DataFrame, column: str) -> Self:
        """Return the curve of a run; history: its rows of this table, sorted by epoch."""
        return cls(run.label, _finite(history["epoch"], history[column]), run.facts.get("best_epoch"))


def by_epoch(title: str, curves: Sequence[EpochCurve]) -> Markup:
    """Draw curves with a dot at each selected epoch, the first one thick; "" without points. A pointer shows the name of a curve."""
    ends = [spot for curve in curves for spot in curve.path]
    if not ends:
        return Markup("")
    epochs, values = zip(*ends, strict=True)
    (first, last), (low, high) = ((min(axis), max(axis)) for axis in (epochs, values))
    margin = 0.08 * (high - low) or 0.01
    x = svg.Scale(first, max(last, first + 1), LEFT + 12, LEFT + WIDE - 66)
    y = svg.Scale(low - margin, high + margin, TOP + SIDE, TOP)
    grid = svg.ticks(y.low, y.high, 4)
    body = "".join(
        svg.line(LEFT + 6, y(t), LEFT + WIDE - 60, y(t), "g")
        + svg.text(LEFT + 2, y(t) + 4, svg.tick_text(t, grid), "tk", "end")
        for t in grid
    )
    whole = (t for t in svg.ticks(x.low, x.high, 5) if t == int(t))
    body += "".join(svg.text(x(t), TOP + SIDE + 14, f"{t:g}", "tk", "middle") for t in whole)
    for k, (name, path, best) in reversed(list(enumerate(curves))):  # the first curve is drawn last, on top
        line = "cv-external" if k else "cv-internal"
        marks = svg.polyline([(x(e), y(v)) for e, v in path], line) if len(path) > 1 else ""
        selected = path if len(path) == 1 else [spot for spot in path if spot[0] == best]
        marks += "".join(svg.circle(x(e), y(v), 3.2, "m-ext" if k else "dot") for e, v in selected)
        body += f"<g><title>{escape(name or title)}</title>{marks}</g>"
        if path and name and len(curves) == 2:
            body += svg.text(x(path[-1][0]) + 6, y(path[-1][1]) + 4, name, "tk")
    body += svg.text(LEFT + WIDE - 62, TOP + SIDE + 28, "epoch →", "tk fine", "end")
    at_end = "; ".join(
        f"{curve.name or title} {curve.path[-1][1]:.3f} at the end" for curve in curves[:2] if curve.path
    )
    return svg.svg(LEFT + WIDE, TOP + SIDE + 32, body, f"{title} by epoch: {at_end}")


def _finite(epochs: "pd.Series[Any]", values: "pd.Series[Any]") -> list[tuple[float, float]]:
    return [
        (float(e), float(v))
        for e, v in zip(epochs, values, strict=True)
        if is_number(float(v)) and math.isfinite(float(e))
    ]
