"""Stored tables of the analyses of a grid, concatenated over runs, and the state of each analysis."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench.planning.jobs import analysis_key, key_in, predicted
from bench.planning.manifest import Manifest
from bench.store.checksums import analysis_damage
from bench.store.store import last_line, read_table
from reports.schemas.tables import SCHEMAS


def analysis_states(manifest: Manifest) -> list[dict[str, Any]]:
    """List the analyses: name, run id ("" for cohorts), non-default options, state (done, failed, absent) and reason."""
    facts: dict[str, list[list[Any]]] = {}  # of a run, read once for all its analyses
    out = []
    for each in manifest.analyses:
        run_id = str(each["run"])
        if run_id not in facts:
            facts[run_id] = predicted(manifest.store, run_id, manifest.places)
        wanted = analysis_key(each["identity"], facts[run_id], bool(each["per_run"]))
        verdict = _verdict(manifest.store.root / each["folder"], wanted)
        options = dict(each["identity"][2])
        out.append({"name": each["name"], "run_id": run_id if each["per_run"] else "", "options": options, **verdict})
    return out


def _verdict(folder: Path, wanted: str) -> dict[str, str]:
    """Determine the state of an analysis: done only if its tables were made from what is in the store now."""
    if key_in(folder) == wanted:
        flaw = analysis_damage(folder)
        return {"state": "absent" if flaw else "done", "reason": flaw}
    failed = folder / "FAILED"
    return {"state": "failed" if failed.is_file() else "absent", "reason": last_line(failed)}


def stored_analyses(
    manifest: Manifest, run_ids: Sequence[str], states: Sequence[Mapping[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Read the tables of finished analyses of these runs and of the cohorts, by name in SCHEMAS.

    states: the result of `analysis_states`.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    wanted = {"", *run_ids}
    for analysis, state in zip(manifest.analyses, states, strict=True):
        if state["state"] != "done" or state["run_id"] not in wanted:
            continue
        for path in sorted((manifest.store.root / analysis["folder"]).glob("*.parquet")):
            if path.stem in SCHEMAS:  # what else lies there is for the analysis itself
                frames.setdefault(path.stem, []).append(read_table(path))
    return {name: pd.concat([f for f in found if len(f)] or found, ignore_index=True) for name, found in frames.items()}
