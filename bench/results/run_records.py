"""Read the state and the records of the runs of a grid, each file once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.planning.manifest import Manifest
from bench.results.read_predictions import has_scores, unfinished
from bench.store.checked_folders import CheckedFolder
from bench.store.store import State


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The state of a run and its recorded facts."""

    state: State
    reason: str  # why the run cannot be scored; "" if it can be scored
    is_scored: bool
    facts: Mapping[str, Any]  # content of env.json, cost.json, seal.json and trained.json, see CheckedFolder.facts


RunRecords = Mapping[str, RunRecord]  # run id -> record


def read_records(manifest: Manifest) -> dict[str, RunRecord]:
    """Return {run id: record} of all runs of a grid, with trained, derived and imported runs."""
    records = {}
    for run in manifest.run_of.values():
        reason, facts = unfinished(manifest, run), CheckedFolder(manifest.store.run_dir(run.id)).facts()
        is_scored = not reason and has_scores(manifest, run.id)
        records[run.id] = RunRecord(manifest.store.state(run.id), reason, is_scored, facts)
    return records
