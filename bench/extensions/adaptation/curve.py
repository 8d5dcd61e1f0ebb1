"""The adaptation curve: scores of a run at one hospital after an adaptation to n labeled patients of this hospital.

One random half of the patients is measured on, for every method and n. In each draw, n patients of the other half have
labels; each sample is a part of the larger samples. The value is the mean over draws. Its interval has two parts: the
influences of the measured patients, and the scatter over draws.

Shapes: N images, P patients, K findings, S scores (both metrics of each finding), R draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from bench.extensions.adaptation.cohorts import curve_path
from bench.extensions.adaptation.methods import Adapter, Pixels
from bench.extensions.adaptation.schemas import SCHEMAS
from bench.inputs.batches import BatchReader
from bench.models.predict import predict
from bench.planning.manifest import Manifest, planned
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.planning.stored_names import find_run
from bench.results.read_predictions import unfinished
from bench.results.run_table import run_title
from bench.results.scored_run import load_scored_run
from bench.runs.stored_run import load
from bench.scoring.calibrators import Platt, fit_platt, sigmoid
from bench.scoring.column import Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.influence import half_width
from bench.scoring.scored_split import DROPPED, ScoredSplit, count
from bench.store.checked_files import write_cohort
from bench.store.checked_folders import WEIGHTS, CheckedFolder
from bench.store.store import Store
from harmonize.cache.cache import finished_cache
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress
from harmonize.seeds import seed_for, stream

Array = NDArray[np.float64]
METRICS = ("auroc", "brier")


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """The curve of a run at a hospital. table: columns of the table `adaptation`; notes: what is left out, and why."""

    run: str  # id and title
    hospital: str
    table: pd.DataFrame
    notes: tuple[str, ...]
    synthetic: bool


def adaptation_curve(
    store: Store,
    run: str,
    at: str,
    numbers: Sequence[int],
    draws: int,
    grid: str | None = None,
    device: str = "cpu",
    progress: Progress = lambda *_: None,
) -> Curve:
    """Measure the curve, and write its table into the store, where the page reads it, in place of an earlier one.

    at: a cohort. numbers: numbers of labeled patients; the curve stops at half of the hospital's patients. Raises ConfigError for an
    unknown hospital, for one that the run had seen or may have seen, and if no finding has enough patients. Raises
    StoreError for an unfinished run.
    """
    manifest, planned_run = planned(store, find_run(store, run), grid)
    hospital = _hospital(manifest, planned_run, at)
    task = Task.of(manifest, planned_run, at)
    adapter, notes = _adapter(manifest, planned_run, hospital, task, torch.device(device))
    possible = [n for n in sorted(set(numbers)) if n <= len(task.pool)]
    if left := sorted(set(numbers).difference(possible)):
        stops = f"the curve stops at {possible[-1]}" if possible else "there is no curve"
        have = f"{len(task.held) + len(task.pool):,} patients with labels, and half of them are measured on"
        notes.append(f"{manifest.titles[at]} has {have}: {stops} ({', '.join(map(str, left))} asked).")
    rows: list[tuple[object, ...]] = []
    for done, (method, n) in enumerate(steps := [(method, n) for method in adapter.methods for n in possible]):
        progress("adapt", done, len(steps))
        point = (planned_run.id, at, method, n, len(task.pool))
        rows += [(*point, *row) for row in points(task, adapter, method, n, draws)]
    table = pd.DataFrame(rows, columns=list(SCHEMAS["adaptation"]))
    few = table[(table["draws"] < draws) & (table["finding"] != MACRO)].drop_duplicates(["patients", "finding"])
    for n in possible:
        of_n = few[few["patients"] == n]
        stay = ", ".join(
            f"{k} ({draws - num} of {draws})" for k, num in zip(of_n["finding"], of_n["draws"], strict=True)
        )
        if stay:
            notes.append(f"With {n} patients, findings stay as they are in draws without one of the classes: {stay}.")
    if possible:  # else an earlier curve stays
        write_cohort(curve_path(manifest, planned_run, hospital), table, hospital.id)
    title = f"{planned_run.id} {run_title(manifest, planned_run)}"
    return Curve(title, manifest.titles[at], table, tuple(notes), manifest.phantom)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """The labeled images of a hospital. label [N, K]; logit [N, K]: zero-shot; patient [N]: codes of patients.

    start [K]: the internal calibrators, which `logit` contains. held, pool: codes of the measured patients and of the others.
    """

    findings: tuple[str, ...]
    columns: list[int]  # positions of the findings in the output of the run
    image_id: NDArray[np.object_]
    label: NDArray[np.int8]
    logit: Array
    patient: NDArray[np.int32]
    start: tuple[Platt, ...]
    held: NDArray[np.intp]
    pool: NDArray[np.intp]

    @classmethod
    def of(cls, manifest: Manifest, run: PlannedRun, at: str) -> Self:
        """Read logits and labels. Raises ConfigError without predictions, or if no finding has `min_count` measured patients of each class."""
        scored = load_scored_run(manifest.by_image, run)
        split = next((s for s in scored.scored_splits if s.dataset == at and not s.split.startswith("expert")), None)
        if split is None:  # a model of which only tables of predictions are known
            fix = "choose another hospital, or give its table to `bench evaluate`"
            raise ConfigError(f"run {run.id} has no predictions of {manifest.titles[at]}", f"--at {at}", fix)
        val = next((s for s in scored.scored_splits if (s.dataset, s.split) == (scored.internal, "val")), None)
        learned = [k for k, finding in enumerate(scored.findings) if finding not in scored.unlearned]
        used = np.flatnonzero((split.labels()[:, learned] != DROPPED).any(1))
        names, patient = np.unique(split.patient_id[used].astype(str), return_inverse=True)
        held, pool = np.split(stream(0, "adaptation", at).permutation(len(names)), [len(names) // 2])
        label, min_count = split.labels()[used], manifest.settings.min_count
        measured = np.isin(patient, held)
        available = count(label[measured], patient[measured].astype(np.int32), min_count).available
        columns = [k for k in learned if available[k]]
        if not columns:
            what = f"no finding has {min_count} measured patients with it and {min_count} without it"
            raise ConfigError(what, f"--at {at}", "half of the patients are measured: choose a larger hospital")
        start = tuple(_internal(val, k) for k in columns)
        logit = np.stack([fit.a * split.logit[used, k] + fit.b for k, fit in zip(columns, start, strict=True)], 1)
        findings = tuple(scored.findings[k] for k in columns)
        return cls(
            *(findings, columns, split.image_id[used], label[:, columns], logit.astype(np.float64)),
            *(patient.astype(np.int32), start, held, pool),
        )

    def scores(self, rows: NDArray[np.intp], logit: Array) -> tuple[Array, Array]:
        """Return the scores [S, K + 1] of images, the mean over findings last, and the influences of patients [S, K + 1, P]."""
        value = np.empty((len(METRICS), len(self.findings)))
        influence = np.zeros((*value.shape, int(self.patient.max()) + 1))
        for k, label in enumerate(self.label[rows].T):
            column = Column.of(self.patient[rows], label, logit[:, k])
            value[0, k], of_area = column.auroc()
            error = (sigmoid(column.score) - column.positive) ** 2
            value[1, k] = error.mean()
            for s, change in enumerate((of_area, (error - value[1, k]) / len(error))):
                influence[s, k] = np.bincount(column.patient, change, influence.shape[-1])
        mean = value.mean(1, keepdims=True), influence.mean(1, keepdims=True)
        return np.concatenate([value, mean[0]], 1), np.concatenate([influence, mean[1]], 1)


def _internal(val: ScoredSplit | None, k: int) -> Platt:
    """Return the calibrator of a finding from the internal validation split; without one, that which changes nothing."""
    if val is not None:
        label = val.labels()[:, k]
        fit = fit_platt(label[label != DROPPED], val.logit[label != DROPPED, k])
        if np.isfinite(fit.a):
            return fit
    return Platt(1.0, 0.0)


def _adapter(
    manifest: Manifest, run: PlannedRun, hospital: PlannedCohort, task: Task, device: torch.device
) -> tuple[Adapter, list[str]]:
    """Return what can be adapted, and a note if that is only the calibration: network or images are not in the store."""
    folder = CheckedFolder(manifest.store.run_dir(run.id))
    plain = Adapter(task.label, task.logit, task.start)
    if not (folder.path / WEIGHTS).is_file() or folder.facts()["trained"].get("given_vectors"):
        return plain, ["Only recalibration: the store has no network of this row that reads images."]
    own = load(manifest.store, run.id, str(device)).first
    fingerprint = hospital.fingerprints.get(own.run.geometry.key, "")
    cache = finished_cache(manifest.store.root / "cache", hospital.name, own.run.geometry, fingerprint)
    if cache is None:
        return plain, ["Only recalibration: the store does not have the images of this hospital."]
    pixels = Pixels(own, task.columns, BatchReader(cache.images, device), cache.rows(task.image_id.tolist()), device)
    everyone = np.arange(len(task.image_id))
    precision = own.run.config.prediction_precision
    _, feature = predict(own.network, own.normalizer, pixels.reader, pixels.row, device, precision, everyone)
    return replace(plain, pixels=pixels, feature=feature.astype(np.float32)), []


def points(task: Task, adapter: Adapter, method: str, n: int, draws: int) -> list[tuple[object, ...]]:
    """Return metric, finding and numbers of one point of the curve, for each metric and finding and their mean."""
    rows = np.flatnonzero(np.isin(task.patient, task.held))
    start, of_start = task.scores(rows, task.logit[rows])
    value, change = np.empty((draws, *start.shape)), np.zeros(of_start.shape)
    usable = np.zeros((draws, len(task.findings) + 1), bool)
    for d in range(draws):
        drawn = stream(d, "adaptation", "draw").permutation(task.pool)[:n]
        labeled = np.flatnonzero(np.isin(task.patient, drawn))
        value[d], influence = task.scores(rows, adapter.logits(method, labeled, rows, seed_for(d, "adaptation", n)))
        change += (influence - of_start) / draws
        usable[d, :-1] = adapter.usable(labeled)
    usable[:, -1] = usable.any(1)
    difference = value.mean(0) - start
    over_draws = np.moveaxis(value - value.mean(0), 0, -1) / np.sqrt(draws * max(draws - 1, 1))
    half = half_width(np.concatenate([change, over_draws], -1))
    half = np.where(np.isfinite(half), half, 0.0)  # nothing changes in any draw
    out: list[tuple[object, ...]] = []
    for s, metric in enumerate(METRICS):
        worse = (value[:, s] < start[s]) if metric == "auroc" else (value[:, s] > start[s])
        for k, finding in enumerate((*task.findings, MACRO)):
            ends = difference[s, k] - half[s, k], difference[s, k] + half[s, k]
            numbers = start[s, k], value[:, s, k].mean(), difference[s, k], *ends
            out.append((metric, finding, *numbers, int(usable[:, k].sum()), float(worse[:, k].mean())))
    return out


def _hospital(manifest: Manifest, run: PlannedRun, at: str) -> PlannedCohort:
    """Return an external hospital that the run had not seen; raise ConfigError or StoreError."""
    external = {hospital.name: hospital for hospital in manifest.external_to(run)}
    ConfigError.check_choices("at", [at], list(external))
    if at in manifest.exposed(run):
        what = f"the run had seen {manifest.titles[at]}, or may have seen it"
        raise ConfigError(what, "--at", "choose a hospital that is new to the run")
    if reason := unfinished(manifest, run):
        raise StoreError(f"run {run.id}: {reason}", str(manifest.store.run_dir(run.id)), "finish it with `bench run`")
    return external[at]
