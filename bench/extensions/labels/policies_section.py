"""Section on label policies: scores by policy and by test set.

A policy is a rule for training labels, for example for uncertain labels. Test sets can have different label sources.
"""

from typing import Any

from markupsafe import Markup

from reports.formatting import plural, sentence_case
from reports.html.section import Section, write
from reports.report_data.headline_rows import Estimate
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.sections.gap_components import READERS


def policies(data: ReportData) -> Section:
    """Write the section: a table of mean macro AUROC, with a row per policy and a column per test set.

    The section is empty if all runs have the same policy.
    """
    table = data.tables["policies"]
    if not len(table):
        return Section("policies", "", Markup(""))
    evaluations = list(table[["dataset", "split", "reference"]].drop_duplicates().itertuples(index=False, name=None))
    rows = table.to_dict("records")
    cells = {(r["policy"], r["dataset"], r["split"]): r for r in rows}
    names = list(dict.fromkeys(str(r["policy"]) for r in rows))
    readers = list(
        dict.fromkeys(READERS.get(reference, reference) for dataset, _, reference in evaluations if dataset != EXTERNAL)
    )
    context = {
        "data": data,
        "title": sentence_case(
            f"{len(names)} policies for uncertain labels, tested on labels of {' and '.join(readers)}"
        ),
        "heads": [_head(data, *evaluation) for evaluation in evaluations],
        "rows": [
            {
                "policy": name,
                "cells": [_cell(cells.get((name, dataset, split)), data.unit) for dataset, split, _ in evaluations],
            }
            for name in names
        ],
    }
    return Section("policies", "", write("policies.html.j2", **context))


def _head(data: ReportData, dataset: str, split: str, reference: str) -> tuple[str, str]:
    """Return (name, label source) of a test set for the column head; the external mean has the label source ""."""
    if dataset == EXTERNAL:
        return "External mean", ""
    name = data.hospitals[dataset].short
    name += f" {split.replace('_', ' ')}" if dataset == data.hospitals.internal.key else ""
    return name, READERS.get(reference, reference)


def _cell(row: dict[Any, Any] | None, unit: str) -> tuple[Estimate, str]:
    return Estimate.of(row), plural(int(row["num_runs"]), unit) if row else ""
