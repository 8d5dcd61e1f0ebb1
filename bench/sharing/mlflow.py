"""Finished runs of a store in an MLflow tracking server or database: parameters, curves, scores, memory, data in numbers.

The store stays the truth: what is tracked is read from it, after the fact and as often as one likes. A run that is there
already with the same content is left alone, one whose content has changed is written anew.
Names, numbers and counts alone are sent: no image, no id or path of one, no patient, no command line, no reason of a failure.
"""

import hashlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config.run_config import flat
from bench.planning.imported_run import KIND, SHARED
from bench.planning.manifest import Manifest
from bench.results.read_predictions import labels_of, run_facts
from bench.results.run_table import read_history, said
from bench.store.store import Progress, canonical_json, read_table
from harmonize.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ID, CONTENT = "unseen.run_id", "unseen.content"  # tags by which a run is found again, and seen to be the same
METRICS = ("auroc", "auprc", "ece", "brier")
_MOST = {"metrics": 1000, "params": 100}  # of one request to MLflow
_NAME = re.compile(r"[^\w\-. /]")


@dataclass(frozen=True, slots=True)
class Record:
    """What is said of one run. `metrics`: (name, value, step); a step is an epoch of a curve, else 0."""

    run_id: str
    name: str
    finished: bool  # else failed
    began_ms: int
    ended_ms: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Sequence[tuple[str, float, int]]

    @property
    def content(self) -> str:
        """Return 16 hex digits that change with anything that is said."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:16]


def records(manifest: Manifest, run_ids: Sequence[str], progress: Progress | None = None) -> list[Record]:
    """Return what is said of the runs that are finished or failed, in the order of the grid."""
    found = []
    runs = [run for run in (*manifest.runs, *manifest.derived) if run["id"] in run_ids]
    for done, run in enumerate(runs):
        if progress:
            progress("read runs", done, len(runs))
        if manifest.store.state(run["id"]) in ("done", "failed"):
            found.append(record(manifest, run))
    if progress:
        progress("read runs", len(runs), len(runs))
    return found


def record(manifest: Manifest, run: Mapping[str, Any]) -> Record:
    """Return what is said of a finished or failed run."""
    facts, state = run_facts(manifest.store, run["id"]), manifest.store.state(run["id"])
    folder = manifest.store.run_dir(run["id"])
    config = manifest.config(run)
    ended = (folder / ("DONE" if state == "done" else "FAILED")).stat().st_mtime
    began = ended - float(facts["env"].get("seconds", 0.0))
    params = {key: _text(value) for key, value in _configured(manifest, run).items()}
    params |= {"findings": ", ".join(config.findings), "title": str(run["titles"]["architecture"])}
    versions = {f"version.{name}": str(version) for name, version in facts["env"].get("versions", {}).items()}
    tags = {
        ID: run["id"],
        "unseen.grid": str(manifest.content["name"]),
        "unseen.kind": str(run.get("kind", "run")),
        "unseen.phantom": str(bool(manifest.content["phantom"])).lower(),
        "unseen.weights_sha256": str(facts["seal"].get("weights_after", "")),
        "unseen.device": str(facts["env"].get("device", "")),
        "mlflow.source.git.commit": str(facts["env"].get("commit", "")),
        **versions,
    }
    metrics = [*_curves(manifest, run), *_cost(facts), *_scores(manifest, run), *_data(manifest, run)]
    finite = [(_NAME.sub("_", name), float(value), step) for name, value, step in metrics if math.isfinite(value)]
    milliseconds = (int(began * 1000), int(ended * 1000))
    return Record(
        run["id"], said(run), state == "done", *milliseconds, params, {k: v for k, v in tags.items() if v}, finite
    )


def _configured(manifest: Manifest, run: Mapping[str, Any]) -> Mapping[str, object]:
    """Return the configuration: of a mean of runs what these share, of a model from elsewhere what its owner says of it."""
    if run.get("kind") == KIND:
        shared = {key: value for key, value in flat(run["config"]).items() if key.partition(".")[0] in SHARED}
        return {
            "internal": shared.pop("train_on"),
            **shared,
            **{f"passport.{key}": value for key, value in run["passport"].items()},
        }
    of = [flat(asdict(manifest.config(each))) for each in manifest.runs if each["id"] in run.get("of", ())]
    own = flat(asdict(manifest.config(run)))
    return {key: value for key, value in own.items() if all(each[key] == value for each in of)}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _curves(manifest: Manifest, run: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    history = read_history(manifest, run["id"])
    for row in history.to_dict("records"):
        for column, value in row.items():
            if column != "epoch":
                yield f"curve/{column}", float(value), int(row["epoch"])


def _cost(facts: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Yield what a run costs; memory is that of the GPU where it was trained on one, and is named so."""
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


def _scores(manifest: Manifest, run: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Yield the scores of the outputs as they are, by cohort and split, and the gaps, each with its interval."""
    folder = manifest.scores / run["id"]
    if not (folder / "KEY").is_file():
        return
    scores, gaps = read_table(folder / "scores.parquet"), read_table(folder / "gaps.parquet")
    plain = scores[scores["metric"].isin(METRICS) & (scores["calibrator"] == "none") & (scores["subgroup"] == "all")]
    internal = str(manifest.content["source"])
    for row in plain.to_dict("records"):
        where = f"{row['dataset']}-{row['split']}" if row["dataset"] == internal else row["dataset"]
        yield from _bounded(f"{row['metric']}/{where}/{row['finding']}", row)
    for row in gaps.to_dict("records"):
        if "metric" not in row or row["metric"] in ("auroc", "auroc_gap"):
            yield from _bounded(f"auroc_gap/{row['dataset']}/{row['finding']}", row)


def _bounded(name: str, row: Mapping[Any, Any]) -> Iterator[tuple[str, float, int]]:
    yield name, float(row["value"]), 0
    for bound in ("low", "high"):
        yield f"{name}/{bound}", float(row[bound]), 0


def _data(manifest: Manifest, run: Mapping[str, Any]) -> Iterator[tuple[str, float, int]]:
    """Yield images and patients of each cohort, and how many images have each finding."""
    config = manifest.config(run)
    for cohort in manifest.cohorts:
        labels = labels_of(manifest, cohort, config)
        yield f"data/{cohort['name']}/images", float(len(labels.table)), 0
        yield f"data/{cohort['name']}/patients", float(labels.table["patient_id"].nunique()), 0
        for k, finding in enumerate(config.findings):
            yield f"data/{cohort['name']}/with {finding}", float((labels.state_NK[:, k] == 1).sum()), 0


def track(found: Sequence[Record], uri: str, experiment: str, progress: Progress | None = None) -> dict[str, list[str]]:
    """Write records into an experiment; return the ids of runs that were new, changed, and the same.

    Raises SetupError without the package, ConfigError for a place that cannot be written.
    """
    client = _client(uri)
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.exceptions import MlflowException

    done: dict[str, list[str]] = {"new": [], "changed": [], "same": []}
    try:
        known = client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else client.create_experiment(experiment)
        for at, each in enumerate(found):
            if progress:
                progress("track", at, len(found))
            there = client.search_runs([number], f"tags.`{ID}` = '{each.run_id}'")
            if len(there) == 1 and there[0].data.tags.get(CONTENT) == each.content:
                done["same"].append(each.run_id)
                continue
            tags = {**each.tags, "mlflow.runName": each.name}
            run = client.create_run(number, each.began_ms, tags).info.run_id
            metrics = [Metric(name, value, each.ended_ms, step) for name, value, step in each.metrics]
            params = [Param(name, value) for name, value in each.params.items()]
            for start in range(0, len(metrics), _MOST["metrics"]):
                client.log_batch(run, metrics=metrics[start : start + _MOST["metrics"]])
            for start in range(0, len(params), _MOST["params"]):
                client.log_batch(run, params=params[start : start + _MOST["params"]])
            client.log_batch(run, tags=[RunTag(CONTENT, each.content)])  # last: what is cut off is written anew
            client.set_terminated(run, "FINISHED" if each.finished else "FAILED", each.ended_ms)
            for old in there:
                client.delete_run(old.info.run_id)
            done["changed" if there else "new"].append(each.run_id)
        if progress:
            progress("track", len(found), max(1, len(found)))
    except MlflowException as error:
        raise _unreachable(uri, error) from error
    return done


def _client(uri: str) -> "MlflowClient":
    """Return a client of the tracking server or database at `uri`; it sends nothing to anybody else."""
    scheme, _, path = uri.partition("://")
    if scheme == "sqlite" and not Path(path.removeprefix("/")).parent.is_dir():
        raise ConfigError(
            "no folder for this database", shown(uri), "make it, or name another: --to sqlite:///mlflow.db"
        )
    if scheme not in ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks"):
        fix = "name a database or a server: --to sqlite:///mlflow.db, --to http://localhost:5000"
        raise ConfigError(f"{shown(uri)!r} is no place of MLflow", "--to", fix)
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


def shown(uri: str) -> str:
    """Return the address of a server or database without the user and password in it.

    >>> shown("postgresql://me:secret@db/mlflow")
    'postgresql://db/mlflow'
    """
    return re.sub(r"://[^/@]*@", "://", uri)


def _unreachable(uri: str, error: Exception) -> ConfigError:
    said = str(error).strip().splitlines()
    return ConfigError(
        f"cannot track: {said[0].replace(uri, shown(uri)) if said else type(error).__name__}",
        shown(uri),
        "is the server up, and the database MLflow's?",
    )


def as_json(done: Mapping[str, Sequence[str]], uri: str, experiment: str) -> str:
    """Return what was done, for programs."""
    return json.dumps({"to": shown(uri), "experiment": experiment, **done})


__all__ = ["METRICS", "Record", "as_json", "record", "records", "shown", "track"]
