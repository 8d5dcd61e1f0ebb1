"""Check a store for damaged, changed, half-written, left-over and orphaned files. The store is not changed.

A left-over file, such as a LOCK, belongs to a process that was killed. An orphaned file belongs to a run that the store does
not have. The seal of a run (seal.json) has hashes, for example of the weights, before and after the external test.
"""

import hashlib
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.config.run_config import RunConfig, from_dict
from bench.planning.derived_runs import COMPLETE as OF_DERIVED
from bench.planning.image_caches import COMPLETE
from bench.planning.planned_grid import IMPORTED, PlannedGrid
from bench.planning.planned_grid import SCHEMA as MANIFEST_SCHEMA
from bench.store.checked_files import cohort_problem, read_grid
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import RECORDS, REFERENCE, AnalysisFolder, CheckedFolder
from bench.store.file_integrity import file_damage, file_sha256, json_object
from bench.store.lease import holder_of, is_held
from bench.store.store import Store, last_line, short_hash, table_facts
from harmonize.checks.release import Check
from harmonize.errors import ConfigError, StoreError
from harmonize.progress import Progress
from reports import extensions, hooks

_FIX_RUN = "run its grid again with `bench run`: it makes missing files again"
_FIX_IMPORTED = "evaluate the model again with `bench evaluate`: it makes missing files again"
_FIX_BUNDLE = "merge the bundles again into a new store"
_FIX_LOST_GRID = (
    "make it again: `bench run --grid`, `bench evaluate`, `bench score --as` or `bench merge`; no run is trained again"
)
_FINISHED_ANALYSES = ("[0-9a-f][0-9a-f]/*/*/KEY", "analyses/*/KEY")
_ID = re.compile(r"[0-9a-f]{12}")
_Records = Mapping[str, Mapping[str, Any]]  # name of a JSON file of a run -> its content; only the readable files


@dataclass(slots=True)
class _Referenced:
    """The runs and cohorts in the manifests of a store's grids.

    runs      run ids
    cohorts   names of cohort tables: "<cohort>-<id>"
    complete  False if the manifest of a grid cannot be read
    """

    runs: set[str] = field(default_factory=set)
    cohorts: set[str] = field(default_factory=set)
    # ids of runs that were merged from bundles; such runs have no features, and may have no weights
    from_bundles: set[str] = field(default_factory=set)
    complete: bool = True


def examine_store(store: Store, files: bool, progress: Progress | None = None) -> list[Check]:
    """Return the problems of a store with their fixes; an empty list for an intact store.

    `files`: read all stored files completely. Without `files`, only file names, headers and small files are read. Faults are
    damaged, changed, missing or contradictory files of finished runs, and unreadable grids. Warnings are failed runs, and
    half-written, left-over and orphaned files.
    """
    referenced = _Referenced()
    checks = [*_left_overs(store.root), *_grids(store, referenced), *_of_extensions(store)]
    ids = store.run_ids()
    for index, run_id in enumerate(ids):
        if progress:
            progress("check runs", index, len(ids))
        checks += _run(store, run_id, run_id in referenced.from_bundles, files)
        if referenced.complete and run_id not in referenced.runs:
            fix = f"`bench remove {run_id}` if nobody needs it, or run a grid that plans it"
            checks.append(_check("warning", f"run {run_id}", "no grid of the store plans it", fix))
    if progress:
        progress("check runs", len(ids), max(1, len(ids)))
    return [
        *checks,
        *_orphans(store, set(ids), files),
        *_analyses(store.root, files),
        *_cohorts(store, referenced, files),
    ]


def _check(level: str, what: str, found: str, fix: str) -> Check:
    return Check("", what, level, "", found, fix)


def _left_overs(root: Path) -> Iterator[Check]:
    """Yield a warning for each half-written file: a file that a process was writing when it was killed, or is writing now."""
    for path in sorted(root.rglob(".*")):
        if path.is_file() and path.suffix == ".part":
            name = path.relative_to(root).as_posix()
            fix = f"delete it while no process works on this store: rm '{path}'"
            yield _check("warning", "half-written file", name, fix)


def _grids(store: Store, referenced: _Referenced) -> Iterator[Check]:
    """Yield the problems of the grids' manifests. Add the runs and cohorts of each readable grid to `referenced`."""
    paths = sorted((store.root / "grids").glob("*.json"))
    yield from _lost_grids(store, [path.stem for path in paths], referenced)
    for path in paths:
        try:
            content = read_grid(store, path.stem)
            if content["schema"] != MANIFEST_SCHEMA:
                fix = f"run the grid again: its file gets version {MANIFEST_SCHEMA}, and no run is trained again"
                yield _check("fault", f"grid {path.stem}", f"has version {content['schema']}", fix)
                referenced.complete = False
                continue
            grid = PlannedGrid.of(content)
        except (StoreError, KeyError, ValueError) as error:
            what, fix = f"cannot be read: {error}", "run it again with `bench run --grid`"
            if isinstance(error, StoreError):
                what, fix = error.what.removeprefix(f"grid {path.stem} "), error.fix
            yield _check("fault", f"grid {path.stem}", what, fix)
            referenced.complete = False
            continue
        tables = {f"{cohort.name}-{cohort.id}" for cohort in grid.planned_cohorts}
        referenced.runs |= grid.run_of.keys()
        referenced.cohorts |= tables
        referenced.from_bundles |= set() if grid.bundles is None else grid.run_of.keys()
        for name in sorted(tables):
            if table_facts(store.root / "cohorts" / f"{name}.parquet").get("id") != name.rpartition("-")[2]:
                yield _check(
                    "fault", f"cohort table {name}", f"is missing or damaged; grid {path.stem} needs it", _FIX_RUN
                )


def _of_extensions(store: Store) -> Iterator[Check]:
    """Yield a fault for each problem in the files of extensions."""
    for module in extensions.modules(hooks.Cohorts):
        for what, problem, fix in module.problems(store):
            yield _check("fault", what, problem, fix)


def _lost_grids(store: Store, names: Sequence[str], referenced: _Referenced) -> Iterator[Check]:
    """Yield a fault for each page without the manifest of its grid, or if a store with runs has no manifest and no page.

    A page cannot be made without the manifest. The lost manifest may plan any run, so no run is called superfluous. `names`: names
    of the present manifests.
    """
    for folder in sorted((store.root / "report").glob("*/tables")):
        if (name := folder.parent.name) not in names:
            fix = f"{_FIX_LOST_GRID}; if nobody needs the grid, delete its page: rm -r '{folder.parent}'"
            yield _check("fault", f"grid {name}", f"is missing: the store has its page, but no grids/{name}.json", fix)
            referenced.complete = False
    if not names and referenced.complete and store.run_ids():
        yield _check("fault", "grids", "are missing: the store has runs, but no file grids/*.json", _FIX_LOST_GRID)
        referenced.complete = False


def _run(store: Store, run_id: str, from_bundle: bool, files: bool) -> Iterator[Check]:
    """Yield the problems of a run's files.

    `from_bundle`: the run was merged from a bundle, so it may have no weights. `files`: as in `examine_store`.
    """
    folder, name, state = store.run_dir(run_id), f"run {run_id}", store.state(run_id)
    document = _json(folder / "run.json")
    if document is None or short_hash((folder / "run.json").read_bytes()) != run_id:
        fix = f"`bench remove {run_id}`, then run the grid again"
        yield _check("fault", name, "run.json does not hash to the name of the folder", fix)
        return
    yield from _lock(folder, name, state)
    if state == "failed":
        fix = f"read {folder / 'log.txt'}; `bench run` tries the run again"
        yield _check("warning", name, f"failed: {last_line(folder / 'FAILED')}", fix)
    if state == "done":
        derived, stored = "kind" in document, CheckedFolder(folder).stored_files()
        records = _read_records(folder) | {"run.json": document}
        checksums = records.get(CHECKSUMS)
        required = [*(OF_DERIVED if derived else COMPLETE), *(file for file in checksums or () if file not in COMPLETE)]
        optional = {"model.safetensors"} if from_bundle else set()
        fix = _FIX_BUNDLE if from_bundle else _FIX_IMPORTED if document.get("kind") == IMPORTED else _FIX_RUN
        if missing := [file for file in required if file not in optional and not (folder / file).is_file()]:
            yield _check("fault", name, f"is done, but files are missing: {', '.join(missing)}", fix)
        intact = _intact(folder, checksums, stored if files else RECORDS) if checksums is not None else set()
        checks = [*_records(folder, name, records, files, intact), *_tables(folder, name, records, files, intact)]
        yield from checks
        if checksums is not None:
            reported = {check.found.partition(" ")[0] for check in checks}
            checked = {*reported, *intact}
            yield from _changed(folder, name, stored, checksums, checked, fix, files)


def _read_records(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return {file name: content} of the readable JSON files of a finished run, without run.json."""
    contents = {file: _json(folder / file) for file in OF_DERIVED if file != CHECKSUMS}
    contents[CHECKSUMS] = CheckedFolder(folder).checksums()
    return {file: content for file, content in contents.items() if content is not None}


def _intact(folder: Path, checksums: Mapping[str, str], names: Sequence[str]) -> set[str]:
    """Return those of the files `names` that match their checksums. `checksums`: file name -> SHA-256."""
    present = (name for name in names if name in checksums and (folder / name).is_file())
    return {name for name in present if file_sha256(folder / name) == checksums[name]}


def _records(folder: Path, name: str, records: _Records, files: bool, intact: set[str]) -> Iterator[Check]:
    """Yield the faults of a finished run's JSON files, and of its seal.

    A seal has a fault if its hashes before and after the test differ, or if a sealed file has another hash. `name`: the run's
    name in messages. `files`: also read the weights. `intact`: names of files that equal their checksums. If weights and seal
    are intact, the weights are not hashed a second time, tensor by tensor: in large stores, this would take a fifth of the time.
    """
    for file in OF_DERIVED:
        if file not in records and (folder / file).is_file():
            fix = f"delete it: rm '{folder / file}', then run the grid again"
            yield _check("fault", name, f"{file} is damaged", fix)
    seal, fix = records.get("seal.json", {}), f"`bench remove {folder.name}`, then run the grid again"
    if seal.get("weights_before") != seal.get("weights_after"):
        yield _check("fault", name, "the weights changed while the run was tested", fix)
    checksums = records.get(CHECKSUMS, {}) if files else {}
    for part, path in _sealed_files(folder, records["run.json"]):
        stated = seal.get(f"{part}_after")
        if stated != seal.get(f"{part}_before"):
            yield _check("fault", name, f"the {part.replace('_', ' ')} changed while the run was tested", fix)
        elif stated and path is not None and path.is_file():
            file = path.relative_to(folder).as_posix()
            if checksums.get(file, stated) != stated:  # `_changed` checks whether the file itself matches its checksum
                yield _check("fault", name, f"{file} is not what was sealed before the external test", fix)
    weights = folder / "model.safetensors"
    # a derived run ("kind") has no weights of its own
    is_sealed = "kind" not in records["run.json"] and weights.is_file() and "weights_after" in seal
    unchecked = files and not intact >= {weights.name, "seal.json"}
    if is_sealed and unchecked and (problem := _weights(weights, str(seal["weights_after"]))):
        yield _check("fault", name, f"model.safetensors {problem}", fix)


def _sealed_files(folder: Path, document: Mapping[str, Any]) -> list[tuple[str, Path | None]]:
    """Return the items whose hashes are in a seal, except the weights: pairs (name in the seal, file, None if unknown).

    `document`: the content of run.json.
    """
    unknown: list[tuple[str, Path | None]] = [("preprocessing", None), ("internal_logits", None)]
    if "kind" in document:  # a derived run has the hashes of its sources, not of its own files
        return unknown
    try:
        internal = from_dict(RunConfig, document["config"], str(folder)).train_on
    except (ConfigError, KeyError, TypeError):  # unreadable configuration: the name of the internal cohort is unknown
        return unknown
    return [
        ("preprocessing", folder / REFERENCE),
        ("internal_logits", folder / "predictions" / f"{internal}.parquet"),
    ]


def _tables(folder: Path, name: str, records: _Records, files: bool, intact: Container[str]) -> Iterator[Check]:
    """Yield the faults of the tables of a finished run: damaged tables, no predictions, or predictions with other weights.

    `intact`: names of files that match their checksums; these tables are not read again.
    """
    tested_weights, derived = records.get("seal.json", {}).get("weights_after"), "kind" in records["run.json"]
    predictions = sorted(folder.glob("predictions/*.parquet"))
    if not predictions:
        yield _check("fault", name, "is done, but has no predictions", _FIX_RUN)
    for path in (*predictions, *sorted(folder.glob("*.parquet"))):
        problem = "" if path.relative_to(folder).as_posix() in intact else file_damage(path, read=files)
        if not problem and path in predictions and not derived and table_facts(path).get("weights") != tested_weights:
            problem = "was made with other weights than seal.json states"
        if problem:
            fix = f"delete it: rm '{path}', then run the grid again: the file is made again"
            yield _check("fault", name, f"{path.relative_to(folder)} {problem}", fix)


def _changed(
    folder: Path,
    name: str,
    stored: Sequence[str],
    checksums: Mapping[str, str],
    checked: Container[str],
    fix: str,
    files: bool,
) -> Iterator[Check]:
    """Yield a fault for each file of a run that differs from its checksum or has no checksum.

    `stored`: names of the run's files. `checked`: names of the files that match their checksums or have a fault already. Without
    `files`, only small files are compared, and npz files are checked for damage. `fix`: the fix that the faults suggest.
    """
    for file in stored:
        problem = "" if file in checksums else "did not exist when the run finished"
        if not problem and file not in checked and (files or file in RECORDS):
            problem = "is not what was stored: its checksum differs"
        elif not problem and not files and file.endswith(".npz"):
            problem = file_damage(folder / file)
        if problem:
            file_fix = fix if fix == _FIX_BUNDLE else f"delete it: rm '{folder / file}', then {fix}"
            yield _check("fault", name, f"{file} {problem}", file_fix)


def _lock(folder: Path, name: str, state: str) -> Iterator[Check]:
    """Yield a warning for the LOCK of a dead process. `name` and `state`: name and state of the run, for the message."""
    if (folder / "LOCK").is_file() and not is_held(folder / "LOCK"):
        host, pid = holder_of(folder / "LOCK")
        found = f"LOCK of process {pid} on {host}, which is gone ({state})"
        yield _check("warning", name, found, "nothing to do: the next `bench run` takes it over")


def _weights(path: Path, expected: str) -> str:
    """Return the problem of a weights file, "" if the file is readable and its tensors have the hash `expected` of the seal."""
    from safetensors import SafetensorError, safe_open

    digest = hashlib.sha256()
    try:
        with safe_open(path, "numpy") as stored:
            for name in sorted(stored.keys()):
                digest.update(name.encode())
                digest.update(stored.get_tensor(name).reshape(-1).view("uint8"))
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        return f"is damaged: {str(error)[:120]}"
    return "" if digest.hexdigest() == expected else "is not what was tested: its hash differs from the seal"


def _scores(folder: Path, files: bool) -> Iterator[Check]:
    """Yield a fault for each damaged or missing file of a run's scores.

    With `files`, the files are compared with their checksums. Without `files`, only the beginnings or ends of files are read.
    """
    name, fix = f"scores of {folder.name}", "`bench score` makes them again"
    if folder.is_symlink():
        yield _check("fault", name, "the folder is a link", f"rm '{folder}', then `bench score`")
        return
    checksums = CheckedFolder(folder).checksums()
    if checksums is None:
        problem = "is damaged" if (folder / CHECKSUMS).is_file() else "is missing"
        yield _check("fault", name, f"{CHECKSUMS} {problem}", fix)
    present = sorted(path for ending in ("parquet", "safetensors") for path in folder.glob(f"*.{ending}"))
    compared = checksums if files and checksums else {}  # a file that equals its checksum needs no other check
    problems = {path.name: file_damage(path) for path in present if path.name not in compared}
    problems |= {file: "is missing" for file in checksums or () if not (folder / file).is_file()}
    problems |= CheckedFolder(folder).problems(sorted(compared))
    for file, problem in problems.items():
        if problem:
            yield _check("fault", name, f"{file} {problem}", fix)


def _analyses(root: Path, files: bool) -> Iterator[Check]:
    """Yield a fault for each finished analysis with a damaged or changed table; with `files`, pictures are checked, too."""
    for key in sorted(path for pattern in _FINISHED_ANALYSES for path in root.glob(pattern)):
        if problem := AnalysisFolder(key.parent).damage(pictures=files):
            fix = f"delete it: rm -r '{key.parent}', then run its grid again with `bench run`: it makes the analysis again"
            yield _check("fault", f"analysis {key.parent.relative_to(root)}", problem, fix)


def _orphans(store: Store, ids: set[str], files: bool) -> Iterator[Check]:
    """Yield a problem for scores without a run, unfinished or damaged scores, and run folders without run.json."""
    for path in sorted((store.root / "scores").glob("*")):
        folders = [path] if _ID.fullmatch(path.name) else sorted(p for p in path.glob("*") if p.is_dir())
        for folder in folders:
            if folder.name not in ids:
                fix = f"delete them: rm -r '{folder}'"
                yield _check("warning", f"scores of {folder.name}", "the store has no such run", fix)
            elif not CheckedFolder(folder).key():
                fix = "finish them with `bench score`"
                yield _check("warning", f"scores of {folder.name}", "are not finished", fix)
            else:
                yield from _scores(folder, files)
    for folder in sorted(store.root.glob("[0-9a-f][0-9a-f]/*")):
        if folder.is_dir() and folder.name not in ids:
            yield _check(
                "warning",
                f"folder {folder.relative_to(store.root)}",
                "is not a run: it has no run.json",
                f"delete it: rm -r '{folder}'",
            )


def _cohorts(store: Store, referenced: _Referenced, files: bool) -> Iterator[Check]:
    """Yield a fault for each damaged cohort table, and a note for each table that no grid uses."""
    for path in sorted((store.root / "cohorts").glob("*.parquet")):
        is_used = path.stem in referenced.cohorts or not referenced.complete
        problem = file_damage(path) or (cohort_problem(path) if files and is_used else "")
        if problem:
            fix = f"delete it: rm '{path}', then run the grid again"
            yield _check("fault", f"cohort table {path.stem}", problem, fix)
        elif not is_used:
            yield _check(
                "note",
                f"cohort table {path.stem}",
                "no grid of the store uses it",
                f"delete it if the data have changed since: rm '{path}'",
            )


def _json(path: Path) -> Mapping[str, Any] | None:
    """Return the JSON object in a file; None if the file is missing or has no JSON object."""
    try:
        return json_object(path)
    except (OSError, ValueError):
        return None
