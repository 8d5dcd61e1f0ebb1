"""Measure time and memory of scoring and reporting for many runs and images, on an enlarged store of phantoms.

    bench run --grid demo --store runs
    python benchmarks/growth.py runs --runs 10 --images 25000

The script enlarges a finished store:
- The script draws patients of each cohort with replacement, under new names, until the cohort has `--images` images.
- Each new run has an id, a seed, and the files of a normal run. The logits of a new run are those of a run of the store
  plus noise; the features are random vectors of length `--width`.

A new process then computes the scores and writes the page. A second process does the same again, but reuses the scores
of the source probes (classifiers of the hospital). CPU seconds are those of the process and its children; memory is
the peak memory of the largest of these processes.
`--scan N` measures the check of N run folders.
"""

import argparse
import hashlib
import multiprocessing
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from bench.cli.progress_bars import choose_display
from bench.config.run_config import Split
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import unfinished
from bench.store.checked_files import write_cohort
from bench.store.checked_folders import RECORDS, CheckedFolder
from bench.store.store import Store, write_table
from benchmarks.harness import largest_memory


def cpu() -> float:
    """Return the CPU seconds of this process and of its child processes that have ended."""
    usages = [resource.getrusage(processes) for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def name_of(run: int) -> str:
    """Return the id of the new run with the number `run`."""
    return hashlib.sha256(str(run).encode()).hexdigest()[:12]


def planned(manifest: Manifest, num: int) -> tuple[PlannedRun, ...]:
    """Return `num` copies of a manifest's runs, with new ids and seeds.

    Three copies of a run have the same learning rate and three seeds, so they are one recipe.
    """
    # Most internal images are in the test split, so that scoring it takes as long as scoring an external cohort.
    split = Split(0.05, 0.15, 0.8)
    runs = []
    for i in range(num):
        run, time = manifest.runs[i % len(manifest.runs)], i // len(manifest.runs)
        schedule = replace(run.config.schedule, lr=run.config.schedule.lr * (1 + time // 3 / 1000))
        config = replace(run.config, seed=1000 + time % 3, schedule=schedule, split=split)
        runs.append(replace(run, id=name_of(i), config=config))
    return tuple(runs)


def drawn_again(table: pd.DataFrame, num: int, draw: np.random.Generator) -> pd.DataFrame:
    """Return at least `num` rows of whole patients, drawn with replacement under new names.

    Column `row` is the row's index in `table`.
    """
    groups = [group.index.to_numpy() for _, group in table.groupby("patient_id", sort=True)]
    rows: list[np.ndarray] = []
    patient_ids: list[str] = []
    while len(patient_ids) < num:
        rows.append(groups[draw.integers(len(groups))])
        patient_ids += [f"p{len(rows)}"] * len(rows[-1])
    out = table.loc[np.concatenate(rows)].copy()
    out["row"], out["patient_id"] = np.concatenate(rows), patient_ids
    out["image_id"] = out["path"] = [f"i{i}" for i in range(len(out))]
    return out.reset_index(drop=True)


def grown(source: Path, root: Path, num_runs: int, num_images: int, width: int) -> Manifest:
    """Write the enlarged store and return its manifest."""
    # This module imports torch, so it is imported here and not in the process that is measured.
    from bench.inputs.examples import probe_rows

    old = read_manifest(Store.open(source, create=False), None)
    store, draw = Store.open(root), np.random.default_rng(0)
    tables, source_ids = {}, [run.id for run in old.runs]
    for cohort in old.planned_cohorts:
        path = old.store.run_dir(source_ids[0]) / "predictions" / f"{cohort.name}.parquet"
        predicted = pd.read_parquet(path)["image_id"]
        table = old.table(cohort)
        tables[cohort.name] = drawn_again(table[table["image_id"].isin(predicted)], num_images, draw)
        path = root / "cohorts" / f"{cohort.name}-{cohort.id}.parquet"
        write_cohort(path, tables[cohort.name].drop(columns="row"), cohort.id)
    large = replace(old, store=store, name="large", runs=planned(old, num_runs), analyses=())
    for i, run in enumerate(large.runs):
        source_folder, folder = old.store.run_dir(source_ids[i % len(source_ids)]), store.run_dir(run.id)
        folder.mkdir(parents=True)
        for path in source_folder.glob("*.*"):
            if path.suffix in {".json", ".parquet"}:
                shutil.copy(path, folder)
        for cohort in large.planned_cohorts:
            name, table = cohort.name, tables[cohort.name]
            logits = pd.read_parquet(source_folder / "predictions" / f"{name}.parquet").set_index("image_id")
            ids = old.table(cohort)["image_id"].to_numpy()[table["row"]]
            noisy = logits.loc[ids].reset_index(drop=True)
            noisy += draw.normal(scale=0.5, size=noisy.shape)
            noisy.insert(0, "image_id", table["image_id"])
            metadata = {"fingerprint": name, "weights": run.id}
            write_table(
                folder / "predictions" / f"{name}.parquet", noisy.astype(dict.fromkeys(logits, "float32")), metadata
            )
            patients = table["patient_id"].to_numpy(str)
            # a run stores features only of the images that its source probe uses
            patients = patients[probe_rows(patients)]
            feature = draw.normal(size=(len(patients), width)) * np.linspace(2, 0.1, width)
            feature += draw.normal(scale=0.05, size=width)
            (folder / "features").mkdir(exist_ok=True)
            np.savez(folder / "features" / f"{name}.npz", patient_id=patients, feature=feature.astype(np.float16))
        CheckedFolder(folder).mark_done()
    large.write()
    return large


def hashed(folder: Path) -> str:
    """Return a hash of the names and contents of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def scores_and_page(root: Path, processes: int) -> dict[str, float]:
    """Compute the missing scores, write the page, and return the time and memory of both.

    The caller starts a new process for this function, so that the numbers include no other work.
    """
    from bench.results.score_runs import score_all

    # This module imports OpenCV, so it is imported here and not in the child processes that compute scores.
    from bench.results.write_report import write_report

    manifest = read_manifest(Store.open(root), "large")
    start, cpu_start = time.perf_counter(), cpu()
    score_all(manifest, lambda *_: None, processes)
    scoring_end, scoring_cpu, memory = time.perf_counter(), time.process_time(), largest_memory()
    with choose_display(True) as display:
        page = write_report(manifest, None, display.progress).page
    writing_end, reporting = time.perf_counter(), time.process_time() - scoring_cpu
    # The operating system counts a child's CPU time and memory only after the child has ended.
    for process in multiprocessing.active_children():
        process.join()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "score CPU s": cpu() - cpu_start - reporting,
        "score wall s": scoring_end - start,
        "score MB": max(memory, children) / 1024,
        "report CPU s": reporting,
        "report wall s": writing_end - scoring_end,
        "report MB": largest_memory() / 1024,
        "page MB": page.stat().st_size / 1e6,
    }


def rebuilt(manifest: Manifest, processes: int, everything: bool) -> tuple[dict[str, float], str]:
    """Compute scores and page again in a new process; return its time and memory, and a hash of the files.

    With `everything`, all scores are deleted first. Without `everything`, only the files KEY are deleted, which state the
    version that computed the scores; so all scores are computed again, as after a change of metrics. The scores of source
    probes stay valid, because these scores depend only on features and labels.
    """
    root = manifest.store.root
    shutil.rmtree(root / "report", ignore_errors=True)
    if everything:
        shutil.rmtree(root / "scores", ignore_errors=True)
    for key_file in (root / "scores").glob("*/KEY"):
        key_file.unlink()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        cost = pool.submit(scores_and_page, root, processes).result()
    return cost, hashed(root / "scores") + hashed(root / "report")


def scanned(manifest: Manifest, root: Path, num: int) -> tuple[float, float]:
    """Return the wall-clock and CPU seconds of checking that `num` runs are finished, in a new store under `root`.

    The check reads the records of a run, so the records are copied from a real run. The check does not read predictions
    and features, so the files of predictions and features are empty.
    """
    store = Store.open(root / "scanned")
    grown_manifest = replace(manifest, store=store, runs=planned(manifest, num))
    source_folder = manifest.store.run_dir(manifest.runs[0].id)
    for run in grown_manifest.runs:
        folder = store.run_dir(run.id)
        for name in ("predictions", "features"):
            (folder / name).mkdir(parents=True)
        for name in RECORDS:
            shutil.copy(source_folder / name, folder)
        for cohort in manifest.cohorts:
            (folder / "predictions" / f"{cohort.name}.parquet").touch()
            (folder / "features" / f"{cohort.name}.npz").touch()
        CheckedFolder(folder).mark_done()
    start, cpu_start = time.perf_counter(), cpu()
    assert len(store.run_ids()) == num
    assert not any(unfinished(grown_manifest, run) for run in grown_manifest.runs)
    return time.perf_counter() - start, cpu() - cpu_start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    for name, default in (("runs", 10), ("images", 25_000), ("width", 1024), ("processes", 2), ("again", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--scan", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if options.scan:
            wall, cpu_seconds = scanned(read_manifest(Store(options.store), None), Path(folder), options.scan)
            print(f"scan of {options.scan} runs: {wall:.2f} s wall, {cpu_seconds:.2f} s CPU", flush=True)
        if options.runs:
            manifest = grown(options.store, Path(folder) / "runs", options.runs, options.images, options.width)
            print(f"{options.runs} runs x {len(manifest.cohorts)} cohorts x {options.images} images:", flush=True)
            hashes: list[str] = []
            for repetition in range(1 + options.again):
                cost, content_hash = rebuilt(manifest, options.processes, everything=not repetition)
                hashes.append(content_hash)
                description = "rebuilt, source probes kept" if repetition else "from nothing"
                print(
                    f"  {description}: " + ", ".join(f"{name} {value:.1f}" for name, value in cost.items()), flush=True
                )
            if options.again:
                print("  the same bytes:", len(set(hashes)) == 1)


if __name__ == "__main__":
    main()
