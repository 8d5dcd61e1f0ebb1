"""Section on label mappings: the AUROC if another mapping replaces the grid's own mapping.

A label mapping is the rule that converts a dataset's own labels to findings.
"""

from typing import Any

from markupsafe import Markup

from reports.formatting import is_number, places
from reports.html.section import Section, write
from reports.report_data.report_data import MACRO, ReportData


def mappings(data: ReportData) -> Section:
    """Write the section: AUROC under each mapping; empty if no mapping but the grid's own changes labels."""
    if not len(data.tables["mappings"]):
        return Section("mappings", "", Markup(""))
    return Section("mappings", "", write("mappings.html.j2", data=data, rows=_rows(data)))


def _rows(data: ReportData) -> list[dict[str, Any]]:
    """Return one row per hospital, finding and mapping: mean AUROC over recipes, and number of positive images.

    The row of all findings ("") comes first and has no number of images.
    """
    groups = data.tables["mappings"].groupby(["dataset", "finding", "mapping"], sort=True)
    means = groups.agg(value=("value", "mean"), positive=("num_positive", "max")).reset_index().to_dict("records")
    rows = [
        {
            "hospital": data.hospitals[str(row["dataset"])].title,
            "finding": "" if row["finding"] == MACRO else str(row["finding"]),
            "mapping": str(row["mapping"]),
            "value": places(row["value"]) if is_number(row["value"]) else "",
            "positive": "" if row["finding"] == MACRO else f"{row['positive']:,}",
        }
        for row in means
    ]
    return sorted(rows, key=lambda row: (row["hospital"], row["finding"]))
