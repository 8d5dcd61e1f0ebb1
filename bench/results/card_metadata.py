"""The metadata block of a model card in the format of the Hugging Face hub: license, task, base model, results."""

from typing import Any

import pandas as pd

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.protocol import CohortRole
from bench.results.run_table import run_label
from harmonize.cohorts.pool_names import pool_name
from reports.schemas.select import select


def hub_metadata(manifest: Manifest, run: PlannedRun, scores: pd.DataFrame) -> dict[str, Any]:
    """Return the metadata at the top of a model card.

    They give the macro AUROCs of the internal test split and of each external hospital of the run. Results on phantoms are
    marked as synthetic. `scores`: the table `scores` of the run.
    """
    store, internal = manifest.store, manifest.source
    started = str(store.read_json(run.id[:2], run.id, "run.json").get("weights", ""))
    tags = ["chest-x-ray", "radiology", "multi-label", "research-only", "unseen-cxr"]
    content: dict[str, Any] = {
        "license": "other",
        "license_name": "research-only-see-card",
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": [*tags, *(["synthetic-data"] if manifest.phantom else [])],
    }
    if started.startswith("hub:"):
        content["base_model"] = f"timm/{started.removeprefix('hub:')}"
    plain = select(scores)
    results = []
    titles = manifest.titles_of(run)
    for cohort in (manifest.cohorts[0], *manifest.external_to(run)):
        split = CohortRole.of(cohort).headline_name
        rows = plain[(plain["dataset"] == cohort.name) & (plain["split"] == split)]
        if len(rows) and pd.notna(rows["value"].iloc[0]):
            value = round(float(rows["value"].iloc[0]), 4)
            title = titles[cohort.name]
            name = f"{title}, synthetic" if manifest.phantom else title
            role = "internal" if cohort.name == internal else "never trained on"
            dataset = pool_name(run.config.hospitals) if role == "internal" else cohort.name
            results.append(
                {
                    "task": {"type": "image-classification", "name": f"Findings on radiographs, {role}"},
                    "dataset": {"type": dataset, "name": name, "split": split},
                    "metrics": [{"type": "roc_auc", "name": "macro AUROC", "value": value}],
                }
            )
    if results:
        content["model-index"] = [{"name": f"{run_label(run)}, run {run.id}", "results": results}]
    return content
