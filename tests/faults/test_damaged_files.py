"""One file of a finished store is damaged at a time: no damage changes a page unnoticed, and `bench check` names each damaged file.

`UNSEEN_DAMAGES` is the number of damages (`tox -e faults`: 5000). A generator draws them from the seed `UNSEEN_DAMAGES_SEED`
(default 0). The test prints what happened to the damages, by kind of file (`pytest -s`).
"""

import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

import bench.analyses.shortcuts.source
import bench.results.report_tables
import bench.scoring.diagnostics
import bench.scoring.gaps.label_mappings
import bench.scoring.score_run
from bench.diagnostics.run_checks import of_store
from bench.diagnostics.store_audit import examine_store
from bench.planning.jobs import analysis_key, predicted
from bench.planning.manifest import read_manifest
from bench.results.report_tables import tables
from bench.results.score_runs import score_all
from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, write_bytes, write_table
from harmonize.errors import CxrError
from reports import extensions, hooks
from reports.schemas.tables import SCHEMAS
from reports.tables import Tables

pytestmark = pytest.mark.grid
Command = Callable[..., object]
NUM_DAMAGES = int(os.environ.get("UNSEEN_DAMAGES", "36"))
SEED = int(os.environ.get("UNSEEN_DAMAGES_SEED", "0"))
_RECORDS = (
    "grids/*.json",
    "cohorts/*.parquet",
    "cohorts/*.sha256",
    "??/*/*.json",
    "??/*/*.parquet",
    "??/*/DONE",
)  # of grids, cohorts and runs
KINDS = (
    "store.json",
    *_RECORDS,
    "??/*/model.safetensors",
    "??/*/predictions/*",
    "??/*/features/*",
    "scores/*/KEY",
    "scores/*/*.json",
    "scores/*/*.parquet",
    "scores/*/*.safetensors",
    "??/*/attention/*.*",
    "??/*/attention/KEY",
    "??/*/attention/gallery/*",
)
RESULTS = ("refused", "made again", "stated on the page", "unchanged")
# Functions whose result depends on nothing but their arguments and files of these kinds. Most damages do not change what such a
# function reads. Then its result for the undamaged store is used again, which saves half of the CPU time.
_LABELED = ("cohorts/*.parquet", "cohorts/*.sha256", "??/*/predictions/*", "??/*/checksums.json")
_COMPARED = (*_RECORDS, "??/*/predictions/*")
READ: dict[tuple[ModuleType, str], tuple[str, ...]] = {
    (sys.modules[__name__], "tables"): KINDS,
    (bench.results.report_tables, "across"): _COMPARED,
    (bench.results.report_tables, "cohort_tables"): _COMPARED,
    **{
        (module, name): _LABELED
        for module in extensions.modules(hooks.ReportTables)
        for name in vars(module)
        if name == "compared_at_hospitals"
    },
    (bench.scoring.score_run, "score_run"): (),
    (bench.scoring.gaps.label_mappings, "sensitivity"): (),
    (bench.scoring.diagnostics, "symptoms"): (),
    (bench.analyses.shortcuts.source, "source_probe"): (),
}


def quiet(*_: object) -> None:
    """Show no progress."""


def plant_analysis(store: Store, run_id: str) -> None:
    """Store a finished analysis `attention` with a row of each table and two pictures, and add it to the grid."""
    pictures = pytest.importorskip("bench.extensions.heat_maps.pictures")
    place, identity = f"{run_id[:2]}/{run_id}/attention", ["attention", 2, {}]
    folder = store.root / place
    text = {"run_id": run_id, "dataset": "nih", "finding": "Edema", "kind": "sure miss", "picture": ""}
    for name in ("attention", "gallery", "randomization"):
        rows = [{column: text.get(column, float(rank)) for column in SCHEMAS[name]} for rank in range(2)]
        write_table(folder / f"{name}.parquet", pd.DataFrame(rows))
    for rank in range(2):
        picture = np.random.default_rng(rank).integers(0, 255, (32, 64, 3), np.uint8)
        write_bytes(
            folder / "gallery" / pictures.picture_name("nih", "Edema", "sure miss", rank), pictures.webp(picture)
        )
    CheckedFolder(folder).record_checksums()
    manifest = read_manifest(store, "tiny")
    key = analysis_key(identity, predicted(store, run_id, manifest.places), per_run=True)
    write_bytes(folder / "KEY", key.encode())
    planned = {"name": "attention", "identity": identity, "run": run_id, "per_run": True, "folder": place}
    write_grid(store, "tiny", {**read_grid(store, "tiny"), "analyses": [planned]})


def other_value(path: Path, draw: random.Random) -> bytes:
    """Return the file with another value in one place, still readable, and with the same metadata."""
    content = path.read_bytes()
    if path.suffix == ".json":
        document = json.loads(content)
        places = [(document, key) for key in document]
        for holder, key in places:
            inner = holder[key]
            places += (
                [(inner, k) for k in (inner if isinstance(inner, dict) else range(len(inner)))]
                if isinstance(inner, dict | list)
                else []
            )
        leaves = [(holder, key) for holder, key in places if not isinstance(holder[key], dict | list)]
        holder, key = draw.choice(leaves or places)
        value = holder[key]
        holder[key] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else "other"
        return json.dumps(document).encode()
    if path.suffix == ".parquet":
        table = pq.read_table(pa.BufferReader(content))
        filled = [name for name in table.column_names if table.num_rows > table[name].null_count]
        if filled:
            name = draw.choice(filled)
            values = table[name].to_pylist()
            row = draw.choice([i for i, value in enumerate(values) if value is not None])
            value = values[row]
            if isinstance(value, list):
                values[row] = value + value[:1]
            elif isinstance(value, bool):
                values[row] = not value
            else:
                values[row] = value + 1 if isinstance(value, int | float) else "other"
            column = pa.array(values, table.schema.field(name).type)
            table = table.set_column(table.column_names.index(name), table.schema.field(name), column)
        written = pa.BufferOutputStream()
        pq.write_table(table, written, compression="gzip")
        return bytes(written.getvalue())
    if path.suffix == ".npz":
        with np.load(io.BytesIO(content)) as stored:
            arrays = {name: stored[name].copy() for name in stored.files}
        name = draw.choice([name for name, array in arrays.items() if array.size and array.dtype.kind == "f"])
        arrays[name].flat[draw.randrange(arrays[name].size)] += 1
        written_arrays = io.BytesIO()
        np.savez(written_arrays, **arrays)
        return written_arrays.getvalue()
    if path.suffix == ".safetensors":
        tensors = safetensors.numpy.load(content)
        name = draw.choice([name for name, array in sorted(tensors.items()) if array.size and array.dtype.kind == "f"])
        tensors[name] = tensors[name].copy()
        tensors[name].flat[draw.randrange(tensors[name].size)] += 1
        return safetensors.numpy.save(tensors)
    return one_byte(content, draw, draw.randrange(1, 256))


def one_byte(content: bytes, draw: random.Random, change: int) -> bytes:
    """Return the content with one byte changed."""
    changed = bytearray(content or b"\0")
    changed[draw.randrange(len(changed))] ^= change
    return bytes(changed)


def damage(path: Path, draw: random.Random) -> str:
    """Damage a file; return the kind of the damage."""
    kind = draw.choice(("value", "bit", "bit", "cut", "empty", "junk", "gone"))
    content = path.read_bytes()
    if kind == "gone":
        path.unlink()
        return kind
    changed = {
        "value": lambda: other_value(path, draw),
        "bit": lambda: one_byte(content, draw, 1 << draw.randrange(8)),
        "cut": lambda: content[: draw.randrange(max(1, len(content)))],
        "empty": lambda: b"",
        "junk": lambda: draw.randbytes(max(1, len(content))),
    }
    path.write_bytes(changed[kind]())
    return kind


def same(page: Tables, other: Tables) -> bool:
    """Whether two reports have the same data."""
    if json.dumps(page.meta, sort_keys=True) != json.dumps(other.meta, sort_keys=True):
        return False
    return all(frame.equals(other.frames[name]) for name, frame in page.frames.items())


def outcome(store: Store, path: Path, before: Tables) -> str:
    """Score and report a damaged store; return what happened to the damage, "SILENT" if the page is another one without a word."""
    lines: list[str] = []
    try:
        manifest = read_manifest(Store.open(store.root, create=False), "tiny")
        score_all(manifest, quiet, 1, lines.append)
        page = tables(manifest)
    except CxrError as error:
        # a changed checksum is reported as a fault of the file that it belongs to
        name = path.parent.name if path.name == "checksums.json" else path.name.removesuffix(".sha256")
        return "refused" if name in str(error) else f"SILENT: {name} not in {error}"
    if same(page, before):
        return "made again" if lines else "unchanged"
    left_out = page.frames["runs"]["reason"].astype(bool).any()
    not_done = any(analysis["state"] != "done" for analysis in page.meta["analyses"])
    return "stated on the page" if left_out or not_done or page.meta["no_pictures"] else "SILENT"


def computed_once(function: Callable[..., object], files: Sequence[Path]) -> Callable[..., object]:
    """Return a function that computes a result once for equal arguments and equal content of `files`, and then returns copies."""
    results: dict[bytes, bytes] = {}

    def call(*arguments: object) -> object:
        content = hashlib.sha256(pickle.dumps(arguments))
        for path in files:
            content.update(path.read_bytes() + str(path.stat().st_size).encode() if path.is_file() else b"no file")
        key = content.digest()
        if key not in results:
            results[key] = pickle.dumps(function(*arguments))
        return pickle.loads(results[key])

    return call


def by_kind(outcomes: Mapping[tuple[str, str], int]) -> str:
    """Return a table of text: the number of damages with each result, by kind of file."""
    rows = [(pattern, *(outcomes.get((pattern, result), 0) for result in RESULTS)) for pattern in KINDS]
    totals = ("all", *(sum(int(row[column]) for row in rows) for column in range(1, len(RESULTS) + 1)))
    return pd.DataFrame([*rows, totals], columns=["file", *RESULTS]).to_string(index=False)


def test_no_damage_of_a_file_changes_a_page_unnoticed(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damages of every kind at random places of every kind of file."""
    store = Store.open(store_copy / "runs")
    run_id = store.run_ids()[0]
    plant_analysis(store, run_id)
    files = {kind: sorted(store.root.glob(kind)) for kind in KINDS}
    stored = {path: path.read_bytes() for paths in files.values() for path in paths}
    assert [kind for kind, paths in files.items() if not paths] == []
    for (module, name), kinds in READ.items():
        read = sorted(path for kind in kinds for path in store.root.glob(kind))
        monkeypatch.setattr(module, name, computed_once(getattr(module, name), read))
    before, draw = tables(read_manifest(store, "tiny")), random.Random(SEED)
    assert before.meta["analyses"][0]["state"] == "done"
    assert examine_store(store, files=True) == []
    outcomes = Counter[tuple[str, str]]()
    for number in range(NUM_DAMAGES):
        pattern = KINDS[number % len(KINDS)]
        path = draw.choice(files[pattern])
        kind = damage(path, draw)
        changed = not path.is_file() or path.read_bytes() != stored[path]
        where = f"{number}: {kind} of {path.relative_to(store.root)}"
        if path.name != "store.json":
            checks = examine_store(store, files=True)
            with contextlib.suppress(CxrError):  # no other exception
                of_store(store, None)
        result = outcome(store, path, before)
        assert "SILENT" not in result, f"{where}: {result}"
        if path.name != "store.json" and changed and result in ("refused", "made again"):
            # a changed checksum is reported as a fault of the file that it belongs to
            name = path.parent.name if path.name == "checksums.json" else path.stem.removesuffix(".parquet")
            assert any(name in f"{check.what} {check.found}" for check in checks), f"{where}: check found {checks}"
        outcomes[pattern, result] += 1
        for other, content in stored.items():
            if not other.is_file() or other.read_bytes() != content:
                write_bytes(other, content)
        if number % 100 == 99:
            print(f"{number + 1} of {NUM_DAMAGES} damages\n{by_kind(outcomes)}", flush=True)
    assert sum(outcomes.values()) == NUM_DAMAGES
    assert set(RESULTS) == {result for _, result in outcomes}


@pytest.mark.parametrize("damaged", ["value", "bit"])
def test_every_command_answers_a_damaged_cohort_table_in_words(damaged: str, store_copy: Path, here: Command) -> None:
    store, draw = Store.open(store_copy / "runs"), random.Random(1)
    (path,) = store.root.glob("cohorts/chexpert-*.parquet")
    changed = other_value(path, draw) if damaged == "value" else one_byte(path.read_bytes(), draw, 1)
    path.write_bytes(changed)
    one, two = store.run_ids()
    for words in (
        ("report",),
        ("compare", one, two),
        ("errors", one),
        ("card", one),
        ("upload", one, "--repo", "a/b", "--dry-run"),
    ):
        done = here(*words, cwd=store_copy, code=2)
        assert path.name in done.stderr, words
        assert "fix: " in done.stderr
    checked = here("check", "--quiet", cwd=store_copy, code=1).stdout
    assert f"cohort table {path.stem}: is not what was stored" in checked
    assert "symptoms: not checked" in checked


def test_a_kill_between_a_cohort_table_and_its_checksum_is_mended(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    stored = {path: path.read_bytes() for path in store.root.glob("cohorts/*")}
    for path in store.root.glob("cohorts/*.sha256"):
        path.unlink()
    assert "has no checksum" in here("report", "--quiet", cwd=store_copy, code=2).stderr
    here("run", "--grid", "tiny", "--quiet", cwd=store_copy)
    assert {path: path.read_bytes() for path in store.root.glob("cohorts/*")} == stored
    shutil.rmtree(store.root / "cohorts")
    here("run", "--grid", "tiny", "--quiet", cwd=store_copy)
    assert {path: path.read_bytes() for path in store.root.glob("cohorts/*")} == stored
