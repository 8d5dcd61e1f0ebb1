"""Section on label mappings: how scores change if another mapping replaces the grid's own mapping.

A label mapping is the rule that converts a dataset's own labels to findings.
"""

from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.formatting import is_number, places, plural, signed
from reports.html.section import Section, write
from reports.report_data.report_data import MACRO, ReportData


def mappings(data: ReportData) -> Section:
    """Write the section: how each mapping changes the scores; empty if no mapping but the grid's own changes labels."""
    table = data.tables["reversals"]
    if not len(table):
        return Section("mappings", "", Markup(""))
    reversed_pairs, pairs = int(table["num_reversed"].sum()), int(table["num_pairs"].sum())
    context = {
        "data": data,
        "title": _title(reversed_pairs, pairs, float(table["largest"].max()), data.unit),
        "rows": [_row(data, row) for row in table.to_dict("records")],
        "findings": _findings(data),
    }
    return Section("mappings", "", write("mappings.html.j2", **context))


def _title(num_reversed: int, pairs: int, largest: float, unit: str) -> str:
    change = f"change AUROC by at most {places(largest)}" if is_number(largest) else "do not change AUROC"
    if not pairs:
        return f"Other label mappings {change}"
    if not num_reversed:
        return f"Other label mappings {change} and never change the order of two {unit}s"
    return f"Other label mappings {change} and change the order of {num_reversed} of {plural(pairs, 'pair')} of {unit}s"


def _row(data: ReportData, row: dict[Any, Any]) -> dict[str, str]:
    return {
        "hospital": data.title(str(row["dataset"])),
        "mapping": str(row["mapping"]),
        "change": signed(row["mean_change"]) if is_number(row["mean_change"]) else "",
        "largest": places(row["largest"]) if is_number(row["largest"]) else "",
        "reversed": f"{row['num_reversed']} of {row['num_pairs']}" if row["num_pairs"] else "",
        "tau": places(row["tau"], 2) if is_number(row["tau"]) else "",
    }


def _findings(data: ReportData) -> list[dict[str, str]]:
    """Return one row per hospital, mapping and finding: mean AUROC over recipes, and number of positive images."""
    table = data.tables["mappings"]
    mean = table[table["finding"] != MACRO].groupby(["dataset", "finding", "mapping"], sort=True)
    rows: pd.DataFrame = mean.agg(value=("value", "mean"), positive=("num_positive", "max")).reset_index()
    return [
        {
            "hospital": data.title(str(row["dataset"])),
            "finding": str(row["finding"]),
            "mapping": str(row["mapping"]),
            "value": places(row["value"]) if is_number(row["value"]) else "",
            "positive": f"{row['positive']:,}",
        }
        for row in rows.to_dict("records")
    ]
