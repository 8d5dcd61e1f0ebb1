"""Read the stored tables of the analyses of a grid, and find the folders with stored heat maps."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.analyses.heatmaps.seed_stability import FILE
from bench.planning.manifest import Manifest
from bench.store.checked_folders import CheckedFolder
from reports.schemas.tables import SCHEMAS


def stored_analyses(
    manifest: Manifest, run_ids: Sequence[str], states: Sequence[Mapping[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Return {name of a report table: table}, from the finished analyses of the given runs and of the cohorts.

    If several analyses write the same table, the result has the rows of all of them. `states`: the result of
    `Manifest.analysis_states`.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    selected = {"", *run_ids}
    for analysis, state in zip(manifest.analyses, states, strict=True):
        if state["state"] != "done" or state["run_id"] not in selected:
            continue
        for path in sorted((manifest.store.root / analysis.folder).glob("*.parquet")):
            if path.stem in SCHEMAS:  # other tables in the folder are read only by the analysis itself
                frames.setdefault(path.stem, []).append(CheckedFolder(path.parent).table(path.name))
    return {name: pd.concat([f for f in parts if len(f)] or parts, ignore_index=True) for name, parts in frames.items()}


def map_folders(manifest: Manifest, states: Sequence[Mapping[str, Any]]) -> dict[str, CheckedFolder]:
    """Return {run id: folder} of the finished heat map analyses whose folder has the maps.

    `states`: the result of `Manifest.analysis_states`.
    """
    return {
        analysis.run: folder
        for analysis, state in zip(manifest.analyses, states, strict=True)
        if analysis.name == "attention" and state["state"] == "done"
        if FILE in ((folder := CheckedFolder(manifest.store.root / analysis.folder)).checksums() or {})
    }
