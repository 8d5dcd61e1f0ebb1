"""Return the tables below the ranking: rank agreement of hospitals, and variation over seeds and patients."""

from typing import Any

from reports.formatting import is_number, places
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.report_data import EXTERNAL, ReportData

SHOWN = 40  # maximum number of rows in the table of seeds


def agreement(board: ReportData) -> dict[str, Any]:
    """Return Kendall's tau for each pair of hospitals as a triangular table; {} if no pair could be compared."""
    table = board.tables["agreement"]
    tau_of_pair = {
        frozenset((str(r["first"]), str(r["second"]))): Estimate(float(r["tau"]), float(r["low"]), float(r["high"]))
        for r in table.to_dict("records")
        if is_number(r["tau"])
    }
    if not tau_of_pair:
        return {}
    hospitals = [h for h in board.all_hospitals if any(h.key in pair for pair in tau_of_pair)]
    rows = [
        {
            "hospital": first,
            "cells": [tau_of_pair.get(frozenset((first.key, second.key)), MISSING) for second in hospitals[:k]],
        }
        for k, first in enumerate(hospitals)
    ]
    return {"heads": hospitals[:-1], "rows": rows[1:], "num_runs": int(table["num_runs"].max())}


def seeds(board: ReportData) -> list[dict[str, Any]]:
    """Return one row for each group of runs that differ only in the seed: internal and external scores."""
    labels = {run.id: run.name if run.variant.startswith("seed ") else run.label for run in board.runs}
    ranked = {run.id: k for k, run in enumerate(board.ranked)}
    groups = {
        str(run_id): {str(r["dataset"]): r for r in rows.to_dict("records")}
        for run_id, rows in board.tables["seeds"].groupby("run_id", sort=False)
    }
    return [
        {
            "run": labels.get(run_id, run_id).split(" · seed ")[0],
            "num": int(next(iter(row_of_dataset.values()))["num_seeds"]),
            "sides": [_side(row_of_dataset.get(key)) for key in (board.internal.key, EXTERNAL)],
        }
        for run_id, row_of_dataset in sorted(groups.items(), key=lambda item: ranked.get(item[0], len(ranked)))[:SHOWN]
    ]


def _side(row: dict[Any, Any] | None) -> dict[str, Any]:
    if row is None:
        return {"mean": MISSING, "seed": "", "patient": ""}
    return {
        "mean": Estimate(float(row["mean"]), float(row["low"]), float(row["high"])),
        "seed": places(float(row["seed_sd"]), 4),
        "patient": places(float(row["patient_sd"]), 4),
    }
