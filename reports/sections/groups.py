"""Who is read worse: sex, age, view and device, hospital by hospital."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from reports import gap_sentences
from reports.board import MACRO, Board
from reports.entries import Hospital, Run
from reports.headline import MISSING, Estimate, count
from reports.section import Section, write

HEALTHY = "No Finding"
ATTRIBUTES = ("sex", "age", "view")
FOLDED = ("device",)
METRICS = (("auroc", MACRO, "AUROC"), ("underdiagnosis", HEALTHY, "Sick, called healthy"))
SHOWN = 40

Cells = Mapping[tuple[str, str, str, str, str], Estimate]  # (run, hospital, subgroup, metric, finding)


def groups(board: Board) -> Section:
    """Write AUROC and underdiagnosis of the groups for the first run, and the spreads of all; nothing without groups."""
    table = board.tables["subgroups"]
    chosen = table[table["finding"].isin([MACRO, HEALTHY])]
    cells: Cells = {
        (str(r["run_id"]), str(r["dataset"]), str(r["subgroup"]), str(r["metric"]), str(r["finding"])): Estimate(
            float(r["value"]), float(r["low"]), float(r["high"]), count(r["n"]), num_findings=count(r["num_findings"])
        )
        for r in chosen.to_dict("records")
    }
    named = list(dict.fromkeys(str(s) for s in table["subgroup"]))
    runs = [r for r in board.ranked if any(r.id == key[0] for key in cells)]
    hospitals = [h for h in board.everyone if any(h.key == key[1] and "=" in key[2] for key in cells)]
    if not runs or not hospitals:
        return Section("groups", "", Markup(""))
    first = runs[0]
    figures = [_figure(cells, first, named, metric, hospitals, ATTRIBUTES) for metric in METRICS]
    folded = [_figure(cells, first, named, metric, hospitals, FOLDED) for metric in METRICS]
    clear = [
        (h.title, attribute, cells[key])
        for h in hospitals
        for attribute in (*ATTRIBUTES, *FOLDED)
        if (key := (first.id, h.key, attribute, "auroc_spread", MACRO)) in cells and cells[key].clear
    ]
    context: dict[str, Any] = {
        "title": gap_sentences.group_spreads(first.label, clear),
        "run": first,
        "hospitals": hospitals,
        "figures": [f for f in figures if f["rows"]],
        "folded": [f for f in folded if f["rows"]],
        "spreads": [
            {
                "run": run,
                "cells": [_spread(cells, run, h, attribute) for attribute in ATTRIBUTES for h in hospitals],
            }
            for run in runs[:SHOWN]
        ],
        "attributes": ATTRIBUTES,
        "min_count": board.min_count,
    }
    return Section("groups", "Groups", write("groups.html.j2", **context))


def _figure(
    cells: Cells,
    run: Run,
    named: Sequence[str],
    what: tuple[str, str, str],
    hospitals: Sequence[Hospital],
    attributes: Sequence[str],
) -> dict[str, Any]:
    """Return one metric's rows of these attributes, without groups that have a number nowhere."""
    metric, finding, word = what
    names = [name for attribute in attributes for name in _members(named, attribute)]
    rows = [_row(cells, run, name, metric, finding, hospitals) for name in names]
    return {"name": word, "rows": [row for row in rows if row["known"]]}


def _members(named: Sequence[str], attribute: str) -> list[str]:
    """Return the groups of an attribute in the order of the table, then the attribute itself: its spread."""
    found = [name for name in named if name.startswith(f"{attribute}=") and " " + "age=" not in name]
    return [*found, attribute] if found else []


def _row(cells: Cells, run: Run, name: str, metric: str, finding: str, hospitals: Sequence[Hospital]) -> dict[str, Any]:
    """Return one group's numbers, or the spread of an attribute."""
    spread = "=" not in name
    values = [cells.get((run.id, h.key, name, metric + "_spread" * spread, finding), MISSING) for h in hospitals]
    return {
        "name": f"largest − least by {name}" if spread else name.replace("=", " "),
        "spread": spread,
        "values": values,
        "known": any(e.known for e in values),
    }


def _spread(cells: Cells, run: Run, hospital: Hospital, attribute: str) -> Estimate:
    return cells.get((run.id, hospital.key, attribute, "auroc_spread", MACRO), MISSING)
