"""Whether a store is whole: what is half-written, damaged, left over or belongs to nobody. Nothing is changed."""

import hashlib
import json
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.planning.derived_runs import COMPLETE as OF_DERIVED
from bench.planning.image_caches import COMPLETE
from bench.planning.imported_run import KIND as IMPORTED
from bench.planning.manifest import SCHEMA as MANIFEST_SCHEMA
from bench.store.checksums import FILE as CHECKSUMS
from bench.store.checksums import RECORDS, analysis_damage, read_checksums, stored_files
from bench.store.file_integrity import file_damage, file_sha256, json_object
from bench.store.lease import holder_of
from bench.store.schema import CHECKSUMS_SINCE, SCHEMA
from bench.store.store import Progress, Store, key_in, last_line, short_hash, table_facts
from harmonize.checks.release import Check

_AGAIN = "run its grid again with `bench run`: what is missing is made again"
_ELSEWHERE = "evaluate the model again with `bench evaluate`: what is missing is made again"
_OF_BUNDLE = "merge the bundles again into a new store"
FINISHED_ANALYSES = ("[0-9a-f][0-9a-f]/*/*/KEY", "analyses/*/KEY")
_ID = re.compile(r"[0-9a-f]{12}")


@dataclass(slots=True)
class _Named:
    """What the grids of a store name; `known` is False where one of them cannot be read."""

    runs: set[str] = field(default_factory=set)
    cohorts: set[str] = field(default_factory=set)
    of_bundles: set[str] = field(default_factory=set)  # runs whose weights and features are elsewhere
    known: bool = True


def examine_store(store: Store, files: bool, progress: Progress | None = None) -> list[Check]:
    """Return what is wrong with a store, each with its mend; nothing when it is whole.

    With `files` every byte that a run has stored is read, else only names, headers and small records. Faults: damaged, changed,
    half-written or contradictory files of finished runs, grids that cannot be read. Warnings: failed runs, left-overs, orphans.
    """
    named = _Named()
    found = [*_schema(store), *_left_overs(store.root), *_grids(store, named)]
    ids = store.run_ids()
    for at, run_id in enumerate(ids):
        if progress:
            progress("check runs", at, len(ids))
        found += examine_run(store, run_id, run_id in named.of_bundles, files)
        if named.known and run_id not in named.runs:
            fix = f"`bench remove {run_id}` if nobody needs it; a grid that plans it takes it up again"
            found.append(_check("warning", f"run {run_id}", "no grid of the store plans it", fix))
    if progress:
        progress("check runs", len(ids), max(1, len(ids)))
    return [*found, *_strays(store, set(ids), files), *_analyses(store.root), *_cohorts(store, named, files)]


def _check(level: str, what: str, found: str, fix: str) -> Check:
    return Check("", what, level, "", found, fix)


def _schema(store: Store) -> Iterator[Check]:
    """Yield that a store is of an older schema, whose runs have no checksums, and the LOCK of a migration that died."""
    yield from _lock(store.root, "store", "migrating", "`bench migrate`")
    if store.schema < SCHEMA:
        found = f"schema {store.schema} is older than {SCHEMA}"
        if store.schema < CHECKSUMS_SINCE:
            found += ", without checksums: a changed value inside a stored table is not detected"
        yield _check("warning", "schema of the store", found, f"`bench migrate --store {store.root}`")


def in_bundles(store: Store) -> set[str]:
    """Return the runs that came in bundles."""
    named = _Named()
    for _ in _grids(store, named):
        pass
    return named.of_bundles


def _left_overs(root: Path) -> Iterator[Check]:
    """Yield what a process that was killed in the middle of a write has left."""
    for path in sorted(root.rglob(".*")):
        if path.is_file() and (path.suffix == ".part" or path.name.startswith(".LOCK.")):
            name = path.relative_to(root).as_posix()
            fix = f"delete it when no process works on this store: rm '{path}'"
            yield _check("warning", "half-written file", name, fix)


def _grids(store: Store, named: _Named) -> Iterator[Check]:
    """Yield what is wrong with the grids; note what they name."""
    for path in sorted((store.root / "grids").glob("*.json")):
        try:
            content = json.loads(path.read_text())
            if content["schema"] != MANIFEST_SCHEMA and store.schema == SCHEMA:
                fix = f"run the grid again: its file is then of version {MANIFEST_SCHEMA}, and no run is trained again for it"
                yield _check("fault", f"grid {path.stem}", f"of version {content['schema']}", fix)
                named.known = False
                continue
            runs = {str(run["id"]) for run in (*content["runs"], *content["derived"])}
            tables = {f"{cohort['name']}-{cohort['id']}" for cohort in content["cohorts"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield _check(
                "fault", f"grid {path.stem}", f"cannot be read: {error}", "run it again with `bench run --grid`"
            )
            named.known = False
            continue
        named.runs |= runs
        named.cohorts |= tables
        named.of_bundles |= runs if "bundles" in content else set()
        for name in sorted(tables):
            if table_facts(store.root / "cohorts" / f"{name}.parquet").get("id") != name.rpartition("-")[2]:
                yield _check("fault", f"cohort table {name}", f"of grid {path.stem} is missing or damaged", _AGAIN)


def examine_run(store: Store, run_id: str, of_bundle: bool, files: bool) -> Iterator[Check]:
    """Yield what is wrong with a run; `of_bundle`: it came in a bundle, so its weights and features are elsewhere."""
    folder, name, state = store.run_dir(run_id), f"run {run_id}", store.state(run_id)
    document = _json(folder / "run.json")
    if document is None or short_hash((folder / "run.json").read_bytes()) != run_id:
        fix = f"`bench remove {run_id}`, then run the grid again"
        yield _check("fault", name, "run.json is not what the folder is named by", fix)
        return
    yield from _lock(folder, name, state)
    if state == "failed":
        fix = f"{folder / 'log.txt'} says more; `bench run` tries it again"
        yield _check("warning", name, f"failed: {last_line(folder / 'FAILED')}", fix)
    if state == "done":
        derived = "kind" in document
        known = read_checksums(folder) if store.schema >= CHECKSUMS_SINCE else None
        wanted = [*(OF_DERIVED if derived else COMPLETE), *(file for file in known or () if file not in COMPLETE)]
        not_here = {CHECKSUMS} if store.schema < CHECKSUMS_SINCE else set()
        not_here |= {"model.safetensors"} if of_bundle else set()
        again = _OF_BUNDLE if of_bundle else _ELSEWHERE if document.get("kind") == IMPORTED else _AGAIN
        if missing := [file for file in wanted if file not in not_here and not (folder / file).is_file()]:
            yield _check("fault", name, f"is done and lacks {', '.join(missing)}", again)
        found = [*_records(folder, name, derived, files), *_tables(folder, name, derived, files)]
        yield from found
        if known is not None:
            blamed = {check.found.partition(" ")[0] for check in found}
            yield from _changed(folder, name, known, blamed, again, files)


def _records(folder: Path, name: str, derived: bool, files: bool) -> Iterator[Check]:
    """Yield what is wrong with the small records of a finished run, and with its weights against the seal."""
    for file in OF_DERIVED:
        read = read_checksums if file == CHECKSUMS else lambda folder, file=file: _json(folder / file)
        if (folder / file).is_file() and read(folder) is None:
            fix = f"delete it: rm '{folder / file}', then run the grid again"
            yield _check("fault", name, f"{file} is damaged", fix)
    seal, again = _json(folder / "seal.json") or {}, f"`bench remove {folder.name}`, then run the grid again"
    if seal.get("weights_before") != seal.get("weights_after"):
        yield _check("fault", name, "the weights changed while it was tested", again)
    weights = folder / "model.safetensors"
    known = files and not derived and weights.is_file() and "weights_after" in seal
    if known and (said := _weights(weights, str(seal["weights_after"]))):
        yield _check("fault", name, f"model.safetensors {said}", again)


def _tables(folder: Path, name: str, derived: bool, files: bool) -> Iterator[Check]:
    """Yield what is wrong with the tables of a finished run."""
    tested_with = (_json(folder / "seal.json") or {}).get("weights_after")
    predictions = sorted(folder.glob("predictions/*.parquet"))
    if not predictions:
        yield _check("fault", name, "is done and has no predictions", _AGAIN)
    for path in (*predictions, *sorted(folder.glob("*.parquet"))):
        said = file_damage(path, read=files)
        if not said and path in predictions and not derived and table_facts(path).get("weights") != tested_with:
            said = "is of other weights than the seal says"
        if said:
            fix = f"delete it: rm '{path}', then run the grid again: it is made again"
            yield _check("fault", name, f"{path.relative_to(folder)} {said}", fix)


def _changed(
    folder: Path, name: str, known: Mapping[str, str], blamed: Container[str], again: str, files: bool
) -> Iterator[Check]:
    """Yield the files that are not what the run has stored, but for those that are blamed already; large ones are read with `files`."""
    for file in stored_files(folder):
        said = "" if file in known else "was not there when the run finished"
        if not said and file not in blamed and (files or file in RECORDS) and file_sha256(folder / file) != known[file]:
            said = "is not what was stored: its checksum is another"
        elif not said and not files and file.endswith(".npz"):
            said = file_damage(folder / file)
        if said:
            fix = again if again == _OF_BUNDLE else f"delete it: rm '{folder / file}', then {again}"
            yield _check("fault", name, f"{file} {said}", fix)


def _lock(folder: Path, name: str, state: str, by: str = "`bench run`") -> Iterator[Check]:
    """Yield a LOCK whose process on this machine is gone; of another machine's nothing is known here."""
    if not (folder / "LOCK").is_file():
        return
    holder = holder_of(folder / "LOCK")
    if holder.alive_here is False:
        yield _check(
            "warning",
            name,
            f"LOCK of process {holder.pid}, which is gone ({state})",
            f"nothing to do: the next {by} takes it over",
        )
    elif holder.alive_here is None:
        yield _check(
            "note",
            name,
            f"LOCK of process {holder.pid} on {holder.host} ({state})",
            f"is it at work there? {by} waits and sees",
        )


def _weights(path: Path, expected: str) -> str:
    """Return what is wrong with a weights file against the hash in the seal, "" when nothing is."""
    from safetensors import SafetensorError, safe_open

    digest = hashlib.sha256()
    try:
        with safe_open(path, "numpy") as stored:
            for name in sorted(stored.keys()):
                digest.update(name.encode())
                digest.update(stored.get_tensor(name).tobytes())
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        return f"is damaged: {str(error)[:120]}"
    return "" if digest.hexdigest() == expected else "is not what was tested: its hash is not the seal's"


def _scores(folder: Path, files: bool) -> Iterator[Check]:
    """Yield the finished scores of a run that are damaged."""
    for path in sorted((*folder.glob("*.parquet"), *folder.glob("*.npz"))):
        if said := file_damage(path, read=files):
            fix = f"delete them: rm -r '{folder}', then `bench score` makes them again"
            yield _check("fault", f"scores of {folder.name}", f"{path.name} {said}", fix)


def _analyses(root: Path) -> Iterator[Check]:
    """Yield finished analyses, of runs and of the cohorts, whose tables are damaged or changed."""
    for key in sorted(path for pattern in FINISHED_ANALYSES for path in root.glob(pattern)):
        if said := analysis_damage(key.parent):
            fix = "run its grid again with `bench run`: it is made again"
            yield _check("fault", f"analysis {key.parent.relative_to(root)}", said, fix)


def _strays(store: Store, ids: set[str], files: bool) -> Iterator[Check]:
    """Yield scores of runs that are not there, scores cut short or damaged, and folders that look like runs and are none."""
    for path in sorted((store.root / "scores").glob("*")):
        own = [path] if _ID.fullmatch(path.name) else sorted(p for p in path.glob("*") if p.is_dir())
        for folder in own:
            if folder.name not in ids:
                yield _check("warning", f"scores of {folder.name}", "of no run here", f"delete them: rm -r '{folder}'")
            elif not key_in(folder):
                yield _check("warning", f"scores of {folder.name}", "are not finished", "make them with `bench score`")
            else:
                yield from _scores(folder, files)
    for folder in sorted(store.root.glob("[0-9a-f][0-9a-f]/*")):
        if folder.is_dir() and folder.name not in ids:
            yield _check(
                "warning",
                f"folder {folder.relative_to(store.root)}",
                "is no run: it has no run.json",
                f"delete it: rm -r '{folder}'",
            )


def _cohorts(store: Store, named: _Named, files: bool) -> Iterator[Check]:
    """Yield cohort tables that are damaged, or that no grid names."""
    for path in sorted((store.root / "cohorts").glob("*.parquet")):
        if said := file_damage(path, read=files):
            yield _check("fault", f"cohort table {path.stem}", said, f"delete it: rm '{path}', then run the grid again")
        elif named.known and path.stem not in named.cohorts:
            yield _check(
                "note",
                f"cohort table {path.stem}",
                "of no grid of the store",
                f"it may be of an older version of the data: rm '{path}'",
            )


def _json(path: Path) -> Mapping[str, Any] | None:
    """Return a JSON object, None where there is none."""
    try:
        return json_object(path)
    except (OSError, ValueError):
        return None
