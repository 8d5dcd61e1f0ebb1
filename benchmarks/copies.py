"""Write a store with many copies of a few runs, to measure how long `bench report` and `bench check` take in it.

    bench run --grid demo --store runs
    python benchmarks/copies.py runs many --runs 2000
    python -m bench.cli report --store many ; python -m bench.cli check --store many

Each copy has a new id, seed and learning rate. Three copies of a run have the same learning rate and three seeds, so they are one
recipe. A copy has the files and scores of the original run; nothing is scored again. Unchanged files are hard links to the original
files, so both stores must be on one disk.
"""

import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.planning.manifest import read_manifest
from bench.results.read_predictions import FRAMES, REPLICATES, SCORING_VERSION
from bench.results.score_runs import FILES
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import file_sha256
from bench.store.store import Store, canonical_json, short_hash

COPIED = ("history.parquet", "trained.json", "cost.json", "seal.json", "env.json", "model.safetensors")


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
        schedule = replace(run.config.schedule, lr=run.config.schedule.lr * (1 + time // 3 / 1000))
        config = replace(run.config, seed=1000 + time % 3, schedule=schedule)
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
    for run_id, original in original_of.items():
        key, scores = manifest.scores_key(run_id, SCORING_VERSION), manifest.scores / run_id
        scores.mkdir(parents=True)
        for name, table in tables[original].items():
            _write(scores / f"{name}.parquet", table, run_id, key)
        os.link(old.scores / original / REPLICATES, scores / REPLICATES)
        # Without checksums, `bench report` would score each run again.
        CheckedFolder(scores).write_checksums({name: file_sha256(scores / name) for name in FILES})
        (scores / "KEY").write_text(key)


def _tables(folder: Path) -> dict[str, pa.Table]:
    return {name: pq.read_table(folder / f"{name}.parquet") for name in FRAMES}


def _write(path: Path, table: pa.Table, run_id: str, key: str) -> None:
    """Write a table of scores with another run id and key."""
    if "run_id" in table.column_names:
        column = table.column_names.index("run_id")
        table = table.set_column(column, "run_id", pa.array([run_id] * len(table), table.schema.field(column).type))
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), b"unseen.key": key.encode()}), path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a finished store")
    parser.add_argument("root", type=Path, help="a new folder")
    parser.add_argument("--runs", type=int, default=2000)
    asked = parser.parse_args()
    copied(asked.source, asked.root, asked.runs)
