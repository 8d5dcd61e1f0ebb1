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
    """List the analyses: name, run id ("" for cohorts), non-default options, state (done, failed or absent) and reason."""
    facts: dict[str, list[list[Any]]] = {}  # run id -> facts of its predictions, read once for all its analyses
    states = []
    for analysis in manifest.analyses:
        run_id = str(analysis["run"])
        if run_id not in facts:
            facts[run_id] = predicted(manifest.store, run_id, manifest.places)
        current_key = analysis_key(analysis["identity"], facts[run_id], bool(analysis["per_run"]))
        state = _state(manifest.store.root / analysis["folder"], current_key)
        options = dict(analysis["identity"][2])
        run_or_cohorts = run_id if analysis["per_run"] else ""
        states.append({"name": analysis["name"], "run_id": run_or_cohorts, "options": options, **state})
    return states


def _state(folder: Path, current_key: str) -> dict[str, str]:
    """Return state and reason of an analysis. It is done only if its tables were made from the present predictions."""
    if key_in(folder) == current_key:
        damage = analysis_damage(folder)
        return {"state": "absent" if damage else "done", "reason": damage}
    failed = folder / "FAILED"
    return {"state": "failed" if failed.is_file() else "absent", "reason": last_line(failed)}


def stored_analyses(
    manifest: Manifest, run_ids: Sequence[str], states: Sequence[Mapping[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Read the tables of finished analyses of these runs and of the cohorts, by name in SCHEMAS.

    `states`: the result of `analysis_states`.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    selected = {"", *run_ids}
    for analysis, state in zip(manifest.analyses, states, strict=True):
        if state["state"] != "done" or state["run_id"] not in selected:
            continue
        for path in sorted((manifest.store.root / analysis["folder"]).glob("*.parquet")):
            if path.stem in SCHEMAS:  # other tables are only for the analysis itself
                frames.setdefault(path.stem, []).append(read_table(path))
    return {name: pd.concat([f for f in parts if len(f)] or parts, ignore_index=True) for name, parts in frames.items()}
