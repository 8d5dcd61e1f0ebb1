"""Section on effective robustness, and on rules that select a run.

The effective robustness of a run is its external AUROC minus the AUROC that a line predicts from its internal AUROC.
The line is fitted to the other runs. The regret of a selection rule is the external AUROC of the best run minus the
external AUROC of the selected run. The optimism of a selection rule is the amount by which the rule's score of the
selected run is too high.
"""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import is_number
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sentences import gaps as gap_sentences

WIDTH, HEIGHT = 230.0, 22.0
SHOWN = 12


def robustness(board: ReportData) -> Section:
    """Write the section: effective robustness of runs, and regret of selection rules; empty if there is neither."""
    line, audit = _line(board), _audit(board)
    if not line and not audit:
        return Section("robustness", "", Markup(""))
    above = [row["run"].label for row in line if row["distance"].clear_above]
    below = [row["run"].label for row in line if row["distance"].clear and not row["distance"].clear_above]
    context: dict[str, Any] = {
        "board": board,
        "title": gap_sentences.effective_robustness(above, below, len(line), len(board.ranked), board.unit),
        "line": line[:SHOWN],
        "folded": line[SHOWN:],
        "axis": _axis_figure(line),
        "slope": float(board.tables["robustness"]["slope"].iloc[0]) if line else 0.0,
        "audit": audit,
        "audit_title": _audit_title(audit, board.unit),
    }
    return Section("robustness", "", write("robustness.html.j2", **context))


def _line(board: ReportData) -> list[dict[str, Any]]:
    """Return one row for each run that has an effective robustness (`distance` from the line), largest first."""
    table = board.tables["robustness"]
    cells = {str(r["run_id"]): r for r in table[table["dataset"] == EXTERNAL].to_dict("records")}
    rows: list[dict[str, Any]] = []
    for run in board.ranked:
        if run.id in cells and is_number(cells[run.id]["value"]):
            cell = cells[run.id]
            distance = effective(cell)
            numbers = {k: float(cell[k]) for k in ("internal", "external", "expected")}
            rows.append({"run": run, "distance": distance, **numbers})
    rows.sort(key=lambda row: -row["distance"].value)
    scale, grid = _axis(rows)
    for row in rows:
        row["figure"] = _dot(row["distance"], scale, grid)
    return rows


def effective(row: Mapping[Any, Any]) -> Estimate:
    """Return the effective robustness in a row of the table `robustness`, with bounds simultaneous over recipes."""
    value, low, high, *bounds = (float(row[column]) for column in ("value", "low", "high", "all_low", "all_high"))
    return Estimate(value, low, high).simultaneous(*bounds)


def _axis(rows: list[dict[str, Any]]) -> tuple[svg.Scale, list[float]]:
    ends = [0.0, *(v for row in rows for e in [row["distance"]] for v in (e.value, *e.bounds) if is_number(v))]
    margin = 0.03 * (max(ends) - min(ends)) + 0.002
    scale = svg.Scale(min(ends) - margin, max(ends) + margin, 6, WIDTH - 6)
    return scale, svg.ticks(scale.low, scale.high, 5)


def _axis_figure(rows: list[dict[str, Any]]) -> Markup:
    scale, grid = _axis(rows)
    return svg.svg(WIDTH, 14, "".join(svg.text(scale(t), 11, svg.tick_text(t, grid), "tk", "middle") for t in grid))


def _dot(distance: Estimate, scale: svg.Scale, grid: list[float]) -> Markup:
    body = "".join(svg.line(scale(t), 0, scale(t), HEIGHT, "z" if t == 0 else "g") for t in grid)
    body += svg.marked(distance, scale, 11, 3.4)
    return svg.svg(WIDTH, HEIGHT, body, distance.with_interval, "st")


def _audit(board: ReportData) -> list[dict[str, Any]]:
    """Return one row for each selection rule: the run that it selects, regret in the mean external AUROC, and optimism."""
    table = board.tables["selection"]
    labels = board.labels
    return [
        {
            "rule": _rule(board, str(row["rule"])),
            "oracle": bool(row["oracle"]),
            "is_one_hospital": any(row["rule"] == h.key for h in board.hospitals),
            "run": labels.get(str(row["run_id"]), str(row["run_id"])),
            "value": float(row["value"]),
            "regret": _regret(row),
            "optimism": float(row["optimism"]),
        }
        for row in table[table["dataset"] == EXTERNAL].to_dict("records")
    ]


def _regret(row: Mapping[Any, Any]) -> Estimate:
    """Return the regret of a selection rule.

    If the rule selects the best run and the upper bound of the interval is not above 0, the regret is 0 without an
    interval.
    """
    if row["run_id"] == row["best_run"] and not row["high"] > 0:
        return Estimate(0.0)
    return Estimate(float(row["regret"]), float(row["low"]), float(row["high"]))


def _rule(board: ReportData, rule: str) -> str:
    """Return the name of a selection rule for the page."""
    words = {
        "internal val": "Internal, validation split",
        "internal test": "Internal, test split",
        EXTERNAL: "Mean of the external hospitals",
    }
    return words.get(rule) or board.short(rule)


def _audit_title(audit: list[dict[str, Any]], unit: str) -> str:
    honest = next((row for row in audit if not row["oracle"]), None)
    return gap_sentences.selection_by_internal(honest["regret"], unit) if honest else ""
