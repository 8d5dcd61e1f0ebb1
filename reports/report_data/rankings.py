"""Rankings of the recipes by different scores, read from the table `ranks`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.formatting import is_number
from reports.report_data.headline_rows import MISSING, Estimate
from reports.schemas.criterion import Criterion
from reports.tables import records_of

Rows = Mapping[str, Mapping[str, Any]]  # recipe id -> row of the table `ranks`, best recipe first


def rankings(ranks: pd.DataFrame) -> dict[Criterion, Rows]:
    """Return the rows of each ranking: criterion -> recipe id -> row. `ranks`: the table of this name."""
    out: dict[Criterion, dict[str, Mapping[str, Any]]] = {}
    for row in records_of(ranks):
        criterion = Criterion(str(row["metric"]), str(row["dataset"]), str(row["finding"]))
        out.setdefault(criterion, {})[str(row["run_id"])] = row
    return dict(out)


def score(row: Mapping[str, Any]) -> Estimate:
    """Return the score that decides a ranking; `row` is a row of the table `ranks`."""
    return _estimate(row, "value", "", "all_")


def lead(row: Mapping[str, Any]) -> Estimate:
    """Return the lead of a row over the next row of the ranking; MISSING for the last row.

    `row` is a row of the table `ranks`.
    """
    return _estimate(row, "lead", "lead_", "lead_all_")


def _estimate(row: Mapping[str, Any], value: str, own: str, adjusted: str) -> Estimate:
    number, low, high = (float(row.get(name, float("nan"))) for name in (value, f"{own}low", f"{own}high"))
    bounds = [float(row.get(f"{adjusted}{end}", float("nan"))) for end in ("low", "high")]
    return Estimate(number, low, high).simultaneous(*bounds) if is_number(number) else MISSING
