"""`bench export`: write runs of the store as a bundle that others can score again."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.registry import Registry
from bench.config.settings import IMAGE
from bench.extensions.bundles.archive import README, README_FILE, pack, reading
from bench.extensions.bundles.limits import COHORT_NAME
from bench.extensions.bundles.pseudonyms import Ordinals, assign_ordinals, columns_of, kinds, table_id
from bench.extensions.bundles.read_bundle import BUNDLE_SCHEMA, HISTORY, bundle_document, made_of, read_bundle
from bench.extensions.bundles.records import RECORDS
from bench.extensions.bundles.tables import kinds_of, write_columns
from bench.extensions.bundles.unlearned import check_unlearned
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.results.read_predictions import SCORING_VERSION, CohortLabels, load_scored_splits, unfinished
from bench.results.same_scores import SCORED, versions
from bench.results.score_runs import score_all
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import canonical_json, replacing, table_facts, write_bytes, write_table
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress


@dataclass(frozen=True, slots=True)
class Export:
    """The result of an export: the bundle's id (see `archive.pack`), the private key file, and numbers of exported items."""

    id: str
    key: Path
    runs: int
    cohorts: int
    images: int
    scores: int


def export(
    manifest: Manifest,
    run_ids: Sequence[str],
    output: Path,
    registry: Registry,
    progress: Progress,
) -> Export:
    """Write finished runs of a grid as the bundle `output`, and write the bundle's key file into the same folder.

    The source runs of derived runs are written, too. Only the owner of the key file can read it; it maps ordinals to ids.
    The scores in the bundle are computed from its content, in which the order of patients is random. Raises StoreError for an
    unfinished run, and for a finding that `check_unlearned` refuses; ConfigError for a store made from bundles, a grid with
    `search`, and an invalid cohort name.
    """
    if manifest.of_bundles:
        fix = "share the original bundles: `bench verify` accepts them"
        raise ConfigError("this store was made from bundles", str(manifest.store.root), fix)
    if manifest.search:
        fix = "write a grid with the chosen settings (table `trials`), run it in the same store, and export that grid"
        raise ConfigError("a bundle cannot hold a grid with `search`", manifest.name, fix)
    if manifest.settings.unit != IMAGE:
        what, fix = "a bundle cannot hold scores of studies", "`bench score --as NAME --unit image`, then export NAME"
        raise ConfigError(what, manifest.name, fix)
    chosen = _with_sources(manifest, run_ids)
    with reading(output), tempfile.TemporaryDirectory() as temporary:
        folder, again = Path(temporary) / "members", Path(temporary) / "store"
        key = _write_members(manifest, chosen, folder)
        read = read_bundle(folder, again, registry)
        score_all(read, progress)
        check_unlearned(read)
        num_scores = sum(write_scores(read, run.id, folder) for run in chosen)
        with replacing(output) as unfinished_file:
            bundle_id = pack(folder, unfinished_file)
            key_path = output.with_suffix(".key.parquet")
            # the key file is written before the bundle gets its final name, so that no bundle exists without its key
            write_table(key_path, key, {"bundle": bundle_id}, mode=0o600)
    return Export(bundle_id, key_path, len(chosen), len(manifest.cohorts), len(key), num_scores)


def _with_sources(manifest: Manifest, run_ids: Sequence[str]) -> list[PlannedRun]:
    """Return the manifest's entries of the given runs and of all their source runs, in the order of the grid.

    Raises StoreError for an unfinished run, and ConfigError for a pool, and for a cohort name that is not allowed in a bundle.
    """
    selected, remaining = set(), list(run_ids)
    while remaining:
        run = manifest.run_of[remaining.pop()]
        if reason := unfinished(manifest, run):
            fix = "finish it with `bench run`, or leave it out"
            raise StoreError(f"run {run.id}: {reason}", str(manifest.store.run_dir(run.id)), fix)
        selected.add(run.id)
        remaining += [i for i in (*run.sources, *run.of) if i not in selected]
    if manifest.pooled:
        what = f"a bundle cannot hold a pool of training hospitals ({manifest.source}) yet"
        fix = "share the store or the page, or export a grid with one training hospital"
        raise ConfigError(what, "bench export", fix)
    chosen = [run for run in manifest.run_of.values() if run.id in selected]
    for cohort in manifest.cohorts:
        if not COHORT_NAME.fullmatch(cohort.name):
            fix = "name the cohort with at most 80 letters, digits, '.', '_' or '-'; begin with a letter or digit"
            raise ConfigError(f"{cohort.name!r} is not a valid cohort name in a bundle", "--data", fix)
    return chosen


def _write_members(manifest: Manifest, chosen: Sequence[PlannedRun], folder: Path) -> pd.DataFrame:
    """Write all members of a bundle into `folder`, except scores; return the key table."""
    labels_cache: dict[tuple[str, str, str], CohortLabels] = {}
    splits: dict[str, dict[str, str]] = {c.name: {} for c in manifest.cohorts}
    for run in chosen:
        for scored_split in load_scored_splits(manifest, run, run.config, labels_cache):
            _add_split(splits[scored_split.dataset], scored_split)
    labels_cache.clear()
    findings = list(dict.fromkeys(f for run in chosen for f in run.config.findings))
    mapping = chosen[0].config.mapping
    cohorts, keys, ordinals_of = [], [], {}
    for cohort in manifest.cohorts:
        name, table = cohort.name, manifest.table(cohort)
        split = splits[name]
        ordinals = ordinals_of[name] = assign_ordinals(table, list(split))
        frame = columns_of(table, split, ordinals, cohort.layout, mapping, findings)
        facts = {"columns": "\x1f".join(frame.columns)}
        write_columns(folder / "cohorts" / f"{name}.parquet", frame, kinds(list(frame.columns)), facts)
        cohorts.append(replace(cohort, origin=cohort.id, tag=ordinals.tag, id=table_id(frame)))
        keys.append(_key(name, table, split, ordinals))
    for run in chosen:
        _write_run(manifest, run, folder / "runs" / run.id, cohorts, splits, ordinals_of)
    runs, derived = (tuple(run for run in chosen if bool(run.kind) is is_derived) for is_derived in (False, True))
    exported = replace(manifest, planned_cohorts=tuple(cohorts), runs=runs, derived=derived)
    write_bytes(folder / "manifest.json", canonical_json(bundle_document(exported)))
    about: dict[str, Any] = {
        "schema": BUNDLE_SCHEMA,
        "order": "drawn",
        "scoring": SCORING_VERSION,
        "versions": versions(),
    }
    write_bytes(folder / "bundle.json", canonical_json(about))
    write_bytes(folder / README_FILE, README.encode())
    return pd.concat(keys, ignore_index=True)


def _add_split(split_of: dict[str, str], scored_split: ScoredSplit) -> None:
    """Add the images of a scored split to `split_of` (image id -> split name, "" for a cohort without splits).

    Raises ConfigError if an image is already in another split, because then the runs split the cohort differently.
    """
    name = "" if scored_split.split == "all" else scored_split.split
    for image_id in scored_split.image_id.tolist():
        if split_of.setdefault(str(image_id), name) != name:
            fix = "export these runs as separate bundles"
            raise ConfigError(f"the runs use different splits of {scored_split.dataset}", "bench export", fix)


def _key(name: str, table: pd.DataFrame, split: Mapping[str, str], ordinals: Ordinals) -> pd.DataFrame:
    """Return the ids of a cohort's exported images (`split`) and patients by ordinal: private, so no part of the bundle."""
    ids, patients = table["image_id"].astype(str), table["patient_id"].astype(str)
    chosen = ids.isin(split)
    ids, patients = ids[chosen], patients[chosen]
    columns = {"image": ids.map(ordinals.image), "patient": patients.map(ordinals.patient)}
    return pd.DataFrame({"cohort": name, **columns, "image_id": ids, "patient_id": patients})


def _write_run(
    manifest: Manifest,
    run: PlannedRun,
    folder: Path,
    cohorts: Sequence[PlannedCohort],
    splits: Mapping[str, Mapping[str, str]],
    ordinals_of: Mapping[str, Ordinals],
) -> None:
    """Write the records, the training history and the predictions of a run into `folder`.

    From each record (such as env.json), only the keys in RECORDS are written. Other keys may have private content, such as the
    text of uncommitted code changes.
    """
    stored_run = manifest.store.run_dir(run.id)
    write_bytes(folder / "run.json", (stored_run / "run.json").read_bytes())
    for name, record in CheckedFolder(stored_run).facts().items():
        published = {key: value for key, value in record.items() if key in RECORDS[name].__annotations__}
        write_bytes(folder / f"{name}.json", canonical_json(published))
    if not run.kind:  # only a trained run has a history
        history = CheckedFolder(stored_run).table("history.parquet")
        write_columns(folder / "history.parquet", history, HISTORY)
    for cohort in cohorts:
        name = cohort.name
        path = stored_run / "predictions" / f"{name}.parquet"
        frame = CheckedFolder(stored_run).table(f"predictions/{name}.parquet")
        frame = frame[frame["image_id"].astype(str).isin(splits[name])]
        frame = frame.assign(
            image=frame["image_id"].astype(str).map(ordinals_of[name].image).to_numpy(np.int32)
        ).sort_values("image")
        columns = {"image": "ordinal", **dict.fromkeys(run.config.findings, "logit")}
        stored_facts = table_facts(path)
        facts = {
            "fingerprint": stored_facts.get("fingerprint", ""),
            "weights": stored_facts.get("weights", ""),
            "cohort": cohort.id,
            "logits": table_id(frame[list(columns)]),
        }
        write_columns(folder / "predictions" / f"{name}.parquet", frame, columns, facts)


def write_scores(manifest: Manifest, run_id: str, folder: Path) -> int:
    """Write the scores of a run of a bundle into the bundle; return the number of rows of its table `scores`."""
    facts = {"made_of": made_of(manifest, run_id)}
    tables = {name: ScoresFolder(manifest.scores / run_id).table(name) for name in SCORED}
    for name, table in tables.items():
        write_columns(folder / "scores" / run_id / f"{name}.parquet", table, kinds_of(table), facts)
    return len(tables["scores"])
