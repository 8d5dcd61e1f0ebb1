"""What an estimator knows of stored runs at the internal hospital."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from bench.extensions.estimates import estimate_rows
from bench.extensions.estimates.quantities import InternalFinding
from bench.planning.manifest import Manifest
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring.metrics_of_split import OperatingPoints
from bench.scoring.scored_split import without
from bench.store.checked_folders import CheckedFolder

InternalFindings = Mapping[str, Sequence[InternalFinding | None]]  # run id -> what is known of each finding


def internal_findings_of(
    manifest: Manifest, run_ids: Sequence[str], findings: Sequence[str]
) -> dict[str, list[InternalFinding | None]]:
    """Return what an estimator knows of each run and finding; None where a class has too few validation patients.

    Runs with other findings, and runs without a prediction of the validation split, are left out.
    """
    # estimates are of images, also where scores are of studies
    internal = replace(manifest.by_image, planned_cohorts=manifest.planned_cohorts[:1])
    labels: dict[tuple[str, str, str], CohortLabels] = {}
    internal_of_runs = {}
    for run_id in run_ids:
        run = manifest.run_of[run_id]
        if manifest.scored_findings(run) != tuple(findings):
            continue
        splits = load_scored_splits(internal, run, run.config, labels)
        excluded = {*CheckedFolder(manifest.store.run_dir(run_id)).facts()["trained"].get("unlearnt", [])}
        learned = run.config.findings
        val = next((without(split, sorted(excluded), learned) for split in splits if split.split == "val"), None)
        if val is None:
            continue
        points = OperatingPoints.choose(val, len(learned), manifest.settings.min_count)
        known = estimate_rows.internal_findings(val, points, manifest.settings)
        internal_of_runs[run_id] = [known[learned.index(finding)] for finding in findings]
    return internal_of_runs
