"""What scoring and reporting cost as runs and images grow, on real files: a finished store of phantoms, made large.

    bench run --grid demo --store runs
    python benchmarks/growth.py runs --runs 10 --images 25000

Patients of each cohort are drawn again under new names until there are as many images as asked for; every new run has the logits of
one of the store with noise of its own, features of `--width` numbers, and an id, a seed and files like any other. Scores are then
made by `score` and the page by `write_report`, from nothing and then again with the source probes kept, each time in a process of
its own. CPU seconds are of it and of the processes it starts; memory is the largest of any one of them.
`--across N` takes the tables over runs alone to N runs; `--scan N` looks at N run folders.
"""

import argparse
import copy
import hashlib
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.cli.progress_bars import choose_display
from bench.planning.manifest import Manifest, read_manifest
from bench.results.cross_run_tables import across
from bench.results.read_predictions import load_replicates, load_scores, scored_ids, unfinished
from bench.store.checksums import RECORDS, mark_done
from bench.store.store import Store, canonical_json, write_bytes, write_table
from benchmarks.harness import largest_memory


def cpu() -> float:
    """Return the CPU seconds of this process and of those it has waited for."""
    usages = [resource.getrusage(processes) for processes in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def name_of(run: int) -> str:
    """Return the id of a made-up run."""
    return hashlib.sha256(str(run).encode()).hexdigest()[:12]


def planned(content: dict[str, Any], num: int) -> list[dict[str, Any]]:
    """Return so many runs like those of a manifest, told apart by their seeds."""
    runs = [copy.deepcopy(content["runs"][i % len(content["runs"])]) for i in range(num)]
    for i, run in enumerate(runs):
        run["id"], run["config"]["seed"] = name_of(i), 1000 + i // len(content["runs"])
        run["config"]["split"] = {
            "train": 0.05,
            "val": 0.15,
            "test": 0.8,
        }  # of the internal hospital, too, most is to be scored
    return runs


def drawn_again(table: pd.DataFrame, num: int, draw: np.random.Generator) -> pd.DataFrame:
    """Return `num` rows or a few more: whole patients, drawn again under new names; column `row` is where they come from."""
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
    """Write the large store and return its manifest."""
    from bench.inputs.examples import probe_rows  # it brings torch: not for the process that is measured

    old = read_manifest(Store.open(source, create=False), None)
    store, draw, content = Store.open(root), np.random.default_rng(0), copy.deepcopy(dict(old.content))
    tables, source_ids = {}, [run["id"] for run in content["runs"]]
    for cohort in content["cohorts"]:
        predicted = pd.read_parquet(old.store.run_dir(source_ids[0]) / "predictions" / f"{cohort['name']}.parquet")[
            "image_id"
        ]
        table = old.table(cohort)
        tables[cohort["name"]] = drawn_again(table[table["image_id"].isin(predicted)], num_images, draw)
        path = root / "cohorts" / f"{cohort['name']}-{cohort['id']}.parquet"
        write_table(path, tables[cohort["name"]].drop(columns="row"), {"id": cohort["id"]})
    content["runs"], content["analyses"] = planned(content, num_runs), []
    for i, run in enumerate(content["runs"]):
        source_folder, folder = old.store.run_dir(source_ids[i % len(source_ids)]), store.run_dir(run["id"])
        folder.mkdir(parents=True)
        for path in source_folder.glob("*.*"):
            if path.suffix in {".json", ".parquet"}:
                shutil.copy(path, folder)
        for cohort in content["cohorts"]:
            name, table = cohort["name"], tables[cohort["name"]]
            logits = pd.read_parquet(source_folder / "predictions" / f"{name}.parquet").set_index("image_id")
            ids = old.table(cohort)["image_id"].to_numpy()[table["row"]]
            noisy = logits.loc[ids].reset_index(drop=True)
            noisy += draw.normal(scale=0.5, size=noisy.shape)
            noisy.insert(0, "image_id", table["image_id"])
            metadata = {"fingerprint": cohort["name"], "weights": run["id"]}
            write_table(
                folder / "predictions" / f"{name}.parquet", noisy.astype(dict.fromkeys(logits, "float32")), metadata
            )
            patients = table["patient_id"].to_numpy(str)
            patients = patients[probe_rows(patients)]  # whose features a run keeps
            feature = draw.normal(size=(len(patients), width)) * np.linspace(2, 0.1, width)
            feature += draw.normal(scale=0.05, size=width)
            (folder / "features").mkdir(exist_ok=True)
            np.savez(folder / "features" / f"{name}.npz", patient_id=patients, feature=feature.astype(np.float16))
        mark_done(folder)
    write_bytes(root / "grids" / "large.json", canonical_json({**content, "name": "large"}))
    return read_manifest(store, "large")


def hashed(folder: Path) -> str:
    """Return a hash of all files of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def scores_and_page(root: Path, threads: int) -> dict[str, float]:
    """Make what is missing of scores and page and return what it cost; for a process that does nothing else."""
    from bench.results.score_runs import score_all
    from bench.results.write_report import (
        write_report,  # it brings OpenCV: not for the processes that score for this one
    )

    manifest = read_manifest(Store.open(root), "large")
    start, cpu_start = time.perf_counter(), cpu()
    score_all(manifest, lambda *_: None, threads)
    scoring_end, scoring_cpu, memory = time.perf_counter(), time.process_time(), largest_memory()
    with choose_display(True) as display:
        page = write_report(manifest, None, display.progress)
    writing_end, reporting = time.perf_counter(), time.process_time() - scoring_cpu
    for process in multiprocessing.active_children():  # what scored counts when it has ended, beside the page
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


def rebuilt(manifest: Manifest, threads: int, everything: bool) -> tuple[dict[str, float], str]:
    """Return what scores and page cost, made anew by a process of their own, and a hash of their bytes.

    Unless `everything`, scores are only out of date, as after a change of metrics: source probes, which hang on features and
    labels alone, are kept.
    """
    root = manifest.store.root
    shutil.rmtree(root / "report", ignore_errors=True)
    if everything:
        shutil.rmtree(root / "scores", ignore_errors=True)
    for key_file in (root / "scores").glob("*/KEY"):
        key_file.unlink()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        cost = pool.submit(scores_and_page, root, threads).result()
    return cost, hashed(root / "scores") + hashed(root / "report")


def over_runs(source: Path, num: int) -> float:
    """Return the CPU seconds of the tables over `num` runs, made from the scores of the store with noise on every value."""
    old = read_manifest(Store.open(source, create=False), None)
    ids, draw = scored_ids(old), np.random.default_rng(0)
    content = {**old.content, "runs": planned(dict(old.content), num)}
    run_ids = [run["id"] for run in content["runs"]]
    stacked = {name: load_scores(old, ids, name) for name in ("scores", "gaps", "mappings")}
    frames, noise = {}, draw.normal(scale=0.01, size=num)
    for name, frame in stacked.items():
        copies = [
            frame[frame["run_id"] == ids[i % len(ids)]].assign(
                run_id=run_ids[i],
                value=lambda f, i=i: f["value"] + noise[i],  # type: ignore[misc]
            )
            for i in range(num)
        ]
        frames[name] = pd.concat(copies, ignore_index=True)
    source_replicates = [load_replicates(old, run_id) for run_id in ids]
    replicates = {
        name: {
            key: values if key == "draws" else values + noise[i] + draw.normal(scale=0.005, size=values.shape)
            for key, values in source_replicates[i % len(ids)].items()
        }
        for i, name in enumerate(run_ids)
    }
    costs = [json.loads((old.store.run_dir(ids[i % len(ids)]) / "cost.json").read_text()) for i in range(num)]
    frames["costs"] = pd.DataFrame([{"run_id": n, **c} for n, c in zip(run_ids, costs, strict=True)])
    frames["history"] = pd.DataFrame({"run_id": run_ids, "seconds": draw.uniform(10, 100, num)})
    start = cpu()
    across(Manifest(old.store, content), frames, replicates)
    return cpu() - start


def scanned(manifest: Manifest, root: Path, num: int) -> tuple[float, float]:
    """Return the wall and CPU seconds of finding out what `num` runs lack, in a new store under `root`.

    Their records are those of the store's own, which a scan reads; predictions and features, which it does not, have no bytes.
    """
    store, content = Store.open(root / "scanned"), {**manifest.content, "runs": planned(dict(manifest.content), num)}
    source_folder = manifest.store.run_dir(manifest.runs[0]["id"])
    for run in content["runs"]:
        folder = store.run_dir(run["id"])
        for name in ("predictions", "features"):
            (folder / name).mkdir(parents=True)
        for name in RECORDS:
            shutil.copy(source_folder / name, folder)
        for cohort in manifest.cohorts:
            (folder / "predictions" / f"{cohort['name']}.parquet").touch()
            (folder / "features" / f"{cohort['name']}.npz").touch()
        mark_done(folder)
    grown_manifest = Manifest(store, content)
    start, cpu_start = time.perf_counter(), cpu()
    assert len(store.run_ids()) == num
    assert not any(unfinished(grown_manifest, run) for run in grown_manifest.runs)
    return time.perf_counter() - start, cpu() - cpu_start


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    for name, default in (("runs", 10), ("images", 25_000), ("width", 1024), ("threads", 2), ("again", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--across", type=int, nargs="*", default=[])
    parser.add_argument("--scan", type=int, default=0)
    options = parser.parse_args()
    for num in options.across:
        print(f"tables over {num} runs: {over_runs(options.store, num):.1f} CPU s", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if options.scan:
            wall, cpu_seconds = scanned(read_manifest(Store(options.store), None), Path(folder), options.scan)
            print(f"scan of {options.scan} runs: {wall:.2f} s wall, {cpu_seconds:.2f} s CPU", flush=True)
        if options.runs:
            manifest = grown(options.store, Path(folder) / "runs", options.runs, options.images, options.width)
            print(f"{options.runs} runs x {len(manifest.cohorts)} cohorts x {options.images} images:", flush=True)
            hashes: list[str] = []
            for repetition in range(1 + options.again):
                cost, content_hash = rebuilt(manifest, options.threads, everything=not repetition)
                hashes.append(content_hash)
                description = "rebuilt, source probes kept" if repetition else "from nothing"
                print(
                    f"  {description}: " + ", ".join(f"{name} {value:.1f}" for name, value in cost.items()), flush=True
                )
            if options.again:
                print("  the same bytes:", len(set(hashes)) == 1)


if __name__ == "__main__":
    main()
