"""The files of a public leaderboard on the Hugging Face hub, from a verified bundle.

`eval.yaml` makes a dataset repository a benchmark: its tasks are the hospitals. `.eval_results/*.yaml` in the repository of a
model states the model's results, which the hub then shows on the model's page and on the leaderboard of the benchmark.
Source: https://huggingface.co/docs/hub/eval-results, and eval_results.yaml of github.com/huggingface/hub-docs.
"""

import re
from pathlib import Path

import pandas as pd
import yaml

from bench.extensions.bundles.verify import OpenBundle
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.results.run_table import run_title
from bench.scoring.gaps.gap import EXTERNAL
from bench.store.checked_folders import ScoresFolder
from bench.store.store import write_bytes
from reports.formatting import with_interval
from reports.schemas.select import select

FRAMEWORK = "unseen-cxr"  # identifier of the evaluation framework


def write_hub_results(bundle: OpenBundle, repo: str, folder: Path) -> list[str]:
    """Write `eval.yaml` and, for each run, `RUN/.eval_results/NAME.yaml`; return the names of the files.

    repo: the dataset repository of the benchmark, OWNER/NAME. The scores must have been computed (`verify`).
    """
    manifest = bundle.manifest
    scores = {run_id: select(ScoresFolder(manifest.scores / run_id).table("scores")) for run_id in manifest.run_of}
    has_mean = any(rows.loc[rows["dataset"] == EXTERNAL, "value"].notna().any() for rows in scores.values())
    splits = {EXTERNAL: "test"} if has_mean else {}  # task -> split
    for cohort in manifest.cohorts:
        splits[cohort.name] = CohortRole.of(cohort).headline_name or "test"
    synthetic = " The images are synthetic." if manifest.phantom else ""
    benchmark = {
        "name": manifest.title,
        "description": f"Macro AUROC of chest radiograph networks trained on {manifest.titles[manifest.source]}: at this hospital"
        f"{f', at each other hospital, and as mean over these ({EXTERNAL})' if has_mean else ' and at each other hospital'}.{synthetic}",
        "evaluation_framework": FRAMEWORK,
        "tasks": [{"id": name, "config": "default", "split": split} for name, split in splits.items()],
    }
    files: dict[str, object] = {"eval.yaml": benchmark}
    for run in manifest.run_of.values():
        files[f"{run.id}/.eval_results/{re.sub(r'.*/', '', repo)}.yaml"] = _results(
            bundle, repo, run, splits, scores[run.id]
        )
    for name, content in files.items():
        write_bytes(folder / name, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000).encode())
    return list(files)


def _results(
    bundle: OpenBundle, repo: str, run: PlannedRun, splits: dict[str, str], scores: pd.DataFrame
) -> list[dict[str, object]]:
    """Return the results of a run, one for each task with a score."""
    out: list[dict[str, object]] = []
    for name, split in splits.items():
        rows = scores[(scores["dataset"] == name) & ((scores["split"] == split) | (name == EXTERNAL))]
        if rows.empty or pd.isna(rows["value"].iloc[0]):
            continue
        row = rows.iloc[0]
        interval = with_interval(row["value"], row["low"], row["high"], ".4f")
        notes = f"{run_title(bundle.manifest, run)}, run {run.id}; macro AUROC {interval} (95 %), verified from bundle {bundle.id}"
        out.append(
            {
                "dataset": {"id": repo, "task_id": name},
                "value": round(float(row["value"]), 4),
                "source": {"url": f"https://huggingface.co/datasets/{repo}", "name": "Bundle"},
                "evaluation_framework": FRAMEWORK,
                "notes": notes,
            }
        )
    return out
