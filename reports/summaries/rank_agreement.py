"""Make the two tables below the ranking: agreement of hospitals on the ranking, and variation over seeds and patients."""

from typing import Any

from reports.formatting import is_number, places
from reports.report_data.headline_rows import MISSING, Estimate
from reports.report_data.report_data import EXTERNAL, ReportData
from reports.tables import rows_of

SHOWN = 40  # maximum number of rows in the table of seeds


def agreement(data: ReportData) -> dict[str, Any]:
    """Return a triangular table: Kendall's tau between the rankings at two hospitals, for each pair of hospitals.

    The result is {} if no pair could be compared.
    """
    table = data.tables["agreement"]
    tau_of_pair = {
        frozenset((str(r["first"]), str(r["second"]))): Estimate(float(r["tau"]), float(r["low"]), float(r["high"]))
        for r in table.to_dict("records")
        if is_number(r["tau"])
    }
    if not tau_of_pair:
        return {}
    hospitals = [h for h in data.hospitals.all if any(h.key in pair for pair in tau_of_pair)]
    rows = [
        {
            "hospital": first,
            "cells": [tau_of_pair.get(frozenset((first.key, second.key)), MISSING) for second in hospitals[:k]],
        }
        for k, first in enumerate(hospitals)
    ]
    return {"heads": hospitals[:-1], "rows": rows[1:], "num_runs": int(table["num_runs"].max())}


def seeds(data: ReportData) -> list[dict[str, Any]]:
    """Return one row for each of the first SHOWN recipes with several seeds.

    A row has the internal and the external AUROC of the recipe. Each AUROC has two standard deviations: over seeds, and
    over patients.
    """
    rows = rows_of(data.tables["seeds"], "run_id", "dataset", "seed_sd", "patient_sd")
    variation = {(str(recipe), str(dataset)): deviations for recipe, dataset, *deviations in rows}
    return [
        {
            "run": recipe.label,
            "num": len(recipe.members),
            "sides": [
                _side(estimate, variation.get((recipe.id, key)))
                for key, estimate in ((data.hospitals.internal.key, recipe.internal), (EXTERNAL, recipe.external))
            ],
        }
        for recipe in data.ranked
        if (recipe.id, EXTERNAL) in variation
    ][:SHOWN]


def _side(estimate: Estimate, deviations: list[float] | None) -> dict[str, Any]:
    if deviations is None:
        return {"mean": MISSING, "seed": "", "patient": ""}
    seed_sd, patient_sd = deviations
    return {"mean": estimate, "seed": places(seed_sd, 4), "patient": places(patient_sd, 4)}
