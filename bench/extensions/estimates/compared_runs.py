"""Estimates of the estimators that compare several runs on the same images, from stored logits.

Shapes: N images, K findings.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.estimates import estimate_rows
from bench.extensions.estimates.quantities import QUANTITIES, InternalFinding
from bench.planning.manifest import Manifest
from bench.results.grid_recipes import configuration
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.score_run import without
from bench.store.checked_folders import CheckedFolder
from bench.store.store import canonical_json

InternalFindings = Mapping[str, Sequence[InternalFinding | None]]  # run id -> what is known of each finding
Logits = Mapping[str, NDArray[np.float32]]  # run id -> logits [N, K], of the same images in the same order

MOST_COMPARED = 20  # with more runs, runs are not compared: reading all their logits would take too long


def internal_findings_of(
    manifest: Manifest, run_ids: Sequence[str], findings: Sequence[str]
) -> dict[str, list[InternalFinding | None]]:
    """Return what an estimator knows of each run and finding; None where a class has too few validation patients.

    Runs with other findings, and runs without a prediction of the validation split, are left out.
    """
    # estimates are of images, also where scores are of studies
    internal = replace(manifest, planned_cohorts=manifest.planned_cohorts[:1], unit="")
    labels: dict[tuple[str, str, str], CohortLabels] = {}
    internal_of_runs = {}
    for run_id in run_ids:
        run = manifest.run_of[run_id]
        if run.config.findings != tuple(findings):
            continue
        splits = load_scored_splits(internal, run, run.config, labels)
        excluded = {*CheckedFolder(manifest.store.run_dir(run_id)).facts()["trained"].get("unlearnt", [])}
        excluded |= set(manifest.uncounted(findings))
        val = next((without(split, sorted(excluded), findings) for split in splits if split.split == "val"), None)
        if val is None:
            continue
        points = OperatingPoints.choose(val, len(findings), manifest.settings.min_count)
        internal_of_runs[run_id] = estimate_rows.internal_findings(val, points, manifest.settings)
    return internal_of_runs


def compared_at_hospitals(
    manifest: Manifest, findings: Sequence[str], internal_of_runs: InternalFindings
) -> pd.DataFrame:
    """Return rows of the table `estimates` for every external hospital; none with more than MOST_COMPARED runs."""
    rows: list[estimate_rows.Row] = []
    for cohort in manifest.cohorts[1:] if len(internal_of_runs) <= MOST_COMPARED else ():
        name = cohort.name
        tables = [
            CheckedFolder(manifest.store.run_dir(run_id)).table(f"predictions/{name}.parquet")
            for run_id in internal_of_runs
        ]
        if all(table["image_id"].equals(tables[0]["image_id"]) for table in tables):
            logits = [table[list(findings)].to_numpy(np.float32) for table in tables]
            rows += compared(
                manifest, findings, internal_of_runs, name, dict(zip(internal_of_runs, logits, strict=True))
            )
    return estimate_rows.frame_of(rows)


def compared(
    manifest: Manifest, findings: Sequence[str], internal_of_runs: InternalFindings, dataset: str, logits: Logits
) -> list[estimate_rows.Row]:
    """Return rows of the table `estimates` for one hospital, from the logits of all runs on its images."""
    entries = [entry for entry in manifest.estimators if entry.facts["given"] == "runs"]
    rows: list[estimate_rows.Row] = []
    for k, finding in enumerate(findings):
        of_runs = {run_id: internal for run_id, known in internal_of_runs.items() if (internal := known[k]) is not None}
        first = next(iter(of_runs.values()), None)
        comparable = {
            i: internal for i, internal in of_runs.items() if first and np.array_equal(internal.label, first.label)
        }
        if len(comparable) < 2:
            continue
        recipes = [canonical_json({**configuration(manifest.run_of[i]), "seed": 0}).decode() for i in comparable]
        logit_RN = np.stack([logits[run_id][:, k].astype(np.float64) for run_id in comparable])
        for entry in entries:
            given = list(comparable.values()), recipes, logit_RN
            values = estimate_rows.quantities_of(entry, (len(comparable),), *given)
            for r, run_id in enumerate(comparable):
                numbers = (float(values[q][r]) if q in values else np.nan for q in QUANTITIES)
                rows.append((run_id, dataset, finding, entry.name, *numbers))
    return rows
