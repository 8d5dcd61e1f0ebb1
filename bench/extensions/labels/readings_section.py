"""Section on the gap at each hospital under each reading of uncertain and unmentioned labels."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from bench.extensions.labels.gap_note import KEY, gaps_by_reading
from reports.formatting import percent, places, sentence_case
from reports.html.section import Section, write
from reports.report_data.headline_rows import EXTERNAL, MISSING, Estimate
from reports.report_data.report_data import ReportData
from reports.sentences.data import READING_RULES


def label_readings(data: ReportData) -> Section:
    """Write the section; empty if no reading changes a label."""
    found = gaps_by_reading(data)
    if not found:
        return Section(KEY, "", Markup(""))
    of_grid, *others = found.values()
    scored = ((h.short, h.key) for h in data.hospitals.external if h.key in of_grid)
    hospitals = [("Mean over hospitals", EXTERNAL), *scored]
    context = {
        "data": data,
        "rules": [sentence_case(READING_RULES[name]) for name in found],
        "hospitals": [
            {"name": name, "own": Estimate.of(of_grid[key]), "others": [_cell(rows.get(key)) for rows in others]}
            for name, key in hospitals
        ],
        "internal": [_percent(rows[EXTERNAL], "changed_internal") for rows in others],
        "num_findings": [rows[EXTERNAL]["num_findings"] for rows in found.values()],
        "same_findings": [places(float(str(rows[EXTERNAL]["same_findings"]))) for rows in found.values()],
    }
    return Section(KEY, "Labels of the test images", write("label_readings.html.j2", **context))


def _cell(row: Mapping[str, object] | None) -> dict[str, Any]:
    """Return a gap and the share of the hospital's labels that a reading changes; no gap if it changes no label behind the gap."""
    if row is None or not (row["changed"] or row["changed_internal"]):
        return {"gap": MISSING, "changed": ""}
    return {"gap": Estimate.of(row), "changed": _percent(row, "changed")}


def _percent(row: Mapping[str, object], column: str) -> str:
    return percent(float(str(row[column])), 1)
