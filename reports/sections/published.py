"""Section on results that other authors published; the registry lists these results with their training and test data."""

from typing import Any

from markupsafe import Markup

from reports.formatting import places
from reports.html.section import Section, write
from reports.report_data.report_data import MACRO, ReportData

SPLITS = {"expert_valid": "radiologists, validation", "expert_test": "radiologists, test", "val": "validation"}
METRICS = {"auroc": "AUROC", "auprc": "AUPRC", "f1": "F1"}


def published(data: ReportData) -> Section:
    """Write the section: a table of published results for each metric; empty if the grid names no results."""
    rows = data.tables["published"]
    if not len(rows):
        return Section("published", "", Markup(""))
    tables = [
        _table(data, metric, rows[rows["metric"] == metric]) for metric in METRICS if (rows["metric"] == metric).any()
    ]
    sources = list(dict.fromkeys(zip(rows["name"], rows["source"], strict=True)))
    html = write("published.html.j2", data=data, tables=tables, sources=sources)
    return Section("published", "Published", html)


def _table(data: ReportData, metric: str, rows: Any) -> dict[str, Any]:
    """Return the table of a metric: one row per published result, dataset and split; one column per finding, macro last."""
    findings = list(dict.fromkeys(rows["finding"]))
    order = [f for f in data.findings if f in findings] + [f for f in findings if f not in data.findings and f != MACRO]
    columns = [*order, MACRO] if MACRO in findings else order
    lines = []
    for (name, setting, dataset, split), result_rows in rows.groupby(
        ["name", "setting", "dataset", "split"], sort=False
    ):
        values = dict(zip(result_rows["finding"], result_rows["value"], strict=True))
        dataset_and_split = f"{data.hospitals[dataset].title}{', ' if split else ''}{SPLITS.get(split, split)}"
        cells = [_as_printed(values[f]) if f in values else "" for f in columns]
        lines.append({"name": name, "setting": setting, "where": dataset_and_split, "cells": cells})
    heads = ["Mean" if column == MACRO else column for column in columns]
    return {"metric": METRICS[metric], "heads": heads, "lines": lines}


def _as_printed(value: float) -> str:
    """Return a published number as text with the number of decimals that its authors gave, at least 2 and at most 4.

    >>> _as_printed(0.8791), _as_printed(0.93)
    ('.8791', '.93')
    """
    digits = len(f"{value:.4f}".rstrip("0").partition(".")[2])
    return places(value, max(2, digits))
