"""Measure time and memory of `bench report` in stores of 4 to 2,000 runs of the same kind, and draw the curve.

    bench run --grid demo --store runs
    python -m benchmarks.copies runs                       # writes copies.csv and copies.svg
    python -m benchmarks.copies runs --runs 500 --to many  # only writes the store `many`, such as for `bench check --store many`

A store gets copies of the runs of a finished store. Each time that all its runs are copied, the copies get another learning rate,
so they have as many seeds per recipe as the original runs. A copy has the files of the original run, and its scores with a
random shift, so it has the gaps of the original run: nothing is scored again, and no two copies tie. Unchanged files are hard links.
CPU seconds are those of the whole command with its child processes; memory is the peak memory of the largest process.
"""

import argparse
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
from benchmarks import results, unit

COPIED = ("history.parquet", "trained.json", "cost.json", "seal.json", "env.json", "model.safetensors")
SIZES = (4, 100, 500, 2000)
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


def measured(store: Path) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory in MB of `bench report`."""
    command = [sys.executable, "-m", "bench.cli", "report", "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command)}` failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def curve(source: Path, sizes: list[int]) -> pd.DataFrame:
    """Return a row for each number of runs: CPU seconds, units and memory of the report, and the size of its page."""
    rows = []
    for num in sizes:
        with tempfile.TemporaryDirectory(dir=source.parent) as folder:
            # In other processes: Linux counts the memory of this process as memory of the command that it starts.
            subprocess.run(
                [sys.executable, "-m", "benchmarks.copies", str(source), "--runs", str(num), "--to", f"{folder}/many"],
                check=True,
            )
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                unit_s = sum(pool.submit(unit.seconds).result().values())
            seconds, memory = measured(Path(folder, "many"))
            page = Path(folder, "many", "report", "many", "leaderboard.html").stat().st_size / 1e6
        rows.append((num, round(seconds, 1), round(seconds / unit_s, 1), round(memory), round(page, 1)))
        print(f"{num:,} runs: {seconds:.1f} CPU s, {seconds / unit_s:.1f} units, {memory:,.0f} MB", flush=True)
    table = pd.DataFrame(rows, columns=["runs", "cpu_s", "units", "memory_mb", "page_mb"])
    return table.assign(machine=results.machine())


def drawn(table: pd.DataFrame) -> str:
    """Return an SVG with CPU seconds (dots) against runs, on axes from 0, and a straight line to the largest store."""
    most_runs, most_s = table["runs"].max(), table["cpu_s"].max()
    points = [
        (60 + 480 * r / most_runs, 270 - 240 * s / most_s) for r, s in zip(table["runs"], table["cpu_s"], strict=True)
    ]
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#0072b2"/>' for x, y in points)
    words = "".join(
        f'<text x="{x - 8:.1f}" y="{y - 8:.1f}" text-anchor="{"end" if x > 300 else "start"}">'
        f"{row.runs:,} runs: {row.cpu_s:.0f} CPU s, {row.units:.0f} units, {row.memory_mb / 1000:.2f} GB</text>"
        for (x, y), row in zip(points, table.itertuples(), strict=True)
    )
    (x0, y0), (x1, y1) = points[0], points[-1]
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 600 300" font-family="sans-serif" font-size="12">'
        f'<path d="M60 20V270H560M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" fill="none" stroke="#999"/>{dots}{words}'
        '<text x="560" y="288" text-anchor="end">runs</text><text x="52" y="24" text-anchor="end">CPU s</text></svg>\n'
    )


def main() -> None:
    """Write the curve, or with --to one store."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a finished store")
    parser.add_argument("--runs", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--to", type=Path, help="a new folder on the same disk")
    options = parser.parse_args()
    if options.to:
        copied(options.source, options.to, options.runs[-1])
        return
    table = curve(options.source, options.runs)
    file = Path(__file__).with_suffix(".csv")
    table.to_csv(file, index=False)
    file.with_suffix(".svg").write_text(drawn(table), encoding="utf-8")


if __name__ == "__main__":
    main()
