"""Three laboratories that share a board: their stores and bundles, made from the finished grid `tiny` without training.

A: both seeds of the grid. B: the same two seeds with another optimizer and other logits. C: a model trained elsewhere,
which answers for every image. Their bundles have two of the grid's five external hospitals: a board scores each bundle often.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from bench.cli.progress_bars import QuietDisplay
from bench.config.registry import Registry
from bench.extensions.board.decisions import append
from bench.extensions.board.submission import Submission
from bench.extensions.board.submit import SubmissionRequest, submit
from bench.extensions.bundles.export import export
from bench.extensions.imported.evaluation import evaluate
from bench.extensions.imported.request import EvaluationRequest
from bench.planning.manifest import read_manifest
from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, canonical_json, short_hash

RULES: dict[str, Any] = {
    "title": "Board of three laboratories",
    "internal": "chexpert",
    "external": ["mimic", "nih"],
    "findings": "shared-9",
    "min_count": 5,
    "seeds": 2,
    "synthetic": True,
    "url": "https://example.org/board",
}


def quiet(what: str, done: int, total: int) -> None:
    assert done <= total, what


def rules(board: Path, **changed: object) -> Path:
    """Write board.yaml into a folder and return the folder."""
    board.mkdir(parents=True, exist_ok=True)
    (board / "board.yaml").write_text(yaml.safe_dump(RULES | changed))
    return board


def board_of(folder: Path, labs: Path, *names: str) -> Path:
    """Write a board into a folder, on which the submissions of these laboratories (a, b, c) are accepted; return the folder."""
    rules(folder)
    for name in names:
        shutil.copytree(labs / "submissions" / f"lab-{name}", folder / "submissions" / f"lab-{name}")
        accept(folder, f"lab-{name}")
    return folder


def accept(board: Path, name: str) -> None:
    """Append the acceptance of a submission to a board's decisions."""
    stated = Submission.read(board / "submissions" / name)
    append(board, "accepted", name, stated.bundle, "A Maintainer", "every number was computed again")


def at_board_hospitals(store: Path) -> Path:
    """Leave only the hospitals of the board in the grid of a store; return the store."""
    opened, names = Store.open(store), (RULES["internal"], *RULES["external"])
    grid = read_grid(opened, "tiny")
    write_grid(opened, "tiny", {**grid, "cohorts": [cohort for cohort in grid["cohorts"] if cohort["name"] in names]})
    return store


def bundle(store: Path, path: Path, *runs: str) -> Path:
    """Export the runs of a store, by default all trained runs."""
    manifest = read_manifest(Store.open(store), "tiny")
    ids = list(runs) or [run.id for run in manifest.runs]
    export(manifest, ids, path, False, Registry.read(), quiet)
    return path


def with_sgd(store: Path) -> Path:
    """Turn the runs of a store into runs with SGD, whose logits follow the labels a little."""
    entry = Registry.read().sections["optimizers"]["sgd"]

    def change(document: dict[str, Any]) -> None:
        document["config"]["optimizer"] = "sgd"
        document["entries"]["optimizer"] = entry.identity

    return with_other_runs(store, change, {"optimizer": "sgd"}, {"optimizer": entry.title})


def with_other_runs(
    store: Path, change: Callable[[dict[str, Any]], None], config: dict[str, str], titles: dict[str, str]
) -> Path:
    """Give the runs of a store another run.json, so another id, other weights, and logits that follow the labels a little."""
    opened, draw, rows = Store.open(store), np.random.default_rng(5), []
    grid, manifest = read_grid(opened, "tiny"), read_manifest(opened, "tiny")
    for row in grid["runs"]:
        document = opened.read_json(row["id"][:2], row["id"], "run.json")
        change(document)
        new = short_hash(canonical_json(document))
        folder = store / new[:2] / new
        shutil.copytree(opened.run_dir(row["id"]), folder)
        (folder / "run.json").write_bytes(canonical_json(document))
        seal = {key: short_hash(new.encode(), 64) for key in ("weights_before", "weights_after")}
        (folder / "seal.json").write_bytes(canonical_json(seal))
        for cohort in manifest.cohorts:
            path = folder / "predictions" / f"{cohort.name}.parquet"
            table, labels = pq.read_table(path), manifest.table(cohort).set_index("image_id")
            frame = table.to_pandas()
            for finding in frame.columns.drop("image_id"):
                truth = (labels[finding].reindex(frame["image_id"]) == 1).to_numpy(np.float32)
                frame[finding] = (0.8 * truth + draw.normal(-1, 1, len(frame))).astype(np.float32)
            changed = pa.Table.from_pandas(frame, table.schema, preserve_index=False)
            facts = {**table.schema.metadata}
            if b"unseen.weights" in facts:
                facts[b"unseen.weights"] = seal["weights_after"].encode()
            pq.write_table(changed.replace_schema_metadata(facts), path)
        CheckedFolder(folder).mark_done()
        rows.append({**row, "id": new, "config": row["config"] | config, "titles": row["titles"] | titles})
    write_grid(opened, "tiny", {**grid, "runs": rows})
    return store


def with_model(folder: Path, cohorts: list[str]) -> str:
    """Evaluate a model that was trained elsewhere, on the stated cohorts, in the store of a folder. Return its run id."""
    store = Store.open(folder / "runs")
    manifest, draw = read_manifest(store, "tiny"), np.random.default_rng(3)
    findings = list(manifest.shared.findings)
    (folder / "answers").mkdir()
    for cohort in manifest.cohorts:
        table = manifest.table(cohort)
        label_NK = (table[findings].fillna(0).to_numpy() == 1).astype(float)
        value_NK = 1 / (1 + np.exp(-(1.5 * label_NK - 1.5 + draw.normal(size=label_NK.shape))))
        frame = pd.DataFrame(value_NK, columns=findings).assign(image_id=table["image_id"])
        frame.to_csv(folder / "answers" / f"{cohort.name}.csv", index=False)
    model = {
        "name": "Foreign network",
        "model": {"predictions": "answers"},
        "outputs": {"kind": "probability"},
        "trained_on": {"cohorts": cohorts, "others": ["their own hospital"], "licence": "apache-2.0"},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump(model))
    request = EvaluationRequest.read(folder / "model.yaml", "tiny", None, None)
    return evaluate(request, store, None, "cpu", 1, False, QuietDisplay()).run.id


def laboratories(finished: Path, folder: Path) -> Path:
    """Fill a folder with the bundles a.zip, b.zip and c.zip of the three laboratories, with their stores, and with their submissions."""
    for name in "abc":
        shutil.copytree(finished, folder / name, symlinks=True)
    bundle(at_board_hospitals(folder / "a" / "runs"), folder / "a.zip")
    bundle(at_board_hospitals(with_sgd(folder / "b" / "runs")), folder / "b.zip")
    model = with_model(folder / "c", [])
    bundle(at_board_hospitals(folder / "c" / "runs"), folder / "c.zip", model)
    rules(folder)
    for name in "abc":
        request = SubmissionRequest(
            folder / f"{name}.zip", folder, f"lab-{name}", f"Laboratory {name.upper()}", "CC-BY-4.0", {}
        )
        done = submit(request, Registry.read(), quiet)
        assert done.folder is not None, done.lines
    return folder
