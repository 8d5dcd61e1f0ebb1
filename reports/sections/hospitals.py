"""Section on hospitals: a colored table of AUROC and gap by run and hospital, and a scatter of the AUROCs.

A gap is the internal minus the external AUROC. The axes of the scatter are the internal and the external AUROC.
"""

import re
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup, escape

from reports.drawing import scatter
from reports.formatting import plural
from reports.html.section import Section, write
from reports.report_data.headline_rows import MISSING, Estimate, training_lookup
from reports.report_data.hospitals_and_runs import Hospital, Run
from reports.report_data.report_data import EXTERNAL, MACRO, ReportData
from reports.sentences import data as data_sentences
from reports.sentences import main_findings as sentences

STEP = 0.02  # AUROC: width of the range of gaps that have the same color; there are eight colors
SHOWN = 20  # rows of the table that are visible at first; later rows are folded


def hospitals(data: ReportData) -> Section:
    """Write the section: the colored table, and the scatter of internal and external AUROC."""
    costly = [
        h
        for h in data.hospitals.external
        if h.mean_gap.clear_above or any(r.hospital_gaps[h.key].clear_above for r in data.ranked)
    ]
    rows = [_row(data, run) for run in data.ranked if data.hospitals.external]
    compared = [r for r in data.ranked if r.internal_common.has_value and r.external_common.has_value]
    below = sum(r.external_common.value < r.internal_common.value for r in compared)
    say = sentences.scatter_title(below, len(compared), data.unit)
    first = data.members_of_first
    context = {
        "data": data,
        "title": sentences.hospitals_title(
            len(costly),
            len(data.hospitals.external) or data.hospitals.num_external,
            len(data.ranked),
            data.has_common,
            sum(h.mean_gap.has_value for h in data.hospitals.external),
        ),
        "heads": [_head(data, hospital) for hospital in data.hospitals.all],
        "rows": rows[:SHOWN],
        "folded": rows[SHOWN:],
        "chart": scatter.internal_against_external(data, compared, say) if len(compared) > 1 else "",
        "fitted": (data.tables["robustness"]["dataset"] == EXTERNAL).any(),
        "compared": compared,
        "crosses": all(r.internal_common.has_interval for r in compared),
        "say": say,
        "shared": plural(len(first.findings), "finding") if first and first.findings else "",
        "legend": scatter.families(compared),
        "at_training": _at_training(data),
        "absent": data_sentences.without_score([h.short for h in data.hospitals.unscored])
        if data.hospitals.external
        else "",
    }
    return Section("hospitals", "Hospitals", write("hospitals.html.j2", **context))


def _at_training(data: ReportData) -> list[dict[str, Any]]:
    """Return a row for each recipe and run: the AUROC at each hospital of the pool, internal or external to the run."""
    at_training = training_lookup(data.tables, data.hospitals.internal.key)
    rows = []
    for run in data.entries if data.hospitals.pool else ():
        cells = [_at_hospital(data, run, hospital.key, at_training) for hospital in data.hospitals.pool]
        if any(cell["value"].has_value for cell in cells):
            rows.append({"run": run, "cells": cells})
    return rows


def _at_hospital(
    data: ReportData, run: Run, key: str, at_training: Mapping[tuple[str, str], Estimate]
) -> dict[str, Any]:
    """Return the AUROC of a run at a hospital of the pool, with a note: its role, and why there is no AUROC.

    The recipe of a leave-one-out grid has only external scores of a single hospital.
    """
    external = data.cells.get((run.id, key, MACRO), MISSING)
    value = external if external.has_value else at_training.get((run.id, key), MISSING)
    several_folds = len({member.left_out for member in run.members}) > 1
    role = "external" if external.has_value or several_folds or key == run.left_out else "internal"
    few = plural(value.num_findings, "finding") if value.has_value else f"< {data.min_count} patients"
    return {"value": value, "note": f"{role}, {few}"}


def step(gap: float) -> int:
    """Return the color step of a gap, 0 (lightest, also for negative gaps) to 7."""
    return max(0, min(7, int(gap / STEP)))


def _head(data: ReportData, hospital: Hospital) -> dict[str, Any]:
    """Return the head of a hospital's column: name, number of findings, smallest number of images over recipes."""
    internal = hospital.key == data.hospitals.internal.key
    numbers = [r.internal if internal else r.hospital_gaps[hospital.key] for r in data.ranked]
    estimates = [e for e in numbers if e.has_value]
    smallest, largest = (pick((e.num_findings for e in estimates), default=0) for pick in (min, max))
    first = data.members_of_first
    one_number = first.scored(largest) if first and hospital in data.hospitals.averaged else plural(largest, "finding")
    num_findings = one_number if smallest == largest else f"{smallest}–{largest} findings"
    if internal and first and len(first.findings) not in (0, largest):
        num_findings = "shared findings"
    return {
        "hospital": hospital,
        "name": "Internal" if internal else hospital.short,
        "narrow": Markup("Int.") if internal else _narrow(hospital.short),
        "internal": internal,
        "findings": num_findings,
        "n": min((e.n for e in estimates), default=0),
    }


def _narrow(name: str) -> Markup:
    """Return the name of a hospital for a narrow column: a line may break before an inner capital, and ends after "Hosp.".

    >>> _narrow("PadChest"), _narrow("Hospital A")
    (Markup('Pad<wbr>Chest'), Markup('Hosp.<br>A'))
    """
    return Markup(re.sub("(?<=[a-z])(?=[A-Z])", "<wbr>", str(escape(name))).replace("Hospital ", "Hosp.<br>"))  # noqa: S704


def _row(data: ReportData, run: Run) -> dict[str, Any]:
    """Return the table row of a run. Each external hospital has a cell with AUROC, gap and color class."""
    cells = []
    for hospital in data.hospitals.external:
        value, gap = run.hospitals[hospital.key], run.hospital_gaps[hospital.key]
        cells.append(
            {
                "value": value,
                "lost": gap,
                "css": (f"q{step(gap.value)}" if gap.has_value else "qx") + (" w" if hospital.key == run.worst else ""),
            }
        )
    return {"run": run, "cells": cells}
