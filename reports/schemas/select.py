"""Select rows of the table `scores` by the meaning of its columns."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported only for types: `bench list` reads MACRO_AUROC, and must start without pandas
    import pandas as pd

# values of the columns in the rows with the macro AUROC: of all images, without calibration
MACRO_AUROC = {"metric": "auroc", "finding": "macro", "calibrator": "none", "subgroup": "all"}


def select(
    scores: pd.DataFrame,
    metric: str | Collection[str] | None = MACRO_AUROC["metric"],
    *,
    finding: str | None = MACRO_AUROC["finding"],
    calibrator: str | None = MACRO_AUROC["calibrator"],
    subgroup: str = MACRO_AUROC["subgroup"],
    dataset: str | None = None,
    internal: str | None = None,
) -> pd.DataFrame:
    """Return the rows of `scores` with the stated values; by default the macro AUROCs, of all cohorts and splits.

    None: rows with any value of this column. metric: one or several metrics. internal: name of the internal cohort, of which
    only the test split is selected (not the single hospitals of a pool).

    >>> import pandas as pd
    >>> rows = [("auroc", "macro", "none", "all", .8), ("auroc", "Edema", "none", "all", .7), ("ece", "macro", "platt", "all", .1)]
    >>> scores = pd.DataFrame(rows, columns=[*MACRO_AUROC, "value"])
    >>> select(scores)["value"].tolist(), select(scores, finding=None)["value"].tolist()
    ([0.8], [0.8, 0.7])
    >>> select(scores, ("auroc", "ece"), calibrator=None)["value"].tolist()
    [0.8, 0.1]
    """
    chosen = scores["subgroup"] == subgroup
    for name, value in (("finding", finding), ("metric", metric), ("calibrator", calibrator), ("dataset", dataset)):
        if isinstance(value, str):
            chosen &= scores[name] == value
        elif value is not None:
            chosen &= scores[name].isin(list(value))
    if internal is not None:
        chosen &= (scores["dataset"] != internal) | (scores["split"] == "test")
    return scores[chosen]
