"""Write finished and failed runs of a store into MLflow: configuration, training curves, scores, memory, and image counts.

Tracking only reads the store and can be repeated at any time. If MLflow already has a run with the same content, the run is
skipped. If the content has changed, the run is written again. Only names, numbers and counts are sent: no image, no id or path
of an image, no patient, no command line, and no reason of a failure.
"""

import logging
import math
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from bench.config.run_config import flat
from bench.planning.imported_run import SHARED
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import labels_of
from bench.results.run_table import read_history, run_title
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.file_integrity import bytes_sha256
from bench.store.store import canonical_json
from harmonize.errors import ConfigError, SetupError, StoreError
from harmonize.progress import Progress
from reports.schemas.select import select
from reports.tables import rows_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID, CONTENT = "unseen.run_id", "unseen.content"  # MLflow tags: the run id, and a hash of the tracked content
METRICS = ("auroc", "auprc", "ece", "brier")
_MOST_METRICS = 1000  # in one request to MLflow
_MOST_PARAMS = 100  # in one request to MLflow
_NAME = re.compile(r"[^\w\-. /]")  # a character that MLflow does not allow in the name of a metric


def track(
    manifest: Manifest, run_ids: Collection[str], uri: str, experiment: str, progress: Progress
) -> dict[str, list[str]]:
    """Write finished and failed runs into an MLflow experiment; return {"new": ids, "changed": ids, "same": ids}.

    `uri`: address of the database or server. Runs in "same" were skipped, because MLflow has them with the same content. Raises
    StoreError if no run is finished, SetupError if MLflow is not installed, and ConfigError if the database or server cannot
    be used.
    """
    states = ("done", "failed")
    runs = [run for run in manifest.run_of.values() if run.id in run_ids and manifest.store.state(run.id) in states]
    if not runs:
        raise StoreError("no run is finished", str(manifest.store.root), "run `bench run` first")
    client = _client(uri)
    from mlflow.exceptions import MlflowException

    done: dict[str, list[str]] = {"new": [], "changed": [], "same": []}
    try:
        existing = client.get_experiment_by_name(experiment)
        experiment_id = existing.experiment_id if existing else client.create_experiment(experiment)
        for index, run in enumerate(runs):
            progress("track", index, len(runs))
            done[_write(client, experiment_id, manifest, run)].append(run.id)
        progress("track", len(runs), len(runs))
    except MlflowException as error:
        raise _unreachable(uri, error) from error
    return done


def _write(client: "MlflowClient", experiment_id: str, manifest: Manifest, run: PlannedRun) -> str:
    """Write a run unless MLflow has it with the same content; return "new", "changed" or "same"."""
    from mlflow.entities import Metric, Param, RunTag

    folder = manifest.store.run_dir(run.id)
    is_done = manifest.store.state(run.id) == "done"
    facts = CheckedFolder(folder).facts()
    ended = (folder / ("DONE" if is_done else "FAILED")).stat().st_mtime
    began_ms, ended_ms = int((ended - float(facts["env"].get("seconds", 0.0))) * 1000), int(ended * 1000)
    values = metrics(manifest, run)
    settings = parameters(manifest, run)
    tags = _tags(manifest, run)
    content = bytes_sha256(canonical_json([began_ms, ended_ms, is_done, settings, tags, values]))[:16]
    tracked = client.search_runs([experiment_id], f"tags.`{ID}` = '{run.id}'")
    if len(tracked) == 1 and tracked[0].data.tags.get(CONTENT) == content:
        return "same"
    written = client.create_run(experiment_id, began_ms, tags).info.run_id
    points = [Metric(name, value, ended_ms, step) for name, value, step in values]
    params = [Param(name, value) for name, value in settings.items()]
    for start in range(0, len(points), _MOST_METRICS):
        client.log_batch(written, metrics=points[start : start + _MOST_METRICS])
    for start in range(0, len(params), _MOST_PARAMS):
        client.log_batch(written, params=params[start : start + _MOST_PARAMS])
    # this tag is written last: a run whose tracking was interrupted has no such tag, so it is written again
    client.log_batch(written, tags=[RunTag(CONTENT, content)])
    client.set_terminated(written, "FINISHED" if is_done else "FAILED", ended_ms)
    for old in tracked:
        client.delete_run(old.info.run_id)
    return "changed" if tracked else "new"


def parameters(manifest: Manifest, run: PlannedRun) -> dict[str, str]:
    """Return the configuration of a run as {setting: value}.

    A derived run has only the settings whose value is the same in all its trained runs. An imported model has its scoring
    settings and its data exposure.
    """
    settings = flat(asdict(run.config))
    if run.is_imported:
        settings = {key: value for key, value in settings.items() if key.partition(".")[0] in SHARED}
        settings = {"internal": settings.pop("train_on"), **settings}
        settings |= {f"passport.{key}": value for key, value in run.passport.items()}
    for source in (flat(asdict(source.config)) for source in manifest.runs if source.id in run.of):
        settings = {key: value for key, value in settings.items() if source[key] == value}
    settings |= {"findings": run.config.findings, "title": run.titles["architecture"]}
    return {key: ", ".join(map(str, v)) if isinstance(v, list | tuple) else str(v) for key, v in settings.items()}


def _tags(manifest: Manifest, run: PlannedRun) -> dict[str, str]:
    """Return facts about a run that are no settings, such as device and versions of packages."""
    facts = CheckedFolder(manifest.store.run_dir(run.id)).facts()
    env = facts["env"]
    tags = {
        "mlflow.runName": run_title(manifest, run),
        "mlflow.source.git.commit": env.get("commit", ""),
        ID: run.id,
        "unseen.grid": manifest.name,
        "unseen.kind": run.kind or "run",
        "unseen.phantom": str(manifest.phantom).lower(),
        "unseen.weights_sha256": facts["seal"].get("weights_after", ""),
        "unseen.device": env.get("device", ""),
        **{f"version.{name}": version for name, version in env.get("versions", {}).items()},
    }
    return {name: value for name, value in tags.items() if value}


def metrics(manifest: Manifest, run: PlannedRun) -> list[tuple[str, float, int]]:
    """Return the finite metrics of a run as (name, value, step); the step is the epoch of a training curve, else 0."""
    curves = rows_of(read_history(manifest, run.id).melt("epoch"), "variable", "value", "epoch")
    found = [(f"curve/{column}", value, int(epoch)) for column, value, epoch in curves]
    found += [(name, value, 0) for part in (_cost, _scores, _data) for name, value in part(manifest, run)]
    return [(_NAME.sub("_", name), float(value), step) for name, value, step in found if math.isfinite(value)]


def _cost(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float]]:
    """Yield a run's parameters, operations, speed, peak memory (of the GPU or of the process), best epoch and evaluations."""
    facts = CheckedFolder(manifest.store.run_dir(run.id)).facts()
    on_gpu = str(facts["env"].get("device", "cpu")).partition(" ")[0] != "cpu"
    names = {
        **{key: f"cost/{key}" for key in ("params", "macs", "images_per_second")},
        "peak_memory_bytes": "cost/gpu_memory_bytes" if on_gpu else "cost/process_memory_bytes",
    }
    yield from ((name, facts["cost"][key]) for key, name in names.items() if facts["cost"].get(key) is not None)
    for key in ("best_epoch", "gradient_evaluations"):
        if key in facts["trained"]:
            yield f"training/{key}", facts["trained"][key]


def _scores(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float]]:
    """Yield the scores of the uncalibrated outputs for each cohort, and the gaps, all with interval bounds.

    The internal cohort has scores for each split.
    """
    folder = ScoresFolder(manifest.scores / run.id)
    if not folder.key():
        return
    scores = select(folder.table("scores"), METRICS, finding=None)
    internal = scores["dataset"] == manifest.source
    scores = scores.assign(dataset=scores["dataset"].where(~internal, scores["dataset"] + "-" + scores["split"]))
    columns = ("metric", "dataset", "finding", "value", "low", "high")
    of_gaps = rows_of(folder.table("gaps").assign(metric="auroc_gap"), *columns)
    for metric, dataset, finding, value, low, high in (*rows_of(scores, *columns), *of_gaps):
        name = f"{metric}/{dataset}/{finding}"
        yield from ((name, value), (f"{name}/low", low), (f"{name}/high", high))


def _data(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float]]:
    """Yield for each hospital the number of images, the number of patients, and the number of images with each finding."""
    for cohort in (*manifest.trained_at(run), *manifest.external_to(run)):
        labels = labels_of(manifest, cohort, run.config)
        yield f"data/{cohort.name}/images", len(labels.table)
        yield f"data/{cohort.name}/patients", labels.table["patient_id"].nunique()
        for k, finding in enumerate(run.config.findings):
            yield f"data/{cohort.name}/with {finding}", (labels.state_NK[:, k] == 1).sum()


def _client(uri: str) -> "MlflowClient":
    """Return a client for the MLflow server or database at `uri`, with MLflow's telemetry switched off.

    Raises SetupError if MLflow is not installed, and ConfigError if `uri` cannot be used.
    """
    quiet = {"DISABLE_TELEMETRY": "true", "HTTP_REQUEST_MAX_RETRIES": "2", "LOGGING_LEVEL": "WARNING"}
    for name, value in quiet.items():
        os.environ.setdefault(f"MLFLOW_{name}", value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise SetupError("MLflow is not installed", f"import: {error}", "pip install 'unseen-cxr[mlflow]'") from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return MlflowClient(uri)
    except MlflowException as error:
        raise _unreachable(uri, error) from error


def _unreachable(uri: str, error: Exception) -> ConfigError:
    reason = str(error).strip().partition("\n")[0].replace(uri, without_password(uri))
    fix = "check that the server runs, and that the database belongs to MLflow; a database: --to sqlite:///mlflow.db"
    return ConfigError(f"cannot track: {reason or type(error).__name__}", without_password(uri), fix)


def without_password(uri: str) -> str:
    """Return the address of a server or database without user and password.

    >>> without_password("postgresql://me:secret@db/mlflow")
    'postgresql://db/mlflow'
    """
    return re.sub(r"://[^/@]*@", "://", uri)
