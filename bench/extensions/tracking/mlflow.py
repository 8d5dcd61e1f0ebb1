"""Write finished and failed runs of a store into MLflow: configuration, training curves, scores, memory, and image counts.

Tracking only reads the store and can be repeated at any time. If MLflow already has a run with the same content, the run is
skipped. If the content has changed, the run is written again. Only names, numbers and counts are sent: no image, no id or path
of an image, no patient, no command line, and no reason of a failure.
"""

import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.config.run_config import flat
from bench.extensions.tracking.address import check_address, shown
from bench.planning.imported_run import SHARED
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import labels_of
from bench.results.run_table import read_history, run_title
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.file_integrity import bytes_sha256
from bench.store.store import canonical_json
from harmonize.errors import ConfigError, SetupError
from harmonize.progress import Progress
from reports.schemas.select import select

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID, CONTENT = "unseen.run_id", "unseen.content"  # MLflow tags: the run id, and a hash of the tracked content
METRICS = ("auroc", "auprc", "ece", "brier")
_MOST = {"metrics": 1000, "params": 100}  # maximum numbers of metrics and of parameters in one request to MLflow
_NAME = re.compile(r"[^\w\-. /]")  # a character that MLflow does not allow in the name of a metric


@dataclass(frozen=True, slots=True)
class Record:
    """The content of one run that MLflow gets.

    name                 title of the run for readers
    finished             True for a finished run, False for a failed run
    began_ms, ended_ms   times in milliseconds since 1970
    params               configuration: setting -> value
    tags                 facts about the run, such as run id, device and versions of packages
    metrics              tuples (name, value, step); step is the epoch for a value of a training curve, and 0 for other values
    """

    run_id: str
    name: str
    finished: bool
    began_ms: int
    ended_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, float, int]]

    @property
    def content(self) -> str:
        """Return a hash of the record, 16 hex digits."""
        return bytes_sha256(canonical_json(asdict(self)))[:16]


def records(manifest: Manifest, run_ids: Sequence[str], progress: Progress | None = None) -> list[Record]:
    """Return the records of those runs in `run_ids` that are finished or failed, in the order of the grid."""
    run_records = []
    runs = [run for run_id, run in manifest.run_of.items() if run_id in run_ids]
    for done, run in enumerate(runs):
        if progress:
            progress("read runs", done, len(runs))
        if manifest.store.state(run.id) in ("done", "failed"):
            run_records.append(record(manifest, run))
    if progress:
        progress("read runs", len(runs), len(runs))
    return run_records


def record(manifest: Manifest, run: PlannedRun) -> Record:
    """Return the record of a finished or failed run. `run`: the run's entry in the manifest."""
    facts, state = CheckedFolder(manifest.store.run_dir(run.id)).facts(), manifest.store.state(run.id)
    folder = manifest.store.run_dir(run.id)
    config = run.config
    ended = (folder / ("DONE" if state == "done" else "FAILED")).stat().st_mtime
    began = ended - float(facts["env"].get("seconds", 0.0))
    params = {key: _text(value) for key, value in _configuration(manifest, run).items()}
    params |= {"findings": ", ".join(config.findings), "title": run.titles["architecture"]}
    versions = {f"version.{name}": str(version) for name, version in facts["env"].get("versions", {}).items()}
    tags = {
        ID: run.id,
        "unseen.grid": manifest.name,
        "unseen.kind": str(run.kind or "run"),
        "unseen.phantom": str(manifest.phantom).lower(),
        "unseen.weights_sha256": str(facts["seal"].get("weights_after", "")),
        "unseen.device": str(facts["env"].get("device", "")),
        "mlflow.source.git.commit": str(facts["env"].get("commit", "")),
        **versions,
    }
    metrics = [*_curves(manifest, run), *_cost(facts), *_scores(manifest, run), *_data(manifest, run)]
    finite = [(_NAME.sub("_", name), float(value), step) for name, value, step in metrics if math.isfinite(value)]
    milliseconds = (int(began * 1000), int(ended * 1000))
    return Record(
        run.id,
        run_title(manifest, run),
        state == "done",
        *milliseconds,
        params,
        {k: v for k, v in tags.items() if v},
        finite,
    )


def _configuration(manifest: Manifest, run: PlannedRun) -> Mapping[str, object]:
    """Return the configuration of a run as {setting: value}.

    A derived run has only the settings whose value is the same in all its trained runs. An imported model has its scoring
    settings and its data exposure.
    """
    if run.is_imported:
        shared = {key: value for key, value in flat(asdict(run.config)).items() if key.partition(".")[0] in SHARED}
        return {
            "internal": shared.pop("train_on"),
            **shared,
            **{f"passport.{key}": value for key, value in run.passport.items()},
        }
    sources = [flat(asdict(source.config)) for source in manifest.runs if source.id in run.of]
    own = flat(asdict(run.config))
    return {key: value for key, value in own.items() if all(source[key] == value for source in sources)}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _curves(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float, int]]:
    """Yield a metric for each epoch and each column of the training history, as in `Record.metrics`."""
    history = read_history(manifest, run.id)
    for row in history.to_dict("records"):
        for column, value in row.items():
            if column != "epoch":
                yield f"curve/{column}", float(value), int(row["epoch"])


def _cost(facts: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Yield metrics of a run's cost: parameters, operations, speed, peak memory, best epoch and gradient evaluations.

    The name of the memory metric says whether the value is GPU memory or memory of the process.
    """
    on_gpu = str(facts["env"].get("device", "cpu")).partition(" ")[0] != "cpu"
    names = {
        "params": "params",
        "macs": "macs",
        "images_per_second": "images_per_second",
        "peak_memory_bytes": "gpu_memory_bytes" if on_gpu else "process_memory_bytes",
    }
    for key, name in names.items():
        if facts["cost"].get(key) is not None:
            yield f"cost/{name}", float(facts["cost"][key]), 0
    for key in ("best_epoch", "gradient_evaluations"):
        if key in facts["trained"]:
            yield f"training/{key}", float(facts["trained"][key]), 0


def _scores(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float, int]]:
    """Yield the scores of the uncalibrated outputs for each cohort, and the gaps, all with interval bounds.

    The internal cohort has scores for each split.
    """
    folder = manifest.scores / run.id
    if not (folder / "KEY").is_file():
        return
    scores, gaps = ScoresFolder(folder).table("scores"), ScoresFolder(folder).table("gaps")
    plain = select(scores, METRICS, finding=None)
    internal = manifest.source
    for row in plain.to_dict("records"):
        dataset = f"{row['dataset']}-{row['split']}" if row["dataset"] == internal else row["dataset"]
        yield from _with_interval(f"{row['metric']}/{dataset}/{row['finding']}", row)
    for row in gaps.to_dict("records"):
        if "metric" not in row or row["metric"] in ("auroc", "auroc_gap"):
            yield from _with_interval(f"auroc_gap/{row['dataset']}/{row['finding']}", row)


def _with_interval(name: str, row: Mapping[Any, Any]) -> Iterator[tuple[str, float, int]]:
    yield name, float(row["value"]), 0
    for bound in ("low", "high"):
        yield f"{name}/{bound}", float(row[bound]), 0


def _data(manifest: Manifest, run: PlannedRun) -> Iterator[tuple[str, float, int]]:
    """Yield for each hospital the number of images, the number of patients, and the number of images with each finding."""
    config = run.config
    for cohort in (*manifest.trained_at(run), *manifest.external_to(run)):
        labels = labels_of(manifest, cohort, config)
        yield f"data/{cohort.name}/images", float(len(labels.table)), 0
        yield f"data/{cohort.name}/patients", float(labels.table["patient_id"].nunique()), 0
        for k, finding in enumerate(config.findings):
            yield f"data/{cohort.name}/with {finding}", float((labels.state_NK[:, k] == 1).sum()), 0


def track(
    run_records: Sequence[Record], uri: str, experiment: str, progress: Progress | None = None
) -> dict[str, list[str]]:
    """Write records into an MLflow experiment; return {"new": run ids, "changed": run ids, "same": run ids}.

    `uri`: address of the database or server. Runs in "same" were skipped, because MLflow has them with the same content. Raises
    SetupError if MLflow is not installed, and ConfigError if the database or server cannot be used.
    """
    client = _client(uri)
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    done: dict[str, list[str]] = {"new": [], "changed": [], "same": []}
    try:
        existing = client.get_experiment_by_name(experiment)
        experiment_id = existing.experiment_id if existing else client.create_experiment(experiment)
        for index, entry in enumerate(run_records):
            if progress:
                progress("track", index, len(run_records))
            tracked = client.search_runs([experiment_id], f"tags.`{ID}` = '{entry.run_id}'")
            if len(tracked) == 1 and tracked[0].data.tags.get(CONTENT) == entry.content:
                done["same"].append(entry.run_id)
                continue
            tags = {**entry.tags, "mlflow.runName": entry.name}
            run = client.create_run(experiment_id, entry.began_ms, tags).info.run_id
            metrics = [Metric(name, value, entry.ended_ms, step) for name, value, step in entry.metrics]
            params = [Param(name, value) for name, value in entry.params.items()]
            for start in range(0, len(metrics), _MOST["metrics"]):
                client.log_batch(run, metrics=metrics[start : start + _MOST["metrics"]])
            for start in range(0, len(params), _MOST["params"]):
                client.log_batch(run, params=params[start : start + _MOST["params"]])
            # this tag is written last: a run whose tracking was interrupted has no such tag, so it is written again
            client.log_batch(run, tags=[RunTag(CONTENT, entry.content)])
            client.set_terminated(run, "FINISHED" if entry.finished else "FAILED", entry.ended_ms)
            for old in tracked:
                client.delete_run(old.info.run_id)
            done["changed" if tracked else "new"].append(entry.run_id)
        if progress:
            progress("track", len(run_records), max(1, len(run_records)))
    except MlflowException as error:
        raise _unreachable(uri, error) from error
    return done


def _client(uri: str) -> "MlflowClient":
    """Return a client for the MLflow server or database at `uri`, with MLflow's telemetry switched off.

    Raises SetupError if MLflow is not installed, and ConfigError if `uri` is invalid or cannot be used.
    """
    check_address(uri)
    for name, value in (
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"),
        ("MLFLOW_LOGGING_LEVEL", "WARNING"),
    ):
        os.environ.setdefault(name, value)
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
    lines = str(error).strip().splitlines()
    return ConfigError(
        f"cannot track: {lines[0].replace(uri, shown(uri)) if lines else type(error).__name__}",
        shown(uri),
        "check that the server runs, and that the database belongs to MLflow",
    )


def as_json(done: Mapping[str, Sequence[str]], uri: str, experiment: str) -> str:
    """Return the result of `track` as JSON text, with the address (without password) and the experiment."""
    return json.dumps({"to": shown(uri), "experiment": experiment, **done})


__all__ = ["METRICS", "Record", "as_json", "record", "records", "track"]
