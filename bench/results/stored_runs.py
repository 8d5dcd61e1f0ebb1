"""Describe the runs of a store: settings, state, scores, grids and date.

A damaged file does not raise an error here; `bench check --store` reports damage. This module does not import pandas, so
that `bench list runs` answers quickly.
"""

import io
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from bench.config.run_config import flat
from bench.config.run_names import RunName
from bench.planning.planned_grid import PlannedGrid, PlannedRun
from bench.store.checked_files import read_grid
from bench.store.checked_folders import JSON_RECORDS, CheckedFolder, ScoresFolder
from bench.store.store import Store
from harmonize.errors import StoreError
from reports.formatting import known
from reports.schemas.select import MACRO_AUROC

NO_MEAN = "no external mean: the hospitals score too few findings in common, or too few AUROCs"  # the page says which


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run of a store.

    Name and settings are empty if the file run.json is damaged. `scores` is empty if the run has no scores.
    """

    run: str
    state: str  # absent, started, done or failed
    kind: str  # run, tta, ensemble, panel or external (a model trained elsewhere)
    name: str  # architecture, and the settings and seed if they vary among the listed runs; a derived run names its members
    architecture: str
    differences: str  # the settings that the name contains; for a derived run, its members
    # dotted key -> value of each setting that differs from its default; {} for a derived run
    settings: Mapping[str, Any]
    seed: int | None
    external_auroc: float | None  # mean over the external hospitals of the macro AUROC
    scores: Sequence[Mapping[str, Any]]  # macro AUROC with 95 % interval and number of findings, by dataset and split
    grids: Sequence[str]
    date: str  # day (UTC) on which the run ended or failed, or else began
    remark: str  # why the run failed, is damaged, deviates from its configuration, or has no external AUROC

    @property
    def external_members(self) -> str:
        """What `external_auroc` is a mean of: "2 findings, 5 hospitals"; "" without an external AUROC.

        If the hospitals have different numbers of findings, both the smallest and the largest are stated.
        """
        internal = {row["dataset"] for row in self.scores if row["split"] == "val"} | {"external"}
        nums = [
            row["num_findings"] for row in self.scores if row["dataset"] not in internal and row["auroc"] is not None
        ]
        if self.external_auroc is None or not nums:
            return ""
        findings = str(max(nums)) if min(nums) == max(nums) else f"{min(nums)} to {max(nums)}"
        hospitals = f"{len(nums)} hospital{'s' if len(nums) > 1 else ''}"
        return f"{findings} finding{'s' if max(nums) > 1 else ''}, {hospitals}"


def stored_runs(store: Store, run_ids: Sequence[str], scores: Path | None = None) -> list[RunSummary]:
    """Return a description of each run, in the order of `run_ids`.

    scores: folder of the scores of a grid; None for the scores that `bench run` computed.
    """
    grids, derived = _grids(store)
    members = [member for run_id in run_ids if run_id in derived for member in derived[run_id].of]
    read = {run_id: _Record.read(store, run_id) for run_id in dict.fromkeys([*run_ids, *members])}
    trained = {run_id: record for run_id, record in read.items() if record.kind == "run" and record.config}
    names = dict(zip(trained, RunName.among([record.config for record in trained.values()]), strict=True))
    scores = scores or store.root / "scores"
    return [
        _stored_run(store, run_id, read[run_id], grids.get(run_id, []), derived, names, _scores(scores / run_id))
        for run_id in run_ids
    ]


@dataclass(frozen=True, slots=True)
class _Record:
    """The content of a run.json, with the damage of the run's folder."""

    kind: str
    config: Mapping[str, Any]  # dotted key -> value of each setting that differs from its default
    damage: Mapping[str, str]  # file -> what is wrong

    @classmethod
    def read(cls, store: Store, run_id: str) -> Self:
        """Return the record of a run; if run.json is damaged, the kind is "run" and the configuration is empty."""
        folder = store.run_dir(run_id)
        damaged = CheckedFolder(folder).problems(JSON_RECORDS)
        document = {} if "run.json" in damaged else _document(folder)
        return cls(str(document.get("kind", "run")), flat(document.get("config", {})), damaged)


def _grids(store: Store) -> tuple[dict[str, list[str]], dict[str, PlannedRun]]:
    """Return {run id: names of the grids with this run}, and {run id: run} of derived runs.

    Unreadable grids are left out.
    """
    names: dict[str, list[str]] = {}
    derived: dict[str, PlannedRun] = {}
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            grid = PlannedGrid.of(read_grid(store, path.stem))
        except (StoreError, ValueError):
            continue
        for run_id in grid.run_of:
            names.setdefault(run_id, []).append(path.stem)
        derived |= {run.id: run for run in grid.derived}
    return names, derived


def _stored_run(
    store: Store,
    run_id: str,
    record: _Record,
    grids: Sequence[str],
    derived: Mapping[str, PlannedRun],
    names: Mapping[str, RunName],
    scores: Sequence[Mapping[str, Any]],
) -> RunSummary:
    config, kind, folder = record.config, record.kind, store.run_dir(run_id)
    architecture, differences, title = str(config.get("architecture", "")), "", ""
    if name := names.get(run_id):
        differences = name.settings_without_seed
        title = str(name)
    elif kind != "run":
        row = derived.get(run_id)
        of = RunName.joined([names[member] for member in row.of if member in names]) if row else ""
        architecture = row.name if row else architecture
        differences = f"of {of}" if of else ""
        title = f"{kind} {architecture}{' ' if of else ''}{differences}"
    of_means = [row["auroc"] for row in scores if row["dataset"] == "external"]
    without_mean = NO_MEAN if of_means and of_means[0] is None else ""
    damage = ", ".join(map(" ".join, record.damage.items()))
    return RunSummary(
        run=run_id,
        state=store.state(run_id),
        kind=kind,
        name=title,
        architecture=architecture,
        differences=differences,
        settings=config if kind == "run" else {},
        seed=int(config.get("seed", 0)) if kind == "run" and config else None,
        external_auroc=of_means[0] if of_means else None,
        scores=scores,
        grids=grids,
        date=_date(folder),
        remark=store.reason(run_id)
        or damage
        or "; ".join(filter(None, (training_remark(store, run_id), without_mean))),
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
    columns = ["dataset", "split", "value", "low", "high", "num_findings"]
    try:
        # rows are selected below, because the argument `filters` of pyarrow would import pandas
        table = parquet.ParquetFile(io.BytesIO(ScoresFolder(folder).read("scores.parquet"))).read(
            [*columns, *MACRO_AUROC]
        )
    except (StoreError, OSError, ArrowException):
        return []
    cells = table.to_pydict()
    keys = zip(*(cells[name] for name in MACRO_AUROC), strict=True)
    rows = [i for i, key in enumerate(keys) if key == tuple(MACRO_AUROC.values())]
    return [
        {name: cells[name][i] for name in ("dataset", "split", "num_findings")}
        | {"auroc": known(cells["value"][i]), "low": known(cells["low"][i]), "high": known(cells["high"][i])}
        for i in rows
    ]


def _date(folder: Path) -> str:
    for name in ("DONE", "FAILED", "run.json"):
        if (path := folder / name).is_file():
            return time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))
    return ""


def training_remark(store: Store, run_id: str) -> str:
    """Return the result of `remark_of` for a stored run; "" if trained.json is missing or damaged."""
    try:
        return remark_of(store.read_json(run_id[:2], run_id, "trained.json"))
    except StoreError:
        return ""


def remark_of(trained: Mapping[str, Any]) -> str:
    """Return how a training deviated from its configuration or from other runs, as text; "" if it did not.

    `trained`: the content of trained.json. Examples: the time limit stopped the training, memory ran out, or the features
    are tables of vectors.

    >>> remark_of({"stopped": "stopped by its limit of 2 hours after 3 of 8 epochs", "best_epoch": 2})
    'limit reached: stopped by its limit of 2 hours after 3 of 8 epochs'
    """
    titles = {"elsewhere": "trained elsewhere", "stopped": "limit reached"}
    remarks = [f"{title}: {trained[key]}" for key, title in titles.items() if key in trained]
    if "zero_shot" in trained:
        remarks.append(str(trained["zero_shot"]))
    if "given_vectors" in trained:
        remarks.append(
            "given vectors: the owner of the encoder computed the features, so this run has no heat maps, no transplant "
            "tests and no costs"
        )
    if "val_auroc" in trained:
        remarks.append("predicted in bf16: val AUROC {bf16:.4f}, in fp32 {fp32:.4f}".format_map(trained["val_auroc"]))
    if "micro_batch" in trained:
        remark = f"memory ran out: the last forward passes, and so batch norm, used {trained['micro_batch']} images at a time"
        remarks.append(remark)
    return "; ".join(remarks)
