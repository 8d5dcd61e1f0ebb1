"""Predict the images of a hospital with several runs of a grid."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.runs.new_images import infer, load
from harmonize.errors import ConfigError, DatasetError
from harmonize.progress import Progress


def hospital_logits(
    manifest: Manifest, runs: Sequence[PlannedRun], images: Sequence[Path], device: str, progress: Progress
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return {run id: image_id, and a column of logits for each finding}, and notes about unusable and doubtful files.

    Findings that a run could not learn have the logit 0. Raises DatasetError if no image can be used, and ConfigError for an
    imported model, whose network is not stored.
    """
    for run in runs:
        if run.is_imported:
            fix = f"give its logits: --logits FOLDER with {run.id}.csv, and a file for each other run"
            raise ConfigError(f"run {run.id} was trained elsewhere: its network is not stored", "bench estimate", fix)
    logits: dict[str, pd.DataFrame] = {}
    skipped, warnings = pd.DataFrame(columns=["image", "reason"]), pd.Series(dtype=str)
    for number, run in enumerate(runs):
        done = number * len(images)

        def shown(what: str, now: int, _all: int, done: int = done) -> None:
            progress(what, done + now, len(runs) * len(images))

        inference = infer(load(manifest.store, run.id, device), images, shown)
        if not inference.num_images:
            raise DatasetError("no image can be used", str(images[0]), str(inference.skipped["reason"].iloc[0]))
        wide = inference.table.pivot_table(index="image", columns="finding", values="logit", sort=False)
        findings = list(manifest.scored_findings(run))
        logits[run.id] = wide.reindex(columns=findings, fill_value=0.0).rename_axis("image_id").reset_index()
        skipped = inference.skipped
        warnings = inference.table.drop_duplicates("image")["warnings"]
    first = skipped.head(1).to_dict("records")
    notes = [f"{len(skipped):,} files are left out, e.g. {row['image']}: {row['reason']}" for row in first]
    doubtful = warnings.str.extract(r"((?:looks|DICOM)[^;]*)", expand=False).dropna()
    notes += [
        f"{len(doubtful):,} of {len(warnings):,} images may be wrong, most often: {text}"
        for text in doubtful.mode()[:1]
    ]
    return logits, notes
