"""The sentence on the first screen of the page: which AUROC to expect at the next hospital."""

from bench.extensions.next_hospital.sections import AUROC, population, title
from reports.report_data.report_data import MACRO, ReportData
from reports.tables import records_of


def sentence(data: ReportData) -> str:
    """State the expected AUROC of the first recipe at a new hospital, and for which hospitals it holds; "" if there are too few."""
    table = data.tables["next_hospital"]
    rows = table[(table["metric"] == AUROC) & (table["finding"] == MACRO)]
    for row in records_of(rows):
        if data.ranked and row["run_id"] == data.ranked[0].id and not row["reason"]:
            source = f"{'the first' if len(data.ranked) > 1 else 'this'} {data.unit}"
            return f"{title(row, source, population(data, row))}."
    return ""
