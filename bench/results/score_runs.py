"""Score the finished runs of a grid if their scores are missing or outdated.

Several processes are used if that saves time.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import safetensors.numpy
from threadpoolctl import threadpool_limits

from bench.config.grid_file import check_name, shipped_grids
from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.config.settings import STUDY, words_of
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.results.grid_recipes import with_chosen_runs
from bench.results.read_predictions import (
    INFLUENCES,
    SCORING_VERSION,
    STORED,
    CohortLabels,
    load_scored_splits,
    unfinished,
)
from bench.scoring.scored_split import ScoredSplit, without
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.features import features_file, read_features
from bench.store.file_integrity import bytes_sha256
from bench.store.store import canonical_json, short_hash, table_facts, write_bytes, write_table
from bench.system.devices import default_workers
from harmonize.child_processes import ProcessPool
from harmonize.errors import ConfigError, SetupError
from harmonize.progress import Progress
from reports.schemas.tables import SCHEMAS

if TYPE_CHECKING:
    from bench.scoring.score_run import RunScores

PROBE_VERSION = 1  # increase this number if a change of the code may change the results of source probes
PROBED = ("sources", "source_confusion")
FILES = (*(f"{name}.parquet" for name in STORED), INFLUENCES)
WORTH = 20_000_000  # with at least this many bytes of predictions for each process, parallel processes save time
MOST_PROCESSES = 8  # with 150,000 images, a process needs about 1 GB
CORES = default_workers()


def score_all(
    manifest: Manifest, progress: Progress, processes: int = CORES, say: Callable[[str], None] | None = None
) -> list[str]:
    """Score every finished run with missing, outdated or damaged scores; return the ids of all scored runs.

    Large inputs are scored by up to `processes` processes, at most MOST_PROCESSES; small inputs by this process. Both ways
    write files with the same bytes. `say` is called with a line of text for each run with damaged scores, and with one line
    for all scores without checksums. Runs of trials that a search does not choose are not scored.
    """
    manifest = with_chosen_runs(manifest)
    done, damage = _done_and_damage(manifest)
    pending = [run for run in done if damage.get(run.id, "outdated")]
    if say:
        for line in _remarks(damage):
            say(line)
    ready = len(done) - len(pending)
    progress("score", ready, len(done))
    for i, _ in enumerate(_each(manifest, pending, processes), ready + 1):
        progress("score", i, len(done))
    return [run.id for run in done]


def _done_and_damage(manifest: Manifest) -> tuple[list[PlannedRun], dict[str, str]]:
    """Return the runs that can be scored, and {run id: damage of its scores, or ""} of those with scores that are not outdated."""
    done = [run for run in manifest.run_of.values() if not unfinished(manifest, run)]
    damage = {run.id: ScoresFolder(_folder(manifest, run)).damage(FILES) for run in done if _has_key(manifest, run)}
    return done, damage


def _has_key(manifest: Manifest, run: PlannedRun) -> bool:
    """Return whether the scores of a run are complete and were computed from the current predictions and settings."""
    key = ScoresFolder(_folder(manifest, run)).key()
    return bool(key) and key == manifest.scores_key(run.id, SCORING_VERSION)


def _remarks(damage: Mapping[str, str]) -> list[str]:
    """Return a line for each run with damaged scores.

    >>> _remarks({"3fa9": "", "77c0": "gaps.parquet is not what was stored"})
    ['scores of run 77c0: gaps.parquet is not what was stored; made again']
    """
    return [f"scores of run {run_id}: {what}; made again" for run_id, what in damage.items() if what]


def _folder(manifest: Manifest, run: PlannedRun) -> Path:
    return manifest.scores / run.id


def _each(manifest: Manifest, runs: Sequence[PlannedRun], processes: int) -> Iterator[None]:
    """Score runs; yield after each run."""
    num = min(processes, MOST_PROCESSES, len(runs))
    if num > 1:
        num = min(num, len(runs) * _size(manifest, runs[0]) // WORTH)
    if num < 2:
        labels: dict[tuple[str, str, str], CohortLabels] = {}
        for run in runs:
            _score(manifest, run, labels)
            yield
        return
    try:
        with ProcessPool(num, _start_worker, manifest) as pool:
            for future in as_completed([pool.submit(_score_in_worker, run) for run in runs]):
                yield future.result()
    except BrokenProcessPool as error:
        what = "a scoring process died: it was killed, or memory ran out"
        fix = "score again with `bench score`: finished scores are kept"
        raise SetupError(what, str(manifest.store.root / "scores"), fix) from error


def _size(manifest: Manifest, run: PlannedRun) -> int:
    """Return the size of a run's predictions in bytes."""
    folder = manifest.store.run_dir(run.id) / "predictions"
    return sum((folder / f"{cohort.name}.parquet").stat().st_size for cohort in manifest.cohorts)


_worker: dict[str, Any] = {}  # state of a worker process: the manifest, and the labels that all runs share


def _start_worker(manifest: Manifest) -> None:
    """Prepare a worker process that scores runs."""
    _worker.update(manifest=manifest, labels={})


def _score_in_worker(run: PlannedRun) -> None:
    _score(_worker["manifest"], run, _worker["labels"])


def _score(manifest: Manifest, run: PlannedRun, labels: dict[tuple[str, str, str], CohortLabels]) -> None:
    """Score one run and write its tables. `labels` is a cache of cohort labels that all runs share."""
    with threadpool_limits(1):  # one thread, because matrix libraries with more threads add numbers in another order
        _write(manifest, run, *_compute(manifest, run, labels))


def _unpredicted(
    manifest: Manifest,
    config: RunConfig,
    predicted: Collection[str],
    labels: Mapping[tuple[str, str, str], CohortLabels],
) -> list[ScoredSplit]:
    """Return the external splits for which an imported model has no predictions, with logits of 0.

    Their labels decide over which findings the means are, so the model has the same findings as the runs. `predicted`: cohorts
    with predictions. `labels`: as `load_scored_splits` left them.
    """
    splits: list[ScoredSplit] = []
    for cohort in (cohort for cohort in manifest.external if cohort.name not in predicted):
        of_cohort = labels[cohort.name, "/".join(config.findings), ""]
        image_id = pa.chunked_array([pa.array(of_cohort.table["image_id"].astype(str))])
        logit_KN = np.zeros((len(config.findings), len(image_id)), np.float32)
        parts = of_cohort.parts(manifest, cohort, manifest.store.root, image_id)
        splits += [
            without(part.of_run(logit_KN), manifest.uncounted(config.findings), config.findings) for part in parts
        ]
    return splits


def _compute(
    manifest: Manifest, run: PlannedRun, labels: dict[tuple[str, str, str], CohortLabels]
) -> tuple["RunScores", dict[str, pd.DataFrame]]:
    """Return the scores of a run, and {name: table} of further tables: diagnostics, mappings, source probes."""
    from bench.scoring.diagnostics import symptoms
    from bench.scoring.gaps.label_mappings import sensitivity
    from bench.scoring.score_run import score_run

    config = run.config
    unlearnt = CheckedFolder(manifest.store.run_dir(run.id)).facts()["trained"].get("unlearnt", [])
    splits = load_scored_splits(manifest, run, config, labels)
    settings = replace(manifest.settings, selection=config.selection)
    internal, findings = manifest.source, config.findings
    unpredicted = []
    if run.is_imported:
        unpredicted = _unpredicted(manifest, config, {split.dataset for split in splits}, labels)
    result = score_run(run.id, findings, internal, [*splits, *unpredicted], settings, unlearnt)
    if unpredicted:
        result = result.without_hospitals({split.dataset for split in unpredicted})
    predicted_splits = splits
    if run.kind:
        predicted_splits = [without(scored_split, unlearnt, findings) for scored_split in splits]
    diagnoses = symptoms(predicted_splits, findings, internal, result.scores)
    # If an imported model or a panel does not predict a finding, all logits of the finding are 0. These zeros are not a fault.
    if run.kind:
        diagnoses = diagnoses[~diagnoses["finding"].isin(unlearnt)].reset_index(drop=True)
    diagnoses.insert(0, "run_id", run.id)
    # The comparison of label mappings (`sensitivity`) includes findings that the run did not learn. `result.measured` has no
    # numbers for these findings. So if there are such findings, `sensitivity` gets None and computes the metrics again.
    measurements = [None if unlearnt else measured for measured in result.measured]
    sensitivities = [
        row
        for scored_split, measured in zip(splits, measurements, strict=True)
        if scored_split.dataset != internal and scored_split.patient_groups
        for row in sensitivity(run.id, scored_split, findings, settings, measured)
    ]
    extra = {
        **_probe(manifest, run, splits),
        "diagnostics": diagnoses,
        "mappings": pd.DataFrame(sensitivities, columns=list(SCHEMAS["mappings"])),
    }
    return result, extra


def _write(manifest: Manifest, run: PlannedRun, result: "RunScores", extra: Mapping[str, pd.DataFrame]) -> None:
    folder, key = _folder(manifest, run), manifest.scores_key(run.id, SCORING_VERSION)
    (folder / "KEY").unlink(missing_ok=True)
    frames = {
        "scores": result.scores,
        "gaps": result.gaps,
        "reliability": result.reliability,
        "confusion": result.confusion,
        "delong": result.delong,
        "operating_points": result.operating_points,
        **result.detail,
        **extra,
    }
    checksums = {}
    for name, frame in frames.items():
        file = f"{name}.parquet"
        facts = {str(name): str(value) for name, value in frame.attrs.items()}
        checksums[file] = write_table(folder / file, frame, {"key": key} | facts)
    influences = {
        f"{name}|{sample}": np.ascontiguousarray(of, np.float32)
        for name, estimate in result.estimates.items()
        for sample, of in estimate.influence.of.items()
    }
    values = {name: float(estimate.value) for name, estimate in result.estimates.items()}
    content = safetensors.numpy.save(influences, {"values": json.dumps(values)})
    write_bytes(folder / INFLUENCES, content)
    checksums[INFLUENCES] = bytes_sha256(content)
    CheckedFolder(folder).write_checksums(checksums)
    write_bytes(folder / "KEY", key.encode())


def _probe(manifest: Manifest, run: PlannedRun, splits: Sequence[ScoredSplit]) -> dict[str, pd.DataFrame]:
    """Return the tables of the source probes, which predict the cohort of an image from the run's features.

    The tables of a derived run are empty. Existing tables are reused if images, weights and labels are the same.
    """
    findings = run.config.findings
    headline_split = {c.name: CohortRole.of(c).headline_name for c in manifest.cohorts}
    headline = [
        scored_split for scored_split in splits if scored_split.split == headline_split.get(scored_split.dataset)
    ]
    key = _probe_key(manifest, run, headline)
    folder = _folder(manifest, run)
    same = all(table_facts(folder / f"{name}.parquet").get("probe") == key for name in PROBED)
    if same and not ScoresFolder(folder).damage([f"{name}.parquet" for name in PROBED]):
        return {name: _with_key(ScoresFolder(folder).table(name), key) for name in PROBED}
    from bench.analyses.shortcuts.source import Source, source_probe  # imported here, because it imports scikit-learn

    sources: dict[str, Source] = {}
    for scored_split in headline:
        stored_run = manifest.store.run_dir(run.id)
        if not (stored_run / features_file(scored_split.dataset)).is_file():
            continue
        feature, patient = read_features(CheckedFolder(stored_run), scored_split.dataset)
        # Each patient's stored features belong to the patient's first image. A patient who is missing in this split gets
        # the row of another patient, which the comparison below notices.
        ids, first = np.unique(scored_split.patient_id.astype(str), return_index=True)
        rows = first[np.searchsorted(ids, patient).clip(max=len(ids) - 1)]
        if (scored_split.patient_id[rows].astype(str) == patient).all():
            labels, logit = scored_split.labels()[rows], scored_split.logit[rows]
            sources[scored_split.dataset] = Source(feature, patient, labels, logit)
        else:  # omit labels and logits: they may belong to other images than the features
            sources[scored_split.dataset] = Source(feature, patient)
    # The limit of one thread is set again, because scikit-learn may have been imported after `_score` set it.
    with threadpool_limits(1):
        tables = dict(zip(PROBED, source_probe(sources, findings), strict=True))
    for frame in tables.values():
        frame.insert(0, "run_id", run.id)
    return {name: _with_key(frame, key) for name, frame in tables.items()}


def _with_key(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Attach the hash of the source probes' inputs to a table; `_write` stores it with the table."""
    frame.attrs = {"probe": key}
    return frame


def _probe_key(manifest: Manifest, run: PlannedRun, parts: Sequence[ScoredSplit]) -> str:
    """Return a hash of everything that a run's source probes depend on: images, weights and labels."""
    images = [[name, *facts] for name, _, _, _, *facts in manifest.predicted(run.id)]
    labels = [part.cached("hash of labels", lambda: short_hash(part.labels().tobytes())) for part in parts]  # noqa: B023
    return short_hash(canonical_json([PROBE_VERSION, run.id, images, labels]), 32)


def rescored(
    manifest: Manifest, name: str, changes: Mapping[str, Any], command: str, registry: Path | None = None
) -> Manifest:
    """Write a manifest with the same runs and changed settings under another name; return the new manifest.

    `changes`: field of `Settings` -> value. `registry`: a file whose metrics are scored. A second call with the same changes
    and name adds the runs that have finished since the first call. Raises ConfigError for an unknown value. Also raises
    ConfigError if `name` is an invalid folder name, the name of a grid of `bench run`, or the name of scores with other
    settings.
    """
    path = _path(manifest, name, changes or registry)
    findings = {finding for run in manifest.runs or manifest.imported for finding in run.config.findings}
    ConfigError.check_choices("findings", changes.get("findings", ()), sorted(findings))
    how = words_of(changes)
    if changes.get("unit") == STUDY and manifest.of_bundles:
        fix = "score the store in which the runs were trained"
        raise ConfigError("bundles do not state which images are of one study", "--unit", fix)
    if "findings" in changes:
        how.append(f"{len(changes['findings'])} of {len(findings)} findings")
    settings = replace(manifest.settings, **changes)
    if registry is not None:
        found = Registry.read(registry)
        for entry in found.custom_metrics:
            entry.check()  # before the manifest is written, so that a wrong name leaves nothing behind
        entries = found.sections["metrics"].values()
        bins = next((int(e.options.get("bins", 15)) for e in entries if e.name == "ece"), settings.bins)
        settings = replace(settings, custom_metrics=found.custom_metrics, bins=bins)
        how.append("metrics of another registry")
    again = replace(
        manifest,
        name=name,
        title=f"{manifest.title}: {', '.join(how)}",
        settings=settings,
        scored_from=manifest.scored_from or manifest.name,
        scored_by=command,
        scored_how=", ".join(how),
    )
    _check_same_way(path, again)
    again.write()
    return again


def _path(manifest: Manifest, name: str, changes: object) -> Path:
    """Return the path of the manifest with the new settings.

    Raises ConfigError if the name is invalid or belongs to a grid of `bench run`, and if no setting changes.
    """
    check_name(name, "--as")
    path = manifest.store.root / "grids" / f"{name}.json"
    if not changes:
        fix = "change a setting: --mapping, --labels-read, --findings, --min-count, --threshold, --unit or --registry"
        raise ConfigError(f"the scores of {name!r} would equal those of the grid", "--as", fix)
    taken = path.is_file() and not read_manifest(manifest.store, name).scored_from
    # A later `bench run` of a shipped grid would overwrite a manifest of the same name.
    if taken or name in shipped_grids():
        raise ConfigError(f"{name!r} is the name of a grid", "--as", "choose a name that no grid has")
    return path


def _check_same_way(path: Path, again: Manifest) -> None:
    """Raise ConfigError if `path` has a manifest with other settings than `again`: its scores would be overwritten."""
    if path.is_file():
        before = read_manifest(again.store, path.stem)
        if (before.scored_from, before.settings) != (again.scored_from, again.settings):
            what = f"{path.stem!r} has other scores already: those of {before.scored_from}, {before.scored_how}"
            raise ConfigError(what, "--as", f"choose another name, or delete {path} to reuse this name")
