"""What the store knows of a run at hospitals that it has never seen: how well each finding is recognized, and by which cause."""

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


def elsewhere(store: Store, run_id: str, internal: str) -> pd.DataFrame:
    """Return the AUROC of each finding at the external hospitals, columns ELSEWHERE; no rows for a run without scores.

    `internal`: name of the internal cohort. Raises StoreError for damaged tables.
    """
    folder = ScoresFolder(store.root / "scores" / run_id)
    if not folder.key():
        return nothing_elsewhere()
    rows = select(folder.table("scores"), finding=None, internal=internal).dropna(subset=["value"])
    rows = rows[~rows["dataset"].isin([internal, "external"])]
    tests = CheckedFolder(store.run_dir(run_id) / "transplants")
    shortcuts = caught(tests.table("transplants.parquet"), internal) if tests.key() else None
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
    return pd.DataFrame(found, columns=list(ELSEWHERE))


def nothing_elsewhere() -> pd.DataFrame:
    """Return the table of a run of which nothing is known at other hospitals."""
    return pd.DataFrame(columns=list(ELSEWHERE))


def not_above_chance(table: pd.DataFrame) -> list[str]:
    """Return the findings of predictions whose AUROC is not clearly above .5 at any external hospital."""
    return cast("list[str]", table.loc[table["above_chance"] == 0, "finding"].unique().tolist())


def by_shortcut(table: pd.DataFrame) -> list[str]:
    """Return the findings of predictions for which the run reads a marker of its own hospital."""
    return cast("list[str]", table.loc[table["shortcut"] == 1, "finding"].unique().tolist())
