"""Tables below the ranking: rank agreement between hospitals, and variation between seeds and patient samples."""

from typing import Any

from reports.formatting import is_number, places
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.report_data import EXTERNAL, ReportData

SHOWN = 40  # groups of seeds


def agreement(board: ReportData) -> dict[str, Any]:
    """Return Kendall's tau between pairs of hospitals as a lower triangle; {} if no pair could be compared."""
    table = board.tables["agreement"]
    found = {
        frozenset((str(r["first"]), str(r["second"]))): Estimate(float(r["tau"]), float(r["low"]), float(r["high"]))
        for r in table.to_dict("records")
        if is_number(r["tau"])
    }
    if not found:
        return {}
    shown = [h for h in board.all_hospitals if any(h.key in pair for pair in found)]
    rows = [
        {"hospital": one, "cells": [found.get(frozenset((one.key, two.key)), MISSING) for two in shown[:k]]}
        for k, one in enumerate(shown)
    ]
    return {"heads": shown[:-1], "rows": rows[1:], "num_runs": int(table["num_runs"].max())}


def seeds(board: ReportData) -> list[dict[str, Any]]:
    """Return one row for each set of runs that differ only in the seed, with internal and external scores."""
    labels = {run.id: run.name if run.variant.startswith("seed ") else run.label for run in board.runs}
    ranked = {run.id: k for k, run in enumerate(board.ranked)}
    groups = {
        str(run_id): {str(r["dataset"]): r for r in rows.to_dict("records")}
        for run_id, rows in board.tables["seeds"].groupby("run_id", sort=False)
    }
    return [
        {
            "run": labels.get(run_id, run_id).split(" · seed ")[0],
            "num": int(next(iter(found.values()))["num_seeds"]),
            "sides": [_side(found.get(key)) for key in (board.internal.key, EXTERNAL)],
        }
        for run_id, found in sorted(groups.items(), key=lambda item: ranked.get(item[0], len(ranked)))[:SHOWN]
    ]


def _side(row: dict[Any, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"mean": MISSING, "seed": "", "patient": ""}
    return {
        "mean": Estimate(float(row["mean"]), float(row["low"]), float(row["high"])),
        "seed": places(float(row["seed_sd"]), 4),
        "patient": places(float(row["patient_sd"]), 4),
    }
