"""`bench check` of a store, `bench list runs --failed`, `bench remove`: what is damaged is named with its mend, and nothing else is touched."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.diagnostics.store_audit import examine_store
from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.lease import lease
from bench.store.store import Store, canonical_json, short_hash

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
Damage = Callable[[Path, Path], object]


@pytest.fixture
def store(store_copy: Path) -> Store:
    return Store.open(store_copy / "runs")


def first(store: Store) -> Path:
    return store.run_dir(store.run_ids()[0])


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def one_logit(path: Path) -> None:
    """Change one value of a table, and nothing about the file."""
    table = pq.read_table(path)
    column = table.column(1).to_numpy().copy()
    column[-1] += 0.5
    other = table.set_column(1, table.schema.field(1), pa.array(column, table.schema.field(1).type))
    pq.write_table(other.replace_schema_metadata(table.schema.metadata), path)
    assert pq.read_schema(path).equals(table.schema, check_metadata=True)


def one_feature(path: Path) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name].copy() for name in stored.files}
    arrays["feature"][3, 2] += 1
    np.savez(path, **arrays)


def changed_table(folder: Path) -> None:
    seal = json.loads((folder / "seal.json").read_text())
    (folder / "seal.json").write_bytes(canonical_json(seal | {"preprocessing_after": "b"}))
    CheckedFolder(folder).record_checksums()


def another_file(folder: Path) -> None:
    (folder / "predictions" / "elsewhere.parquet").write_bytes((folder / "predictions" / "nih.parquet").read_bytes())


def grid_of_another_schema(root: Path) -> None:
    write_grid(Store(root), "tiny", read_grid(Store(root), "tiny") | {"schema": 99})


DAMAGES: dict[str, tuple[Damage, str, str, str]] = {
    "a truncated prediction": (lambda r, f: half(f / "predictions/nih.parquet"), "fault", "predictions/nih.parquet is damaged", "rm"),
    "a logit of another value": (lambda r, f: one_logit(f / "predictions/nih.parquet"), "fault", "predictions/nih.parquet is not what was stored", "rm"),
    "a value of the history": (lambda r, f: one_logit(f / "history.parquet"), "fault", "history.parquet is not what was stored", "rm"),
    "a feature of another value": (lambda r, f: one_feature(f / "features/nih.npz"), "fault", "features/nih.npz is not what was stored", "rm"),
    "a bit of the weights": (lambda r, f: one_bit(f / "model.safetensors"), "fault", "model.safetensors is not what was stored", "bench remove"),
    "a number in a record": (lambda r, f: (f / "cost.json").write_text('{"macs": 1}'), "fault", "cost.json is not what was stored", "rm"),
    "predictions that nobody made": (lambda r, f: another_file(f), "fault", "elsewhere.parquet did not exist", "rm"),
    "lost features": (lambda r, f: (f / "features/nih.npz").unlink(), "fault", "features/nih.npz is missing", "bench run"),
    "lost checksums": (lambda r, f: (f / "checksums.json").unlink(), "fault", "checksums.json is missing", "bench run"),
    "damaged checksums": (lambda r, f: (f / "checksums.json").write_text("{}"), "fault", "checksums.json is damaged", "rm"),
    "truncated weights": (lambda r, f: half(f / "model.safetensors"), "fault", "model.safetensors is damaged", "bench remove"),
    "lost weights": (lambda r, f: (f / "model.safetensors").unlink(), "fault", "model.safetensors is missing", "bench run"),
    "a damaged record": (lambda r, f: half(f / "cost.json"), "fault", "cost.json is damaged", "rm"),
    "a broken seal": (lambda r, f: (f / "seal.json").write_text('{"weights_before":"a","weights_after":"b"}'), "fault", "changed while", "bench remove"),
    "a preprocessing table that changed": (lambda r, f: changed_table(f), "fault", "preprocessing changed while", "bench remove"),
    "another run.json": (lambda r, f: (f / "run.json").write_text("{}"), "fault", "does not hash to the name of the folder", "bench remove"),
    "a truncated history": (lambda r, f: half(f / "history.parquet"), "fault", "history.parquet is damaged", "rm"),
    "a failed run": (lambda r, f: ((f / "DONE").unlink(), (f / "FAILED").write_text("Traceback\nValueError: so")), "warning", "failed: ValueError: so", "log.txt"),
    "a cohort without checksum": (lambda r, f: next((r / "cohorts").glob("nih-*.sha256")).unlink(), "fault", "has no checksum", "run the grid again"),
    "scores without checksums": (lambda r, f: (r / "scores" / f.name / "checksums.json").unlink(), "fault", "checksums.json is missing", "bench score"),
    "a folder that is no run": (lambda r, f: (r / "ab" / "abcdefabcdef").mkdir(parents=True), "warning", "has no run.json", "rm -r"),
    "unfinished scores": (lambda r, f: (r / "scores" / f.name / "KEY").unlink(), "warning", "are not finished", "bench score"),
    "a grid of another schema": (lambda r, f: grid_of_another_schema(r), "fault", "has version 99", "no run is trained again"),
    "a lost grid without a page": (lambda r, f: (shutil.rmtree(r / "report"), (r / "grids" / "tiny.json").unlink()), "fault", "no file grids/*.json", "no run is trained again"),
    "a lost grid with a page": (lambda r, f: (r / "grids" / "tiny.json").unlink(), "fault", "has its page, but no grids/tiny.json", "no run is trained again"),
    "a damaged grid": (lambda r, f: (r / "grids" / "tiny.json").write_text("{"), "fault", "cannot be read", "bench run --grid"),
    "a truncated cohort": (lambda r, f: half(next((r / "cohorts").glob("nih-*"))), "fault", "is not what was stored: its checksum differs", "run the grid again"),
}  # fmt: skip


def test_a_whole_store_has_nothing_wrong(store: Store) -> None:
    assert examine_store(store, files=True) == []


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_named_with_its_mend_and_nothing_is_changed(name: str, store: Store) -> None:
    damage, level, what, fix = DAMAGES[name]
    damage(store.root, first(store))
    before = {p: p.stat().st_mtime_ns for p in store.root.rglob("*")}
    found = examine_store(store, files=True)
    assert [c for c in found if c.level == level and what in c.found and fix in c.fix], [
        (c.level, c.found, c.fix) for c in found
    ]
    assert all(c.fix for c in found)
    assert {p: p.stat().st_mtime_ns for p in store.root.rglob("*")} == before


def test_the_command_exits_1_on_a_fault_and_0_on_a_warning(store_copy: Path, here: Command) -> None:
    runs = store_copy / "runs"
    (runs / "ab" / "abcdefabcdef").mkdir(parents=True)
    said = here("check", "--store", "runs", "--quiet", "--quick", cwd=store_copy).stdout
    assert "warn folder ab/abcdefabcdef: is not a run: it has no run.json -> delete it" in said
    half(first(Store.open(runs)) / "seal.json")
    assert "BAD" in here("check", "--store", "runs", "--quiet", "--quick", cwd=store_copy, code=1).stdout


def test_a_store_of_another_schema_is_refused_in_words(store_copy: Path, here: Command) -> None:
    again = "run its grids again in a new store: give another folder with --store"
    for content, what, fix in (
        ('{"schema": 99}', "the store has schema 99, this version uses schema 1\n", again),
        ('{"schema": true}', "the store has schema True, this version uses schema 1\n", again),
        ("[]", "unreadable", "write {"),
        ("{", "unreadable", "write {"),
    ):
        (store_copy / "runs" / "store.json").write_text(content)
        for command in (("list", "runs"), ("report",), ("run", "--grid", "tiny")):
            said = here(*command, cwd=store_copy, code=2).stderr
            assert what in said
            assert f"fix: {fix}" in said


def test_failed_runs_are_listed_alone(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    assert here("list", "runs", "--failed", cwd=store_copy).stdout.strip() == ""
    folder = first(store)
    (folder / "DONE").unlink()
    store.fail(folder.name, "Traceback\nTrainingError: the loss is no number")
    _, line = here("list", "runs", "--failed", cwd=store_copy).stdout.splitlines()
    assert line.split()[:2] == [folder.name, "failed"]
    assert "the loss is no number" in line
    assert "only valid with runs" in here("list", "losses", "--failed", cwd=store_copy, code=2).stderr


def test_a_run_is_removed_by_its_whole_name_and_nothing_else_is(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    gone, kept = store.run_ids()
    for words, what in (
        ((gone[:6], "--yes"), "give complete ids"),
        (("../" + gone, "--yes"), "give complete ids"),
        (("*", "--yes"), "give complete ids"),
        ((gone,), "cannot ask for confirmation"),
    ):
        assert what in here("remove", *words, cwd=store_copy, code=2).stderr
    others = {
        p: p.stat().st_mtime_ns
        for p in store.root.rglob("*")
        if gone not in str(p) and p.name != gone[:2] and p.is_file()
    }
    assert here("remove", gone, "--yes", cwd=store_copy).stdout.strip() == f"removed {gone}"
    assert store.run_ids() == [kept]
    assert not [p for p in store.root.rglob("*") if gone in str(p)]
    assert {p: p.stat().st_mtime_ns for p in others} == others


def test_a_run_that_is_held_or_that_others_are_made_of_is_not_removed(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    one, two = store.run_ids()
    with lease(store.run_dir(one)):
        assert "working on run" in here("remove", one, "--yes", cwd=store_copy, code=2).stderr
    assert store.state(one) == "done"
    document = canonical_json(
        {"schema": 1, "kind": "ensemble", "views": [], "mean": "probability", "sources": sorted([one, two])}
    )
    store.begin(short_hash(document), document)
    assert f"{short_hash(document)} is derived from run" in here("remove", two, "--yes", cwd=store_copy, code=2).stderr
    assert store.state(two) == "done"
