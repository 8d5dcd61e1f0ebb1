"""Load a run as its grid scores it, for comparisons outside of the page."""

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring.across_runs.paired_runs import ScoredRun
from bench.store.checked_folders import CheckedFolder


def load_scored_run(
    manifest: Manifest, run: PlannedRun, labels: dict[tuple[str, str, str], CohortLabels] | None = None
) -> ScoredRun:
    """Return a run with its logits and labels. Its `unlearned` findings include findings that the grid does not score.

    `labels`: see `load_scored_splits`. Errors are as of `load_scored_splits`.
    """
    config = run.config
    splits = load_scored_splits(manifest, run, config, {} if labels is None else labels)
    unlearned = CheckedFolder(manifest.store.run_dir(run.id)).facts()["trained"].get("unlearnt", [])
    left_out = dict.fromkeys([*unlearned, *manifest.uncounted(config.findings)])
    return ScoredRun(config.findings, manifest.source, splits, list(left_out))
