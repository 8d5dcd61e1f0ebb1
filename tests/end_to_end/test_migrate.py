"""`bench migrate`: a store of schema 1 is read as it is, and becomes one of this version whatever happens on the way."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from disturbed import bound_by_permissions, read_only

from bench.diagnostics.migrate_store import STEPS, migrate
from bench.diagnostics.store_audit import examine_store
from bench.store.checked_files import read_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import claim
from bench.store.schema import SCHEMA
from bench.store.store import Store, canonical_json
from harmonize.errors import StoreError

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def quietly(*_: object) -> None:
    """Show no progress."""


@pytest.fixture
def old(store_copy: Path) -> Store:
    """A finished store as schema 1 left it: without checksums, and with the roles "home" and "away"."""
    root = store_copy / "runs"
    for path in (root / "grids").glob("*.json"):
        content = read_grid(Store(root), path.stem)
        for cohort in content["cohorts"]:
            cohort["role"] = {"internal": "home", "external": "away"}[cohort["role"]]
        path.write_bytes(canonical_json(content | {"schema": 3}))
    for path in root.glob("*/*/checksums.json"):
        path.unlink()
    for path in root.glob("cohorts/*.sha256"):
        path.unlink()
    (root / "store.json").write_bytes(b'{"schema":1}')
    return Store.open(root, create=False)


def contents(root: Path) -> dict[str, bytes]:
    """Return every file of the store except images and the files that a migration may change."""
    apart = {"phantom", "cache", "grids"}
    files = (path for path in root.rglob("*") if path.is_file() and path.relative_to(root).parts[0] not in apart)
    own = ("checksums.json", "store.json")
    kept = (path for path in files if path.name not in own and path.suffix != ".sha256")
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}


def test_there_is_a_step_from_every_older_schema() -> None:
    assert set(STEPS) == set(range(1, SCHEMA))


def test_an_old_store_is_refused_with_its_fix_and_left_alone(old: Store, here: Command) -> None:
    before = contents(old.root)
    assert len(here("list", "runs", cwd=old.root.parent).stdout.splitlines()) == 3  # a head and two runs
    shown = here("check", "--quick", "--quiet", cwd=old.root.parent).stdout
    assert f"schema 1 is older than {SCHEMA}, without checksums" in shown
    assert "fail" not in shown
    for request in (("report",), ("run", "--grid", "tiny")):
        error = here(*request, "--quiet", cwd=old.root.parent, code=2).stderr
        assert "the store has schema 1" in error
        assert "`bench migrate --store runs`" in error
    assert contents(old.root) == before
    assert json.loads((old.root / "store.json").read_bytes()) == {"schema": 1}


def test_a_migrated_store_is_whole_and_no_byte_of_it_has_changed(old: Store, here: Command) -> None:
    before = contents(old.root)
    said = here("migrate", "--quiet", cwd=old.root.parent).stdout
    assert said.startswith(f"runs: schema 1 -> {SCHEMA}, 2 runs")
    assert contents(old.root) == before
    roles = [cohort["role"] for cohort in json.loads((old.root / "grids" / "tiny.json").read_bytes())["cohorts"]]
    assert roles == ["internal", *["external"] * 5]
    assert {check.level for check in examine_store(old, files=True)} == {"note"}, (
        "cohorts and scores have no checksums yet"
    )
    again = here("migrate", "--quiet", "--json", cwd=old.root.parent).stdout
    assert json.loads(again) == {"store": "runs", "before": SCHEMA, "after": SCHEMA, "left": {}}
    scores = {name: content for name, content in before.items() if name.startswith("scores/")}
    done = here("run", "--grid", "tiny", "--quiet", cwd=old.root.parent).stdout
    assert "grid tiny: 2 runs (2 done)" in done
    assert {name: content for name, content in contents(old.root).items() if name.startswith("scores/")} == scores


def test_analyses_get_checksums_too_unless_they_are_damaged_or_not_done(old: Store) -> None:
    run = old.run_dir(old.run_ids()[0])
    folders = [run / "attention", run / "probes", old.root / "analyses" / "acquisition-0", run / "transplants"]
    for folder in folders:
        folder.mkdir(parents=True)
        pq.write_table(pq.read_table(run / "history.parquet"), folder / "table.parquet")
        (folder / "KEY").write_text("0")
    (folders[1] / "table.parquet").write_bytes(b"cut off")
    (folders[3] / "KEY").unlink()
    migrate(old, quietly)
    assert [sorted(CheckedFolder(folder).checksums() or ()) for folder in folders] == [
        ["table.parquet"],
        [],
        ["table.parquet"],
        [],
    ]


def test_a_damaged_run_gets_no_checksums_that_would_vouch_for_it(old: Store, here: Command) -> None:
    bad, good = old.run_ids()
    path = old.run_dir(bad) / "predictions" / "nih.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    said = here("migrate", "--quiet", cwd=old.root.parent, code=1).stdout
    assert f"run {bad} was not updated: predictions/nih.parquet is damaged" in said
    assert CheckedFolder(old.run_dir(bad)).checksums() is None
    assert CheckedFolder(old.run_dir(good)).checksums()
    assert any("files are missing: checksums.json" in check.found for check in examine_store(old, files=False))


KILLED = """
import os, signal, sys
from pathlib import Path
from bench.diagnostics import migrate_store as migrate
from bench.store.store import Store
at, seen = int(sys.argv[2]), 0
def count(*_):
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
plain = migrate.write_bytes
def write(path, content):
    count()
    plain(path, content)
    count()
migrate.write_bytes = write
migrate.migrate(Store.open(Path(sys.argv[1]), create=False), count)
"""


def test_a_migration_that_is_killed_goes_on_wherever_it_was(old: Store, tmp_path: Path) -> None:
    """Kill it at each progress report and before each write of its own, until one more would be after its end."""
    wanted, schemas = contents(old.root), set()
    for at in range(1, 50):
        root = tmp_path / f"killed-{at}"
        shutil.copytree(old.root, root, ignore=shutil.ignore_patterns("phantom", "cache"))
        done = subprocess.run([sys.executable, "-c", KILLED, str(root), str(at)], check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -9
        store = Store.open(root, create=False)
        schemas.add(store.schema)
        migrate(store, quietly)
        assert store.schema == SCHEMA
        assert contents(root) == wanted
        assert [c.found for c in examine_store(store, files=False) if c.level != "note"] == []
    assert done.returncode == 0
    assert schemas == set(range(1, SCHEMA + 1))


def test_two_at_once_are_told_apart_and_a_store_at_work_is_left_alone(old: Store, here: Command) -> None:
    mine = claim()
    for lock, holder, what in (
        (old.root / "LOCK", mine, "another process migrates this store"),
        (old.run_dir(old.run_ids()[0]) / "LOCK", mine, f"process {mine['pid']} is working"),
        (old.run_dir(old.run_ids()[0]) / "attention" / "LOCK", mine, "is working on attention"),
        (
            old.run_dir(old.run_ids()[0]) / "LOCK",
            mine | {"host": "another", "place": "another start"},
            "of another may be working",
        ),
    ):
        lock.parent.mkdir(exist_ok=True)
        lock.write_bytes(canonical_json(holder))
        error = here("migrate", "--quiet", cwd=old.root.parent, code=2).stderr
        assert what in error
        assert "fix:" in error
        assert (old.schema, list(old.root.glob("*/*/checksums.json"))) == (1, [])
        lock.unlink()
    dead = subprocess.Popen(["true"])
    dead.wait()
    lock.write_bytes(canonical_json(mine | {"pid": dead.pid}))
    assert migrate(old, quietly).left == {}


def test_a_run_that_begins_in_the_middle_of_it_leaves_the_old_schema_in_force(old: Store) -> None:
    holder = claim()
    lock = old.run_dir(old.run_ids()[1]) / "LOCK"
    with pytest.raises(StoreError, match="is working"):
        migrate(old, lambda _, done, total: lock.write_bytes(canonical_json(holder)) if done == total else None)
    assert old.schema == 1
    lock.unlink()
    changed = old.run_dir(old.run_ids()[1]) / "predictions" / "nih.parquet"  # as an older version would rewrite it
    pq.write_table(pq.read_table(changed), changed, compression="zstd")
    migrate(old, quietly)
    assert {check.level for check in examine_store(old, files=True)} == {"note"}


def test_a_store_that_cannot_be_written_stays_as_it_is(old: Store) -> None:
    before, bound = contents(old.root), bound_by_permissions()
    with read_only(old.root):
        asked = [*bound, sys.executable, "-m", "bench.cli", "migrate", "--quiet"]
        done = subprocess.run(asked, cwd=old.root.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "cannot write: Permission denied" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(old.root) == before
    assert old.schema == 1
