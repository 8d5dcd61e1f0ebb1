"""Section on estimators: how well scores can be estimated at a hospital without labels.

Each external hospital is left out in turn: its scores are estimated from its logits and from the other hospitals, then
compared with its measured scores.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from reports.drawing import svg
from reports.formatting import percent, places, sentence_case
from reports.html.section import HOSPITALS, PlacedSection, Section, write
from reports.report_data.headline_rows import MACRO, Estimate
from reports.report_data.report_data import ReportData
from reports.tables import records_of

WIDTH, HEIGHT = 230.0, 22.0
BASELINE, DEFAULT = "mean_gap", "combination"
# quantity -> its name in the table; the ECE is of uncalibrated probabilities
QUANTITIES = {
    "auroc": "AUROC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ece": "ECE",
    "prevalence": "Prevalence",
}


def estimators(data: ReportData) -> Section:
    """Write the section; empty without a table of estimators, for which at least three external hospitals are needed."""
    table = data.tables["estimators"]
    rows = _rows(table)
    if not rows:
        return Section("estimators", "Scores without labels", Markup(""))
    scale, grid = svg.difference_axis([row["difference"] for row in rows], WIDTH)
    for row in rows:
        row["figure"] = svg.difference_mark(row["difference"], scale, grid, HEIGHT) if not row["is_baseline"] else ""
    better = [row["title"] for row in rows if row["difference"].clear and not row["difference"].clear_above]
    context: dict[str, Any] = {
        "data": data,
        "title": title(better),
        "rows": rows,
        "axis": svg.tick_axis(scale, grid),
        "quantities": _quantities(table),
        "num_hospitals": len(data.hospitals),
    }
    return Section("estimators", "Scores without labels", write("estimators.html.j2", **context))


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per estimator of the macro AUROC, smallest error first.

    `difference`: error minus the error of the mean gap on the same cells, with bounds that are simultaneous over the
    estimators. It has no bounds, and so no verdict, unless the estimator has a value in all cells. A cell is a run at a
    hospital. `part`: "3 of 6" for an estimator that has a value in three of six cells; else "".
    """
    shown = table[(table["quantity"] == "auroc") & (table["finding"] == MACRO)]
    num_cells = int(shown["n"].max()) if len(shown) else 0
    rows: list[dict[str, Any]] = []
    for row in records_of(shown):
        low, high = float(row["difference_low"]), float(row["difference_high"])
        # no verdict from an interval that is printed without width, or from a part of the cells
        decides = row["n"] == num_cells and places(low) != places(high)
        difference = Estimate(float(row["difference"]), *((low, high) if decides else ()))
        rows.append(
            {
                "part": "" if row["n"] == num_cells else f"{int(row['n'])} of {num_cells}",
                "title": row["title"],
                "is_baseline": row["estimator"] == BASELINE,
                "error": Estimate.of(row),
                "difference": difference.corrected(max(1, len(shown) - 1)),
                "bias": float(row["bias"]),
                "tau": float(row["tau"]),
            }
        )
    return sorted(rows, key=lambda row: row["error"].value)


def _quantities(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one row per quantity: the mean errors of the default estimator and of the mean gap, over single findings."""
    cells = {(row["quantity"], row["estimator"]): row for row in records_of(table[table["finding"] == "all"])}
    rows = []
    for quantity, name in QUANTITIES.items():
        own, usual = cells.get((quantity, DEFAULT)), cells.get((quantity, BASELINE))
        if own and usual:
            numbers = {key: float(own[key]) for key in ("value", "coverage", "half_width")}
            printed = percent(float(own["stated"]), 1)
            rows.append({"name": name, "mean_gap": float(usual["value"]), "printed": printed, **numbers})
    return rows


def title(better: Sequence[str]) -> str:
    """State whether an estimator is better than the mean gap.

    `better`: titles of the estimators whose mean error is clearly smaller, best first.

    >>> title([])
    'No AUROC estimator is clearly better than the mean gap'
    >>> title(["CBPE", "DoC"])
    'CBPE has a smaller measured error than the mean gap'
    """
    if not better:
        return "No AUROC estimator is clearly better than the mean gap"
    return f"{sentence_case(better[0])} has a smaller measured error than the mean gap"


SECTIONS = (PlacedSection(estimators, HOSPITALS, ranked_only=True),)
