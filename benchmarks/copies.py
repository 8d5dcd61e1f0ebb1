"""Write a store of many runs of the same kind, to measure `bench report` and `bench check`.

    bench run --grid demo --store runs
    python -m benchmarks.copies runs many --runs 500
    time bench report --store many

A store gets copies of the runs of a finished store. Each time that all its runs are copied, the copies get another learning rate,
so they have as many seeds per recipe as the original runs. A copy has the files of the original run, and its scores with a
random shift, so it has the gaps of the original run: nothing is scored again, and no two copies tie. Unchanged files are hard links.
"""

import argparse
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors.numpy

from bench.planning.manifest import read_manifest
from bench.results.read_predictions import INFLUENCES, SCORING_VERSION, STORED, StoredInfluences
from bench.results.score_runs import FILES
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import file_sha256
from bench.store.store import Store, canonical_json, short_hash

COPIED = ("history.parquet", "trained.json", "cost.json", "seal.json", "env.json", "model.safetensors")
SHIFT = 0.01  # standard deviation of the shift of the scores of a copy
SHIFTED = {"scores": ("value", "low", "high"), "gaps": ("internal", "external")}  # table -> its columns
DIFFERENCE = "gap|drift"  # pattern of the names of differences between hospitals, which a shift does not change


def copied(source: Path, root: Path, num: int) -> None:
    """Write a store with `num` copies of the runs in `source`, without decoded images and analyses.

    Both folders must be on one disk.
    """
    old = read_manifest(Store.open(source, create=False), None)
    store = Store.open(root)
    shutil.copytree(source / "cohorts", root / "cohorts")
    original_of: dict[str, str] = {}  # id of a copy -> id of the original run
    runs = []
    for i in range(num):
        run, time = old.runs[i % len(old.runs)], i // len(old.runs)
        folder = old.store.run_dir(run.id)
        schedule = replace(run.config.schedule, lr=float(f"{run.config.schedule.lr * (1 + time / 1000):.6g}"))
        config = replace(run.config, schedule=schedule)
        document = canonical_json({"copy": i, "of": run.id})
        original_of[short_hash(document)] = run.id
        run = replace(run, id=short_hash(document), config=config)
        new = store.begin(run.id, document)
        for name in COPIED:
            os.link(folder / name, new / name)
        for name in ("predictions", "features"):
            shutil.copytree(folder / name, new / name, copy_function=os.link)
        CheckedFolder(new).mark_done()
        runs.append(run)
    manifest = replace(old, store=store, name="many", runs=tuple(runs), analyses=())
    manifest.write()
    tables = {run.id: _tables(old.scores / run.id) for run in old.runs}
    stored = {run.id: StoredInfluences.of(old, run.id) for run in old.runs}
    draw = np.random.default_rng(0)
    for run_id, original in original_of.items():
        shift = draw.normal(scale=SHIFT)
        key, scores = manifest.scores_key(run_id, SCORING_VERSION), manifest.scores / run_id
        scores.mkdir(parents=True)
        for name, table in tables[original].items():
            moved = _moved(table, SHIFTED.get(name, ()), shift)
            _write(scores / f"{name}.parquet", moved, run_id, key)
        values = {
            name: value + (0.0 if re.search(DIFFERENCE, name) else shift)
            for name, value in stored[original].value.items()
        }
        influences = safetensors.numpy.load_file(old.scores / original / INFLUENCES)
        safetensors.numpy.save_file(influences, scores / INFLUENCES, {"values": json.dumps(values)})
        # Without checksums, `bench report` would score each run again.
        CheckedFolder(scores).write_checksums({name: file_sha256(scores / name) for name in FILES})
        (scores / "KEY").write_text(key)


def _tables(folder: Path) -> dict[str, pa.Table]:
    return {name: pq.read_table(folder / f"{name}.parquet") for name in STORED}


def _moved(table: pa.Table, columns: Sequence[str], shift: float) -> pa.Table:
    """Return a table with the numbers of these columns moved by `shift`, except those of differences between hospitals."""
    by: Any = shift
    if "metric" in table.column_names:
        by = pc.if_else(pc.match_substring_regex(table["metric"], DIFFERENCE), 0.0, shift)
    for name in columns:
        table = table.set_column(table.column_names.index(name), name, pc.add(table[name], by))
    return table


def _write(path: Path, table: pa.Table, run_id: str, key: str) -> None:
    """Write a table of scores with another run id and key."""
    if "run_id" in table.column_names:
        column = table.column_names.index("run_id")
        table = table.set_column(column, "run_id", pa.array([run_id] * len(table), table.schema.field(column).type))
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"unseen.key": key.encode()}), path)


def main() -> None:
    """Write a store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a finished store")
    parser.add_argument("to", type=Path, help="a new folder on the same disk")
    parser.add_argument("--runs", type=int, default=500)
    options = parser.parse_args()
    copied(options.source, options.to, options.runs)


if __name__ == "__main__":
    main()
