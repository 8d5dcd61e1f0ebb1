"""`bench export`: runs of the store as a bundle that others can score again."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.config.registry import Registry
from bench.planning.manifest import Manifest
from bench.results.read_predictions import SCORING_VERSION, Labels, parts_of, run_facts, unfinished
from bench.results.same_scores import ROUNDING, SCORED, differs, versions
from bench.results.score_runs import score_all
from bench.scoring.scored_split import ScoredSplit
from bench.sharing.bundle.archive import pack
from bench.sharing.bundle.pseudonyms import Ordinals, columns_of, kinds, number, table_id
from bench.sharing.bundle.read_bundle import COHORT, COHORT_NAME, HISTORY, KEPT, RECORDS, made_of, read_bundle
from bench.sharing.bundle.tables import kinds_of, write_columns
from bench.store.store import Progress, canonical_json, read_table, replacing, table_facts, write_bytes, write_table
from harmonize.errors import ConfigError, StoreError

SCHEMA = 2  # 2: cohorts are internal or external (before: home, away)
STEADY = ("scores", "gaps", "references", "mappings", "delong")  # whose values no draw of patients decides


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the bundle, its id, the key that stays, and how much is in it."""

    path: Path
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
    keep_order: bool,
    registry: Registry,
    threads: int,
    progress: Progress,
) -> Exported:
    """Write finished runs of a grid as a bundle, and the key to its ordinals beside it, for the owner alone.

    Before it is packed the bundle is read back and scored as anybody would; its numbers must be the store's: to the last bit with
    `keep_order`, else values but for rounding (bounds rest on the order of the patients, which is drawn anew).
    Raises StoreError for a run that is not finished, ConfigError for a store of bundles and for a name that a bundle cannot have.
    """
    if manifest.of_bundles:
        fix = "pass the bundles on as they are: `bench verify` of them still holds"
        raise ConfigError("this store was made of bundles", str(manifest.store.root), fix)
    chosen = _with_sources(manifest, run_ids)
    score_all(manifest, progress, threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder, again = Path(temporary) / "members", Path(temporary) / "store"
        key, images = _write_members(manifest, chosen, folder, keep_order)
        read = read_bundle(folder, again, str(output), registry)
        score_all(read, progress, threads)
        num_scores = 0
        for run in chosen:
            num_scores += _write_scores(manifest, read, run["id"], folder, exact=keep_order)
        with replacing(output) as unfinished_file:
            bundle_id = pack(folder, unfinished_file)
            key_path = output.with_suffix(".key.parquet")
            write_table(key_path, key, {"bundle": bundle_id}, mode=0o600)  # first: no bundle is there without its key
    return Exported(output, bundle_id, key_path, len(chosen), len(manifest.cohorts), images, num_scores)


def _with_sources(manifest: Manifest, run_ids: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the runs as planned, with those that derived ones are made of, in the order of the grid."""
    every = {run["id"]: run for run in (*manifest.runs, *manifest.derived)}
    wanted, open_ = set(), list(run_ids)
    while open_:
        run = every[open_.pop()]
        if reason := unfinished(manifest, run):
            fix = "finish it with `bench run`, or leave it out"
            raise StoreError(f"run {run['id']}: {reason}", str(manifest.store.run_dir(run["id"])), fix)
        wanted.add(run["id"])
        open_ += [i for i in (*run.get("sources", ()), *run.get("of", ())) if i not in wanted]
    for cohort in manifest.cohorts:
        if not COHORT_NAME.fullmatch(str(cohort["name"])):
            raise ConfigError(
                f"{cohort['name']!r} cannot be a cohort's name in a bundle", "--data", "give it a shorter one"
            )
    return [run for run in every.values() if run["id"] in wanted]


def _write_members(
    manifest: Manifest, chosen: Sequence[Mapping[str, Any]], folder: Path, keep_order: bool
) -> tuple[pd.DataFrame, int]:
    """Write everything but the scores; return the key, and how many images there are."""
    known: dict[tuple[str, str, str], Labels] = {}
    splits: dict[str, dict[str, str]] = {str(c["name"]): {} for c in manifest.cohorts}
    for run in chosen:
        for part in parts_of(manifest, run, manifest.config(run), known):
            _add(splits[part.dataset], part)
    known.clear()
    findings = list(dict.fromkeys(f for run in chosen for f in manifest.config(run).findings))
    mapping = manifest.config(chosen[0]).mapping
    cohorts, keys, numbers = [], [], {}
    for cohort in manifest.cohorts:
        name, table = str(cohort["name"]), manifest.table(cohort)
        split = splits[name]
        ordinals = numbers[name] = number(table, list(split), str(cohort["id"]), keep_order)
        frame = columns_of(table, split, ordinals, str(cohort["layout"]), mapping, findings)
        facts = {"columns": "\x1f".join(frame.columns)}
        write_columns(folder / "cohorts" / f"{name}.parquet", frame, kinds(list(frame.columns)), facts)
        own = {"origin": cohort["id"], "tag": ordinals.tag, "id": table_id(frame)}
        cohorts.append({k: v for k, v in {**cohort, **own}.items() if k in COHORT})
        keys.append(_key(name, table, split, ordinals))
    for run in chosen:
        _write_run(manifest, run, folder / "runs" / run["id"], cohorts, splits, numbers, keep_order)
    content = {k: v for k, v in manifest.content.items() if k in KEPT}
    ids = {run["id"] for run in chosen}
    content |= {"cohorts": cohorts, "references": [], "analyses": [], "bundles": []}
    content |= {kind: [run for run in manifest.content[kind] if run["id"] in ids] for kind in ("runs", "derived")}
    write_bytes(folder / "manifest.json", canonical_json(content))
    about = {
        "schema": SCHEMA,
        "order": "kept" if keep_order else "drawn",
        "scoring": SCORING_VERSION,
        "versions": versions(),
    }
    write_bytes(folder / "bundle.json", canonical_json(about))
    key = pd.concat(keys, ignore_index=True)
    return key, len(key)


def _add(split: dict[str, str], part: ScoredSplit) -> None:
    """Note the split of a part's images; ConfigError when runs put an image into different ones."""
    name = "" if part.split == "all" else part.split
    for image_id in part.image_id.tolist():
        if split.setdefault(str(image_id), name) != name:
            fix = "export them as bundles of their own"
            raise ConfigError(f"the runs divide {part.dataset} in different ways", "bench export", fix)


def _key(name: str, table: pd.DataFrame, split: Mapping[str, str], ordinals: Ordinals) -> pd.DataFrame:
    """Return what the ordinals of a cohort stand for: it leads back to patients, and stays with the owner."""
    ids, patients = table["image_id"].astype(str), table["patient_id"].astype(str)
    chosen = ids.isin(split)
    ids, patients = ids[chosen], patients[chosen]
    numbers = {"image": ids.map(ordinals.image), "patient": patients.map(ordinals.patient)}
    return pd.DataFrame({"cohort": name, **numbers, "image_id": ids, "patient_id": patients})


def _write_run(
    manifest: Manifest,
    run: Mapping[str, Any],
    folder: Path,
    cohorts: Sequence[Mapping[str, Any]],
    splits: Mapping[str, Mapping[str, str]],
    numbers: Mapping[str, Ordinals],
    keep_order: bool,
) -> None:
    """Write the records and predictions of a run: of the environment what says how it was made, and no text of a diff."""
    here, config = manifest.store.run_dir(run["id"]), manifest.config(run)
    write_bytes(folder / "run.json", (here / "run.json").read_bytes())
    for name, facts in run_facts(manifest.store, run["id"]).items():
        write_bytes(folder / f"{name}.json", canonical_json({k: v for k, v in facts.items() if k in RECORDS[name]}))
    if "kind" not in run:
        history = read_table(here / "history.parquet")
        write_columns(folder / "history.parquet", history, HISTORY)
    for cohort in cohorts:
        name = str(cohort["name"])
        path = here / "predictions" / f"{name}.parquet"
        frame = read_table(path)
        frame = frame[frame["image_id"].astype(str).isin(splits[name])]
        frame = frame.assign(image=frame["image_id"].astype(str).map(numbers[name].image).to_numpy(np.int32))
        if not keep_order:
            frame = frame.sort_values("image")
        facts = {k: table_facts(path).get(k, "") for k in ("fingerprint", "weights")} | {"cohort": str(cohort["id"])}
        columns = {"image": "ordinal", **dict.fromkeys(config.findings, "logit")}
        facts["logits"] = table_id(frame[list(columns)])
        write_columns(folder / "predictions" / f"{name}.parquet", frame, columns, facts)


def _write_scores(manifest: Manifest, read: Manifest, run_id: str, folder: Path, exact: bool) -> int:
    """Write what the bundle scores to, when it is what the store says; return how many scores there are."""
    for name in SCORED:
        ours, theirs = (read_table(m.scores / run_id / f"{name}.parquet") for m in (manifest, read))
        steady = [column for column in ("value",) if name in STEADY]
        compared = list(ours.columns) if exact else steady
        if compared and (why := differs(ours, theirs, compared, 0 if exact else ROUNDING)):
            fix = "this is a fault of the program, and nothing was written: report it, with the grid"
            raise StoreError(
                f"scored from the bundle, {name} of run {run_id} is not what the store has: {why}", str(folder), fix
            )
        facts = {"made_of": made_of(read, run_id)}
        write_columns(folder / "scores" / run_id / f"{name}.parquet", theirs, kinds_of(theirs), facts)
    return len(read_table(read.scores / run_id / "scores.parquet"))
