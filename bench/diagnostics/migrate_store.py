"""Update a store of an older schema in place, one step for each schema.

A step can be interrupted and repeated. At the end of each step, the new schema is written into `store.json`. No run is trained
or predicted again, and no number changes.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench.diagnostics.store_audit import FINISHED_ANALYSES, examine_run, runs_from_bundles
from bench.planning.manifest import upgraded
from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import FILE as CHECKSUMS
from bench.store.checked_folders import AnalysisFolder, CheckedFolder
from bench.store.lease import holder_of, lease
from bench.store.schema import FILE, SCHEMA, schema_of
from bench.store.store import Store, canonical_json, read_table, write_bytes, write_table
from harmonize.errors import StoreError
from harmonize.progress import Progress

_LOCKS = ("[0-9a-f][0-9a-f]/*/LOCK", "[0-9a-f][0-9a-f]/*/*/LOCK", "analyses/*/LOCK")


@dataclass(frozen=True, slots=True)
class Migrated:
    """The result of a migration: the schema before and after. `left`: run id -> why the run was not updated."""

    before: int
    after: int
    left: Mapping[str, str]


def migrate(store: Store, progress: Progress) -> Migrated:
    """Update a store to the current schema. A store of the current schema is not changed.

    Raises StoreError while another process works on a run or an analysis of the store, or migrates the store.
    """
    lock, left = store.root / "LOCK", dict[str, str]()
    before = store.schema
    if before == SCHEMA and not lock.is_file():
        return Migrated(before, SCHEMA, {})
    with lease(store.root) as mine:
        if not mine:
            raise StoreError("another process migrates this store", str(lock), "wait until it ends")
        for schema in range(schema_of(store.root), SCHEMA):
            _require_no_process(store.root)
            left |= STEPS[schema](store, progress)
            # checked again: a process of an older version ignores the LOCK of the migration, so it may have begun to work
            _require_no_process(store.root)
            write_bytes(store.root / FILE, canonical_json({"schema": schema + 1}))
    return Migrated(before, SCHEMA, left)


def _require_no_process(root: Path) -> None:
    """Raise StoreError if a process holds the LOCK of a run or an analysis.

    The LOCK of a dead process of this machine is ignored. A process of another machine may be alive, so its LOCK is an error.
    """
    for lock in sorted(chain.from_iterable(root.glob(pattern) for pattern in _LOCKS)):
        holder = holder_of(lock)
        if holder.alive_here:
            what, fix = f"process {holder.pid} is working on {lock.parent.name}", "wait until it ends, or stop it"
            raise StoreError(what, str(lock), fix)
        if holder.alive_here is None:
            what = f"process {holder.pid} of {holder.host} may be working on {lock.parent.name}"
            raise StoreError(
                what, str(lock), f"wait until it ends; if the process is dead, delete its lock: rm '{lock}'"
            )


def with_checksums(store: Store, progress: Progress) -> dict[str, str]:
    """Migrate from schema 1 to 2: record the checksums of each finished run and analysis.

    A damaged run gets no checksums, because checksums of damaged files would make these files look intact. Returns {id of a
    damaged run: its first fault}.
    """
    from_bundles, ids, left = runs_from_bundles(store), store.run_ids(), {}
    for index, run_id in enumerate(ids):
        progress("read runs", index, len(ids))
        if store.state(run_id) == "done":
            faults = [c.found for c in examine_run(store, run_id, run_id in from_bundles, True) if c.level == "fault"]
            if faults:
                left[run_id] = faults[0]
            else:
                CheckedFolder(store.run_dir(run_id)).record_checksums()
    for key in chain.from_iterable(store.root.glob(pattern) for pattern in FINISHED_ANALYSES):
        if not AnalysisFolder(key.parent).damage():
            CheckedFolder(key.parent).record_checksums()
    progress("read runs", len(ids), max(1, len(ids)))
    return left


def with_internal_and_external(store: Store, progress: Progress) -> dict[str, str]:
    """Migrate from schema 2 to 3: rename the roles "home" and "away" of cohorts to "internal" and "external".

    The roles are in the manifests of grids and in the tables of region transplant tests. Returns {}, because no run is left out.
    """
    grids = sorted((store.root / "grids").glob("*.json"))
    for index, path in enumerate(grids):
        progress("rename roles", index, len(grids))
        with suppress(StoreError, KeyError, TypeError):  # a damaged grid is not changed; `bench check` lists it
            write_grid(store, path.stem, upgraded(read_grid(store, path.stem)))
    for path in store.root.glob("[0-9a-f][0-9a-f]/*/transplants/transplants.parquet"):
        recorded = (path.parent / CHECKSUMS).is_file()
        if recorded and AnalysisFolder(path.parent).damage():
            continue  # a damaged table is not changed; the next `bench run` makes the table again
        table = read_table(path)
        for column in ("donor", "host"):
            table[column] = table[column].replace("away", "external")
        # if the migration is interrupted after this line, the next migration writes the table again
        (path.parent / CHECKSUMS).unlink(missing_ok=True)
        write_table(path, table)
        CheckedFolder(path.parent).record_checksums()
    progress("rename roles", max(1, len(grids)), max(1, len(grids)))
    return {}


STEPS: dict[int, Callable[[Store, Progress], Mapping[str, str]]] = {  # schema before the step -> function of the step
    1: with_checksums,
    2: with_internal_and_external,
}
