"""Rankings of the recipes by different scores, read from the table `ranks`."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from reports.schemas.criterion import Criterion
from reports.tables import records_of

Rows = Mapping[str, Mapping[str, Any]]  # recipe id -> row of the table `ranks`, best recipe first


def rankings(ranks: pd.DataFrame) -> dict[Criterion, Rows]:
    """Return {criterion: {recipe id: row}} from the table `ranks`; the best recipe of a ranking is first."""
    out: dict[Criterion, dict[str, Mapping[str, Any]]] = {}
    for row in records_of(ranks):
        criterion = Criterion(str(row["metric"]), str(row["dataset"]), str(row["finding"]))
        out.setdefault(criterion, {})[str(row["run_id"])] = row
    return dict(out)
