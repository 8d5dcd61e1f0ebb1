"""Section on effective robustness.

The effective robustness of a run is its external AUROC minus the AUROC that a line predicts from its internal AUROC.
The line is fitted to the other runs.
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
    """Write the section: effective robustness of runs; empty if no line can be fitted."""
    line = _line(data)
    if not line:
        return Section("robustness", "", Markup(""))
    scale, grid = svg.difference_axis([row["distance"] for row in line], WIDTH)
    for row in line:
        row["figure"] = svg.difference_mark(row["distance"], scale, grid, HEIGHT)
    above = [row["run"].label for row in line if row["distance"].clear_above]
    below = [row["run"].label for row in line if row["distance"].clear and not row["distance"].clear_above]
    context: dict[str, Any] = {
        "data": data,
        "title": gap_sentences.effective_robustness(above, below, len(line), len(data.ranked), data.unit),
        "line": line[:SHOWN],
        "folded": line[SHOWN:],
        "axis": svg.tick_axis(scale, grid),
        "slope": line[0]["slope"],
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
