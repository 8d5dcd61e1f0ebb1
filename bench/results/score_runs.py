"""Scores of every finished run of a grid, made where they are missing or out of date; several runs at once where that pays."""

import io
import multiprocessing
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bench.planning.imported_run import KIND
from bench.planning.jobs import key_in, predicted
from bench.planning.manifest import Manifest
from bench.planning.protocol import CohortRole, headline_name
from bench.results.read_predictions import FRAMES, SCORING_VERSION, Labels, parts_of, run_facts, unfinished
from bench.scoring.scored_split import ScoredSplit
from bench.store.checksums import read_verified
from bench.store.file_integrity import is_intact
from bench.store.store import (
    Progress,
    canonical_json,
    read_table,
    replacing,
    short_hash,
    table_facts,
    write_bytes,
    write_table,
)
from bench.system.child_processes import end_with_parent
from harmonize.errors import SetupError, StoreError
from reports.schemas.tables import SCHEMAS

if TYPE_CHECKING:
    from bench.scoring.score_run import RunScores

PROBE_VERSION = 2  # raise it when the same features may give other numbers
PROBED = ("sources", "source_confusion")
WORTH = (
    40_000_000  # bytes of predictions to score, of all runs, from which processes beside each other pay for their start
)


def score_all(manifest: Manifest, progress: Progress, threads: int = 2) -> list[str]:
    """Score every finished run whose scores are not there or out of date; return the ids of all scored runs.

    Many runs of large cohorts are scored by as many processes as threads are given, else one after the other with that many
    threads: the files are the same bytes either way.
    """
    done = [run for run in (*manifest.runs, *manifest.derived) if not unfinished(manifest, run)]
    pending = [run for run in done if not _up_to_date(manifest, run)]
    ready = len(done) - len(pending)
    progress("score", ready, len(done))
    for i, _ in enumerate(_each(manifest, pending, threads), ready + 1):
        progress("score", i, len(done))
    return [run["id"] for run in done]


def _up_to_date(manifest: Manifest, run: Mapping[str, Any]) -> bool:
    folder = _folder(manifest, run)
    key = key_in(folder)
    if not key or key != _key(manifest, run):  # to look into the tables of a hundred runs takes .2 s
        return False
    made = all(table_facts(folder / f"{name}.parquet").get("key") == key for name in FRAMES)
    return made and is_intact(folder / "replicates.npz")


def _folder(manifest: Manifest, run: Mapping[str, Any]) -> Path:
    return manifest.scores / str(run["id"])


def _each(manifest: Manifest, runs: Sequence[Mapping[str, Any]], threads: int) -> Iterator[None]:
    """Score runs; yield after each."""
    num = min(threads, os.cpu_count() or 1, len(runs))
    if num < 2 or len(runs) * _size(manifest, runs[0]) < WORTH:
        labels: dict[tuple[str, str, str], Labels] = {}
        for run in runs:
            _score(manifest, run, labels, threads)
            yield
        return
    pool = ProcessPoolExecutor(num, multiprocessing.get_context("spawn"), _begin, (manifest,))
    try:
        for ended in as_completed([pool.submit(_score_there, run) for run in runs]):
            yield ended.result()
        pool.shutdown(wait=False)  # idle processes end by themselves: the page does not wait .1 s for it
    except BrokenProcessPool as error:
        what = "a process that scores runs died: killed, or out of memory"
        raise SetupError(what, str(manifest.store.root / "scores"), "score again: what is finished is kept") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _size(manifest: Manifest, run: Mapping[str, Any]) -> int:
    """Return how many bytes the predictions of a run have."""
    folder = manifest.store.run_dir(run["id"]) / "predictions"
    return sum((folder / f"{cohort['name']}.parquet").stat().st_size for cohort in manifest.cohorts)


_here: dict[str, Any] = {}  # of a worker process: the manifest and the labels, kept from run to run


def _begin(manifest: Manifest) -> None:
    """Prepare a process that scores runs."""
    end_with_parent()
    _here.update(manifest=manifest, labels={})


def _score_there(run: Mapping[str, Any]) -> None:
    _score(_here["manifest"], run, _here["labels"], 1)


def _score(
    manifest: Manifest, run: Mapping[str, Any], labels: dict[tuple[str, str, str], Labels], threads: int
) -> None:
    """Score one run and write what was found; `labels` are kept between runs."""
    with threadpool_limits(1):  # a matrix library that shares its work out adds up in another order
        _write(manifest, run, *_found(manifest, run, labels, threads))


def _found(
    manifest: Manifest, run: Mapping[str, Any], labels: dict[tuple[str, str, str], Labels], threads: int
) -> tuple["RunScores", dict[str, pd.DataFrame]]:
    """Return the scores of a run, and the other tables about it by name."""
    from bench.scoring.diagnostics import symptoms
    from bench.scoring.gaps.label_mappings import sensitivity
    from bench.scoring.score_run import (  # they compile kernels: a finished grid does not wait for them
        score_run,
        without,
    )

    config = manifest.config(run)
    parts = parts_of(manifest, run, config, labels, partial(_as_stored, manifest, run))
    settings = replace(manifest.settings, selection=config.selection)
    internal, findings = manifest.content["source"], config.findings
    parts = [without(part, manifest.uncounted(findings), findings) for part in parts]
    unlearnt = run_facts(manifest.store, run["id"])["trained"].get("unlearnt", [])
    result = score_run(run["id"], findings, internal, parts, settings, threads, unlearnt)
    given = [without(part, unlearnt, findings) for part in parts] if run.get("kind") == KIND else parts
    found, counts = symptoms(given, findings, internal, result.scores)
    if run.get("kind") == KIND:  # what a model from elsewhere does not give is no constant output
        found = found[~found["finding"].isin(unlearnt)].reset_index(drop=True)
    for frame in (found, counts):
        frame.insert(0, "run_id", run["id"])
    known = [
        None if unlearnt else each for each in result.measured
    ]  # `measured` lacks unlearnt findings, which the mappings include
    readings = [
        row
        for part, measured in zip(parts, known, strict=True)
        if part.dataset != internal and part.patient_groups
        for row in sensitivity(run["id"], part, findings, settings, threads, measured)
    ]
    extra = {
        **_probe(manifest, run, parts),
        "diagnostics": found,
        "histograms": counts,
        "mappings": pd.DataFrame(readings, columns=list(SCHEMAS["mappings"])),
    }
    return result, extra


def _as_stored(manifest: Manifest, run: Mapping[str, Any], path: Path) -> bytes:
    """Return what is in a file of a run.

    Raises StoreError where it is not what the run has stored: nothing is scored from it.
    """
    folder = manifest.store.run_dir(run["id"])
    content, said = read_verified(path, folder)
    if said:
        fix = f"delete it: rm '{path}', then run the grid again: it is made again"
        raise StoreError(f"run {run['id']}: {path.relative_to(folder).as_posix()} {said}", str(path), fix)
    return content


def _key(manifest: Manifest, run: Mapping[str, Any]) -> str:
    """Return what the scores of a run depend on, as a hash."""
    facts = predicted(manifest.store, run["id"], manifest.places)
    counted = manifest.content.get("counted", "all")
    return short_hash(canonical_json([SCORING_VERSION, run["id"], facts, asdict(manifest.settings), counted]), 32)


def _write(manifest: Manifest, run: Mapping[str, Any], result: "RunScores", extra: Mapping[str, pd.DataFrame]) -> None:
    folder, key = _folder(manifest, run), _key(manifest, run)
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
    for name, frame in frames.items():
        write_table(folder / f"{name}.parquet", frame, {"key": key} | {str(k): str(v) for k, v in frame.attrs.items()})
    with replacing(folder / "replicates.npz") as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **result.replicates)
    write_bytes(folder / "KEY", key.encode())


def _probe(manifest: Manifest, run: Mapping[str, Any], parts: Sequence[ScoredSplit]) -> dict[str, pd.DataFrame]:
    """Return the source classifiers' tables from the run's frozen features; no rows for a derived run, which has none.

    What an earlier scoring found stays where images, weights and labels are the same.
    """
    findings = manifest.config(run).findings
    wanted = {c["name"]: headline_name(CohortRole.of(c)) for c in manifest.cohorts}
    chosen = [part for part in parts if part.split == wanted[part.dataset]]
    key = _probe_key(manifest, run, chosen)
    before = {name: _folder(manifest, run) / f"{name}.parquet" for name in PROBED}
    if all(table_facts(path).get("probe") == key for path in before.values()):
        return {name: _known_by(read_table(path), key) for name, path in before.items()}
    from bench.analyses.shortcuts.source import Source, source_probe  # they bring scikit-learn: not where all is kept

    sources: dict[str, Source] = {}
    for part in chosen:
        path = manifest.store.run_dir(run["id"]) / "features" / f"{part.dataset}.npz"
        if not path.is_file():
            continue
        feature, patient = _features(path, _as_stored(manifest, run, path))
        ids, first = np.unique(part.patient_id.astype(str), return_index=True)  # as the sample of features was drawn
        at = first[np.searchsorted(ids, patient).clip(max=len(ids) - 1)]
        if (part.patient_id[at].astype(str) == patient).all():
            sources[part.dataset] = Source(feature, patient, part.labels()[at], part.logit[at])
        else:  # the labels are not known to be of these images
            sources[part.dataset] = Source(feature, patient)
    with threadpool_limits(1):  # of scikit-learn, too, if it has just been imported
        tables = dict(zip(PROBED, source_probe(sources, findings), strict=True))
    for frame in tables.values():
        frame.insert(0, "run_id", run["id"])
    return {name: _known_by(frame, key) for name, frame in tables.items()}


def _features(path: Path, content: bytes) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return stored features [n, F] and the patient of each [n]. Raises StoreError where the file is damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return stored["feature"], stored["patient_id"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        fix = "run the grid again: what is missing is made again"
        raise StoreError(f"cannot read the features: {error}", str(path), fix) from error


def _known_by(frame: pd.DataFrame, key: str) -> pd.DataFrame:
    """Note in a table what it was made from; `_write` passes it on to the file."""
    frame.attrs = {"probe": key}
    return frame


def _probe_key(manifest: Manifest, run: Mapping[str, Any], parts: Sequence[ScoredSplit]) -> str:
    """Return what the source probes of a run depend on: images, weights and labels, but not how the run is scored."""
    images = [[name, *facts] for name, _, _, _, *facts in predicted(manifest.store, run["id"], manifest.places)]
    labels = [part.cached("hash of labels", lambda: short_hash(part.labels().tobytes())) for part in parts]  # noqa: B023
    return short_hash(canonical_json([PROBE_VERSION, run["id"], images, labels]), 32)
