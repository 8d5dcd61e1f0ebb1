"""Rankings of the recipes by different scores, read from the table `ranks`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from reports.formatting import is_number
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate
from reports.tables import records_of


class Criterion(NamedTuple):
    """The score that decides a ranking: a metric (`gap` is the gap in AUROC) of a finding at a hospital."""

    metric: str
    dataset: str
    finding: str

    @property
    def key(self) -> str:
        """The name of the ranking in the page's address.

        >>> DEFAULT.key, Criterion("auroc", "external", "Edema").key
        ('auroc.external', 'auroc.external.Edema')
        """
        return ".".join(self[:2] if self.finding == MACRO else self)


DEFAULT = Criterion("auroc", EXTERNAL, MACRO)  # the ranking that the page shows first
MEAN_GAP = Criterion("gap", EXTERNAL, MACRO)

Rows = Mapping[str, Mapping[str, Any]]  # recipe id -> row of the table `ranks`, best recipe first


def rankings(ranks: pd.DataFrame) -> dict[Criterion, Rows]:
    """Return the rows of each ranking by recipe."""
    out: dict[Criterion, dict[str, Mapping[str, Any]]] = {}
    for row in records_of(ranks):
        criterion = Criterion(str(row["metric"]), str(row["dataset"]), str(row["finding"]))
        out.setdefault(criterion, {})[str(row["run_id"])] = row
    return dict(out)


def score(row: Mapping[str, Any]) -> Estimate:
    """Return the score that decides a ranking; `row` is a row of the table `ranks`."""
    return _estimate(row, "value", "", "all_")


def lead(row: Mapping[str, Any]) -> Estimate:
    """Return the lead over the next row of the ranking; MISSING in the last row."""
    return _estimate(row, "lead", "lead_", "lead_all_")


def _estimate(row: Mapping[str, Any], value: str, own: str, adjusted: str) -> Estimate:
    number, low, high = (float(row.get(name, float("nan"))) for name in (value, f"{own}low", f"{own}high"))
    bounds = [float(row.get(f"{adjusted}{end}", float("nan"))) for end in ("low", "high")]
    return Estimate(number, low, high).simultaneous(*bounds) if is_number(number) else MISSING
