"""What the store knows of a run at hospitals that it has never seen: how well it recognizes each finding, and whether by a shortcut."""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pandas as pd

from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store
from reports.schemas.select import select
from reports.summaries.change_rules import caught

# auroc_lowest, auroc_highest: of the external hospitals. above_chance: 1 if the 95 % interval of the AUROC is above .5 at one of
# them, else 0. shortcut: 1 if the region transplant test finds that the run reads a marker of its own hospital, else 0; NaN if
# it was not tested
ELSEWHERE = ("finding", "auroc_lowest", "auroc_highest", "hospitals", "above_chance", "shortcut")


def elsewhere(store: Store, run_id: str, internal: str, scores: Path | None = None) -> pd.DataFrame:
    """Return the AUROC of each finding at the external hospitals, columns ELSEWHERE; no rows for a run without scores.

    `internal`: name of the internal cohort. `scores`: folder of a grid's scores. Raises StoreError for damaged tables.
    """
    folder = ScoresFolder((scores or store.root / "scores") / run_id)
    if not folder.key():
        return elsewhere_table()
    tests = CheckedFolder(store.run_dir(run_id) / "transplants")
    return from_tables(folder.table("scores"), tests.table("transplants.parquet") if tests.key() else None, internal)


def from_tables(scores: pd.DataFrame, transplants: pd.DataFrame | None, internal: str) -> pd.DataFrame:
    """Return what `elsewhere` returns, from the table `scores` and, if there is one, the table `transplants` of a run."""
    rows = select(scores, finding=None, internal=internal).dropna(subset=["value"])
    rows = rows[~rows["dataset"].isin([internal, "external"])]
    shortcuts = None if transplants is None else caught(transplants, internal)
    found = [
        (
            finding,
            of_finding["value"].min(),
            of_finding["value"].max(),
            len(of_finding),
            float((of_finding["low"] > 0.5).any()),
            float("nan") if shortcuts is None else float(finding in shortcuts),
        )
        for finding, of_finding in rows.groupby("finding", sort=False)
    ]
    return elsewhere_table(found)


def elsewhere_table(rows: Sequence[object] = ()) -> pd.DataFrame:
    """Return a table with the columns ELSEWHERE from its rows; without rows, nothing is known at other hospitals."""
    kinds: dict[str, type] = {"finding": object, **dict.fromkeys(ELSEWHERE[1:], float)}
    return pd.DataFrame(rows, columns=list(ELSEWHERE)).astype(kinds)


def not_above_chance(table: pd.DataFrame) -> list[str]:
    """Return the findings of predictions whose AUROC is not clearly above .5 at any external hospital."""
    return cast("list[str]", table.loc[table["above_chance"] == 0, "finding"].unique().tolist())


def by_shortcut(table: pd.DataFrame) -> list[str]:
    """Return the findings of predictions for which the run reads a marker of its own hospital."""
    return cast("list[str]", table.loc[table["shortcut"] == 1, "finding"].unique().tolist())
