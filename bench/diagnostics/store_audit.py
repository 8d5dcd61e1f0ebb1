"""Check a store for damaged, changed and missing files. The store is not changed.

The seal of a run (seal.json) has hashes, for example of the weights, before and after the external test.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.planning.derived_runs import COMPLETE as OF_DERIVED
from bench.planning.image_caches import COMPLETE
from bench.planning.planned_grid import IMPORTED, PlannedGrid
from bench.planning.planned_grid import SCHEMA as MANIFEST_SCHEMA
from bench.store.checked_files import cohort_problem, read_grid
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import RECORDS, WEIGHTS, AnalysisFolder, CheckedFolder, ScoresFolder
from bench.store.file_integrity import file_damage, json_object
from bench.store.store import Store, last_line, short_hash, table_facts
from harmonize.checks.release import Check
from harmonize.errors import StoreError
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


def examine_store(store: Store, files: bool, progress: Progress | None = None) -> list[Check]:
    """Return the problems of a store with their fixes; an empty list for an intact store.

    `files`: read all stored files completely. Without `files`, only file names, headers and small files are read. Faults are
    damaged, changed, missing or contradictory files of finished runs, and unreadable grids. Warnings are failed runs and
    unfinished scores.
    """
    from_bundles = set[str]()
    checks = [*_grids(store, from_bundles), *_of_extensions(store)]
    ids = store.run_ids()
    for index, run_id in enumerate(ids):
        if progress:
            progress("check runs", index, len(ids))
        checks += _run(store, run_id, from_bundle=run_id in from_bundles, files=files)
    if progress:
        progress("check runs", len(ids), max(1, len(ids)))
    return [
        *checks,
        *_without_record(store, ids),
        *_scores(store, files),
        *_analyses(store.root, files),
        *_cohorts(store, files),
    ]


def _check(level: str, what: str, found: str, fix: str) -> Check:
    return Check("", what, level, "", found, fix)


def _grids(store: Store, from_bundles: set[str]) -> Iterator[Check]:
    """Yield the problems of the grids' manifests. Add the runs that were merged from bundles to `from_bundles`."""
    paths = sorted((store.root / "grids").glob("*.json"))
    yield from _lost_grids(store, [path.stem for path in paths])
    for path in paths:
        try:
            content = read_grid(store, path.stem)
            if content["schema"] != MANIFEST_SCHEMA:
                fix = f"run the grid again: its file gets version {MANIFEST_SCHEMA}, and no run is trained again"
                yield _check("fault", f"grid {path.stem}", f"has version {content['schema']}", fix)
                continue
            grid = PlannedGrid.of(content)
        except (StoreError, KeyError, ValueError) as error:
            what = f"cannot be read: {error}"
            fix = "run it again with `bench run --grid`"
            if isinstance(error, StoreError):
                what, fix = error.what.removeprefix(f"grid {path.stem} "), error.fix
            yield _check("fault", f"grid {path.stem}", what, fix)
            continue
        from_bundles |= set() if grid.bundles is None else grid.run_of.keys()
        for name in sorted({f"{cohort.name}-{cohort.id}" for cohort in grid.planned_cohorts}):
            if table_facts(store.root / "cohorts" / f"{name}.parquet").get("id") != name.rpartition("-")[2]:
                yield _check(
                    "fault", f"cohort table {name}", f"is missing or damaged; grid {path.stem} needs it", _FIX_RUN
                )


def _of_extensions(store: Store) -> Iterator[Check]:
    """Yield a fault for each problem in the files of extensions."""
    for module in extensions.modules(hooks.Cohorts):
        for what, problem, fix in module.problems(store):
            yield _check("fault", what, problem, fix)


def _lost_grids(store: Store, names: Sequence[str]) -> Iterator[Check]:
    """Yield a fault for each page without the manifest of its grid, or if a store with runs has no manifest and no page.

    A page cannot be made without the manifest. `names`: names of the present manifests.
    """
    pages = list((store.root / "report").glob("*/tables"))
    for folder in sorted(pages):
        if (name := folder.parent.name) not in names:
            fix = f"{_FIX_LOST_GRID}; if nobody needs the grid, delete its page: rm -r '{folder.parent}'"
            yield _check("fault", f"grid {name}", f"is missing: the store has its page, but no grids/{name}.json", fix)
    if not names and not pages and store.run_ids():
        yield _check("fault", "grids", "are missing: the store has runs, but no file grids/*.json", _FIX_LOST_GRID)


def _run(store: Store, run_id: str, from_bundle: bool, files: bool) -> Iterator[Check]:
    """Yield the problems of a run's files.

    `from_bundle`: the run was merged from a bundle, so it may have no weights. `files` is explained in `examine_store`.
    """
    folder, name, state = store.run_dir(run_id), f"run {run_id}", store.state(run_id)
    document = _json(folder / "run.json")
    again = f"`bench remove {run_id}`, then run the grid again"
    if document is None or short_hash((folder / "run.json").read_bytes()) != run_id:
        yield _check("fault", name, "run.json does not hash to the name of the folder", again)
        return
    if state == "failed":
        fix = f"read {folder / 'log.txt'}; `bench run` tries the run again"
        yield _check("warning", name, f"failed: {last_line(folder / 'FAILED')}", fix)
    if state != "done":
        return
    fix = _FIX_IMPORTED if document.get("kind") == IMPORTED else _FIX_RUN
    if from_bundle:
        fix = _FIX_BUNDLE
    required = set(OF_DERIVED if "kind" in document else COMPLETE) - ({WEIGHTS} if from_bundle else set())
    for file, problem in _problems(CheckedFolder(folder), required, files).items():
        of_file = f"delete it: rm '{folder / file}', then {fix}"
        if fix == _FIX_BUNDLE or problem == "is missing":
            of_file = fix
        elif file == WEIGHTS:
            of_file = again
        yield _check("fault", name, f"{file} {problem}", of_file)
    seal = _json(folder / "seal.json") or {}
    for part in ("weights", "preprocessing", "internal_logits"):
        if seal.get(f"{part}_before") != seal.get(f"{part}_after"):
            yield _check("fault", name, f"the {part.replace('_', ' ')} changed while the run was tested", again)


def _problems(folder: CheckedFolder, required: Collection[str], files: bool) -> dict[str, str]:
    """Return {file: problem} of a finished run's files. Without `files`, only small files are read completely."""
    checksums, stored = folder.checksums() or {}, set(folder.stored_files())
    read = {CHECKSUMS, *checksums, *stored} if files else {CHECKSUMS, *RECORDS}
    found = dict(folder.problems(sorted(read - {CHECKSUMS})))
    for file in sorted({*required, *checksums, *stored} - found.keys()):
        if not (folder.path / file).is_file():
            found[file] = "is missing"
        elif checksums and file not in {CHECKSUMS, *checksums}:
            found[file] = "did not exist when the run finished"
        elif file not in read and (problem := file_damage(folder.path / file)):
            found[file] = problem
    return found


def _without_record(store: Store, ids: Collection[str]) -> Iterator[Check]:
    """Yield a warning for each folder of a run that has lost its run.json."""
    for folder in sorted(store.root.glob("[0-9a-f][0-9a-f]/*")):
        if folder.is_dir() and folder.name not in ids:
            name = f"folder {folder.relative_to(store.root)}"
            yield _check("warning", name, "is not a run: it has no run.json", f"delete it: rm -r '{folder}'")


def _scores(store: Store, files: bool) -> Iterator[Check]:
    """Yield a problem for unfinished or damaged scores of a run. Without `files`, only the beginnings or ends of files are read."""
    folders = [path for pattern in ("*", "as-*/*") for path in (store.root / "scores").glob(pattern)]
    for folder in sorted(path for path in folders if _ID.fullmatch(path.name)):
        name, fix = f"scores of {folder.name}", "`bench score` makes them again"
        if not CheckedFolder(folder).key():
            yield _check("warning", name, "are not finished", "finish them with `bench score`")
        elif files and (problem := ScoresFolder(folder).damage(())):
            yield _check("fault", name, problem, fix)
        elif not files:
            for path in (folder / CHECKSUMS, *sorted(folder.glob("*.parquet")), *folder.glob("*.safetensors")):
                if problem := file_damage(path):
                    yield _check("fault", name, f"{path.name} {problem}", fix)


def _analyses(root: Path, files: bool) -> Iterator[Check]:
    """Yield a fault for each finished analysis with a damaged or changed table; with `files`, pictures are checked, too."""
    for key in sorted(path for pattern in _FINISHED_ANALYSES for path in root.glob(pattern)):
        if problem := AnalysisFolder(key.parent).damage(pictures=files):
            fix = f"delete it: rm -r '{key.parent}', then run its grid again with `bench run`: it makes the analysis again"
            yield _check("fault", f"analysis {key.parent.relative_to(root)}", problem, fix)


def _cohorts(store: Store, files: bool) -> Iterator[Check]:
    """Yield a fault for each damaged cohort table. Without `files`, only the end of a table is read."""
    for path in sorted((store.root / "cohorts").glob("*.parquet")):
        if problem := file_damage(path) or (cohort_problem(path) if files else ""):
            fix = f"delete it: rm '{path}', then run the grid again"
            yield _check("fault", f"cohort table {path.stem}", problem, fix)


def _json(path: Path) -> Mapping[str, Any] | None:
    """Return the JSON object in a file; None if the file is missing or has no JSON object."""
    try:
        return json_object(path)
    except (OSError, ValueError):
        return None
