"""Section on effective robustness, and on rules that select a run.

The effective robustness of a run is its external AUROC minus the AUROC that a line predicts from its internal AUROC.
The line is fitted to the other runs. The regret of a selection rule is the external AUROC of the best run minus the
external AUROC of the selected run. The optimism of a selection rule is the amount by which the rule's score of the
selected run is too high.
"""

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


def robustness(data: ReportData) -> Section:
    """Write the section: effective robustness of runs, and regret of selection rules; empty if there is neither."""
    line, audit = _line(data), _audit(data)
    scale, grid = svg.difference_axis([row["distance"] for row in line], WIDTH)
    for row in line:
        row["figure"] = svg.difference_mark(row["distance"], scale, grid, HEIGHT)
    if not line and not audit:
        return Section("robustness", "", Markup(""))
    above = [row["run"].label for row in line if row["distance"].clear_above]
    below = [row["run"].label for row in line if row["distance"].clear and not row["distance"].clear_above]
    context: dict[str, Any] = {
        "data": data,
        "title": gap_sentences.effective_robustness(above, below, len(line), len(data.ranked), data.unit),
        "line": line[:SHOWN],
        "folded": line[SHOWN:],
        "axis": svg.tick_axis(scale, grid),
        "slope": line[0]["slope"] if line else 0.0,
        "audit": audit,
        "audit_title": _audit_title(audit, data),
    }
    return Section("robustness", "", write("robustness.html.j2", **context))


def _line(data: ReportData) -> list[dict[str, Any]]:
    """Return one row for each run that has an effective robustness (`distance` from the line), largest first."""
    table = data.tables["robustness"]
    cells = {str(r["run_id"]): r for r in table[table["dataset"] == EXTERNAL].to_dict("records")}
    rows: list[dict[str, Any]] = []
    for run in data.ranked:
        if run.id in cells and is_number(cells[run.id]["value"]):
            cell = cells[run.id]
            distance = Estimate.of(cell)
            numbers = {k: float(cell[k]) for k in ("internal", "external", "expected", "slope")}
            rows.append({"run": run, "distance": distance, **numbers})
    rows.sort(key=lambda row: -row["distance"].value)
    return rows


def _audit(data: ReportData) -> list[dict[str, Any]]:
    """Return one row for each selection rule: the run that it selects, regret in the mean external AUROC, and optimism."""
    table = data.tables["selection"]
    labels = data.labels
    return [
        {
            "rule": _rule(data, str(row["rule"])),
            "oracle": bool(row["oracle"]),
            "is_one_hospital": any(row["rule"] == h.key for h in data.hospitals),
            "run": labels.get(str(row["run_id"]), str(row["run_id"])),
            "value": float(row["value"]),
            "regret": Estimate(float(row["regret"]), float(row["low"]), float(row["high"])),
            "optimism": float(row["optimism"]),
        }
        for row in table[table["dataset"] == EXTERNAL].to_dict("records")
    ]


def _rule(data: ReportData, rule: str) -> str:
    """Return the name of a selection rule for the page."""
    words = {
        "internal val": "Internal, validation split",
        "internal test": "Internal, test split",
        EXTERNAL: "Mean of the external hospitals",
    }
    return words.get(rule) or data.short(rule)


def _audit_title(audit: list[dict[str, Any]], data: ReportData) -> str:
    honest = next((row for row in audit if not row["oracle"]), None)
    return gap_sentences.selection_by_internal(honest["regret"], len(data.groups[0]) - 1, data.unit) if honest else ""
