"""What a prediction of a run is worth at hospitals that the run has never seen: the verdict on each finding."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import pandas as pd

from bench.planning.manifest import Manifest
from bench.store.checked_folders import ReportFolder, ScoresFolder
from reports import verdicts
from reports.formatting import DASH, with_interval
from reports.report_data.headline_rows import MISSING, Estimate, new_hospital_lookup
from reports.schemas.change_rules import caught
from reports.schemas.select import select
from reports.tables import rows_of

# verdict: one of `verdicts.OF_FINDING`, "" if the run has no scores. auroc, auroc_low, auroc_high: AUROC to expect at a new hospital with
# its prediction interval; for verdicts.WRONG, the AUROC at `hospital`
ELSEWHERE = ("finding", "verdict", "auroc", "auroc_low", "auroc_high", "hospital")


class PageTables(NamedTuple):
    """What the page of a grid knows of new hospitals: (run, finding) -> mean and prediction, and the table `transplants`."""

    predicted: Mapping[tuple[str, str], tuple[Estimate, Estimate]]
    transplants: pd.DataFrame

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """Read the tables; what was not written is empty. Raises StoreError for damaged tables."""
        next_hospital, recipes = (_of_report(manifest, name) for name in ("next_hospital", "recipes"))
        predicted = new_hospital_lookup(next_hospital, recipes) if len(next_hospital) else {}
        return cls(predicted, _of_report(manifest, "transplants"))


def elsewhere(manifest: Manifest, run_id: str, page: PageTables | None = None) -> pd.DataFrame:
    """Return the verdict on each finding of a run as the page of its grid states it, columns ELSEWHERE; no rows for a run without scores.

    `page` is read if it is not given. Raises StoreError for damaged tables.
    """
    folder, internal = ScoresFolder(manifest.scores / run_id), manifest.source
    if not folder.key():
        return elsewhere_table()
    predicted, transplants = page or PageTables.of(manifest)
    shortcuts = caught(transplants[transplants["run_id"] == run_id], internal) if len(transplants) else []
    rows = select(folder.table("scores"), finding=None, internal=internal).dropna(subset=["value"])
    rows = rows[~rows["dataset"].isin([internal, "external"]) & (rows["finding"] != "macro")]
    columns = ("dataset", "finding", "value", "low", "high")
    cells = {(dataset, finding): Estimate(*numbers) for dataset, finding, *numbers in rows_of(rows, *columns)}
    findings = manifest.scored_findings(manifest.run_of[run_id])
    of_findings = {finding: predicted.get((run_id, finding)) for finding in findings}
    found = verdicts.matrix(cells, of_findings, shortcuts, manifest.useful or verdicts.USEFUL_FROM)
    return elsewhere_table([_row(finding, verdict, manifest.titles) for finding, verdict in found.items()])


def at_new_hospital(page: PageTables, run_id: str) -> str:
    """Return a sentence on the mean AUROC that the page predicts for the recipe of a run; "" without a prediction."""
    expected, new = page.predicted.get((run_id, "macro"), (MISSING, MISSING))
    if not new.has_interval:
        return ""
    numbers = with_interval(expected.value, new.low, new.high)
    return f"At a new hospital like the external ones, expect a mean AUROC of {numbers} (95 % prediction interval) from this recipe."


def _of_report(manifest: Manifest, name: str) -> pd.DataFrame:
    """Return a table of the report of a grid, without rows if it was not written."""
    folder = ReportFolder.of(manifest.store.root, manifest.name)
    return folder.table(f"{name}.parquet") if (folder.path / f"{name}.parquet").is_file() else pd.DataFrame()


def _row(finding: str, verdict: verdicts.Verdict, titles: Mapping[str, str]) -> tuple[object, ...]:
    number = verdict.number
    return finding, verdict.state, number.value, number.low, number.high, titles.get(verdict.hospital, "")


def elsewhere_table(rows: Sequence[object] = ()) -> pd.DataFrame:
    """Return a table with the columns ELSEWHERE from its rows; without rows, nothing is known at other hospitals."""
    numbers = dict.fromkeys(ELSEWHERE[2:5], float)
    return pd.DataFrame(rows, columns=list(ELSEWHERE)).astype(numbers)


def call_of(row: Mapping[Any, Any], rule: str) -> str:
    """Return the call of a finding at the threshold of a rule; "no call" where the finding is not useful at a new hospital."""
    call = {1.0: "positive", 0.0: "negative"}.get(row[f"call_{rule}"], "no threshold")
    return call if call == "no threshold" or row["verdict"] == verdicts.USEFUL else "no call"


def state_of(row: Mapping[Any, Any]) -> str:
    """Return the verdict on a finding in words."""
    if not isinstance(row["verdict"], str):
        return "not scored"
    return f"{row['verdict']} at {row['hospital']}" if row["hospital"] else str(row["verdict"])


def worth_of(row: Mapping[Any, Any]) -> str:
    """Return the verdict on a finding in words, with its AUROC and prediction interval."""
    numbers = with_interval(row["auroc"], row["auroc_low"], row["auroc_high"], ".2f")
    return state_of(row) if numbers == DASH else f"{state_of(row)}: {numbers}"
