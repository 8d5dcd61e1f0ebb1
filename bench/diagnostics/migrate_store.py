"""A store of an older schema brought up to this version's, in place: the one module that knows older forms.

A step only adds to what is there and may be done again, so that one that was cut short goes on; `store.json`, written last,
says that it is done. No run is trained or predicted again, and no number changes.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench.diagnostics.store_audit import FINISHED_ANALYSES, examine_run, in_bundles
from bench.planning.manifest import upgraded
from bench.store.checksums import FILE as CHECKSUMS
from bench.store.checksums import analysis_damage, record_checksums
from bench.store.file_integrity import json_object
from bench.store.lease import holder_of, lease
from bench.store.schema import FILE, SCHEMA, schema_of
from bench.store.store import Progress, Store, canonical_json, read_table, write_bytes, write_table
from harmonize.errors import StoreError

_LOCKS = ("[0-9a-f][0-9a-f]/*/LOCK", "[0-9a-f][0-9a-f]/*/*/LOCK", "analyses/*/LOCK")


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which schema to which, and the runs that were left as they are, with the reason."""

    before: int
    after: int
    left: Mapping[str, str]


def migrate(store: Store, progress: Progress) -> Migrated:
    """Bring a store to the present schema; one that has it is left alone.

    Raises StoreError while a process is at work in the store, or migrates it.
    """
    lock, left = store.root / "LOCK", dict[str, str]()
    before = store.schema
    if before == SCHEMA and not lock.is_file():
        return Migrated(before, SCHEMA, {})
    with lease(store.root) as mine:
        if not mine:
            raise StoreError("another process migrates this store", str(lock), "wait until it is done")
        for schema in range(schema_of(store.root), SCHEMA):
            _require_rest(store.root)
            left |= STEPS[schema](store, progress)
            _require_rest(store.root)  # an older version of this program knows nothing of what goes on here
            write_bytes(store.root / FILE, canonical_json({"schema": schema + 1}))
    return Migrated(before, SCHEMA, left)


def _require_rest(root: Path) -> None:
    """Raise StoreError while a process holds a run or an analysis; what a dead one of this machine left does not count."""
    for lock in sorted(chain.from_iterable(root.glob(pattern) for pattern in _LOCKS)):
        holder = holder_of(lock)
        if holder.alive_here:
            what, fix = f"process {holder.pid} is at work on {lock.parent.name}", "wait until it is done, or stop it"
            raise StoreError(what, str(lock), fix)
        if holder.alive_here is None:
            what = f"process {holder.pid} of {holder.host} may be at work on {lock.parent.name}"
            raise StoreError(what, str(lock), f"wait until it is done; if it died there, delete its lock: rm '{lock}'")


def with_checksums(store: Store, progress: Progress) -> dict[str, str]:
    """Note the checksums of what each finished run and analysis has stored: from schema 1 to 2.

    A damaged run gets none, for they would vouch for the damage; it is returned, with what is wrong.
    """
    of_bundles, ids, left = in_bundles(store), store.run_ids(), {}
    for at, run_id in enumerate(ids):
        progress("read runs", at, len(ids))
        if store.state(run_id) == "done":
            faults = [c.found for c in examine_run(store, run_id, run_id in of_bundles, True) if c.level == "fault"]
            if faults:
                left[run_id] = faults[0]
            else:
                record_checksums(store.run_dir(run_id))
    for key in chain.from_iterable(store.root.glob(pattern) for pattern in FINISHED_ANALYSES):
        if not analysis_damage(key.parent):
            record_checksums(key.parent)
    progress("read runs", len(ids), max(1, len(ids)))
    return left


def with_internal_and_external(store: Store, progress: Progress) -> dict[str, str]:
    """Rename the roles of cohorts, "home" and "away", in grids and in the tables of region transplants: from schema 2 to 3."""
    grids = sorted((store.root / "grids").glob("*.json"))
    for at, path in enumerate(grids):
        progress("rename roles", at, len(grids))
        with suppress(
            OSError, ValueError, KeyError, TypeError
        ):  # a damaged grid stays as it is: `bench check` names it
            write_bytes(path, canonical_json(upgraded(json_object(path))))
    for path in store.root.glob("[0-9a-f][0-9a-f]/*/transplants/transplants.parquet"):
        recorded = (path.parent / CHECKSUMS).is_file()
        if recorded and analysis_damage(path.parent):
            continue  # damaged: the next `bench run` makes it again
        table = read_table(path)
        for column in ("donor", "host"):
            table[column] = table[column].replace("away", "external")
        (path.parent / CHECKSUMS).unlink(missing_ok=True)  # a cut-off step finds none, and writes the table again
        write_table(path, table)
        record_checksums(path.parent)
    progress("rename roles", max(1, len(grids)), max(1, len(grids)))
    return {}


STEPS: dict[int, Callable[[Store, Progress], Mapping[str, str]]] = {  # by the schema that a step starts from
    1: with_checksums,
    2: with_internal_and_external,
}
