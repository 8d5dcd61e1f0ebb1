"""Describe the runs of a store: settings, state, scores, grids and date. Damaged files do not stop the list.

This module does not import pandas, so that `bench list runs` answers quickly. `bench check --store` reports damage.
"""

import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.store.checked_files import read_grid
from bench.store.checksums import JSON_RECORDS, damaged_files, scores_bytes
from bench.store.store import Store
from harmonize.errors import StoreError

SETTINGS = ("optimizer", "loss", "uncertainty", "preprocessing")
_MACRO = {"metric": "auroc", "finding": "macro", "calibrator": "none", "subgroup": "all"}


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run of a store. Settings are empty if run.json is damaged, scores if the run has none."""

    run: str
    state: str  # absent, started, done or failed
    kind: str  # run, tta, ensemble, panel or external (a model trained elsewhere)
    architecture: str
    optimizer: str
    loss: str
    uncertainty: str
    preprocessing: str
    seed: int | None
    external_auroc: float | None  # mean over the external hospitals of the macro AUROC
    scores: Sequence[Mapping[str, Any]]  # macro AUROC with 95 % interval, by dataset and split
    grids: Sequence[str]
    date: str  # day on which the run ended or failed, or else began
    remark: str  # why the run failed, is damaged, or deviates from its configuration


def stored_runs(store: Store, run_ids: Sequence[str]) -> list[StoredRun]:
    """Return the description of these runs, in their order."""
    grids = _grids(store)
    return [_stored_run(store, run_id, grids.get(run_id, [])) for run_id in run_ids]


def _grids(store: Store) -> dict[str, list[str]]:
    """Return the names of the grids that contain each run. Unreadable grids are left out."""
    names: dict[str, list[str]] = {}
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            content = read_grid(store, path.stem)
        except StoreError:
            continue
        for row in [*content.get("runs", ()), *content.get("derived", ())]:
            names.setdefault(str(row["id"]), []).append(path.stem)
    return names


def _stored_run(store: Store, run_id: str, grids: Sequence[str]) -> StoredRun:
    folder = store.run_dir(run_id)
    damaged = damaged_files(folder, JSON_RECORDS)
    document = {} if "run.json" in damaged else _document(folder)
    config: Mapping[str, Any] = document.get("config", {})
    kind = str(document.get("kind", "run"))
    scores = _scores(store.root / "scores" / run_id)
    external = next((row["auroc"] for row in scores if row["dataset"] == "external"), None)
    damage = ", ".join(map(" ".join, damaged.items()))
    settings = {key: str(config.get(key, "")) if kind == "run" else "" for key in SETTINGS}
    return StoredRun(
        run=run_id,
        state=store.state(run_id),
        kind=kind,
        architecture=str(config.get("architecture", "")),
        **settings,
        seed=int(config.get("seed", 0)) if kind == "run" and config else None,
        external_auroc=external,
        scores=scores,
        grids=grids,
        date=_date(folder),
        remark=store.reason(run_id) or damage or store.remark(run_id),
    )


def _document(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "run.json").read_text()))
    except (OSError, ValueError):
        return {}


def _scores(folder: Path) -> list[dict[str, Any]]:
    """Return the macro AUROC of a run with its interval, by dataset and split; an empty list without intact scores."""
    from pyarrow import ArrowException, parquet

    if not (folder / "scores.parquet").is_file():
        return []
    columns = ["dataset", "split", "value", "low", "high"]
    try:
        # filters of pyarrow would import pandas
        table = parquet.ParquetFile(io.BytesIO(scores_bytes(folder, "scores.parquet"))).read([*columns, *_MACRO])
    except (StoreError, OSError, ArrowException):
        return []
    cells = table.to_pydict()
    keys = zip(*(cells[name] for name in _MACRO), strict=True)
    rows = [i for i, key in enumerate(keys) if key == tuple(_MACRO.values())]
    return [
        {name: cells[name][i] for name in ("dataset", "split")}
        | {"auroc": _number(cells["value"][i]), "low": _number(cells["low"][i]), "high": _number(cells["high"][i])}
        for i in rows
    ]


def _number(value: float | None) -> float | None:
    return None if value is None or value != value else value  # NaN


def _date(folder: Path) -> str:
    for name in ("DONE", "FAILED", "run.json"):
        if (path := folder / name).is_file():
            return time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
    return ""
