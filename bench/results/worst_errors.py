"""List the most confident errors of a run from the store alone, without images.

The list contains image ids, so it is never part of a page.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.manifest import Manifest, planned
from bench.planning.planned_grid import PlannedCohort
from bench.planning.stored_names import find_run
from bench.results.read_predictions import load_scored_splits, unfinished
from bench.scoring.calibrators import Platt
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError

COLUMNS = ("image_id", "dataset", "split", "finding", "kind", "logit", "threshold", "calibrated", "surprise", "path")
KINDS = {"fp": "called, but absent", "fn": "present, but not called"}


def mistakes(
    store: Store,
    run_prefix: str,
    grid: str | None = None,
    cohort: Sequence[str] = (),
    finding: Sequence[str] = (),
    kind: str = "",
    rule: str | None = None,
    most: int = 20,
) -> pd.DataFrame:
    """Return at most `most` rows with the most confident errors of a finished run at a threshold (columns COLUMNS).

    `cohort` and `finding` limit the rows; by default, all are included. `kind`: "fp" for false positives, "fn" for false
    negatives, "" for both. `rule` selects the thresholds, which were chosen on the internal validation split; by default, it is
    that of the grid. The column `surprise` is the distance of the calibrated probability from the label, 0 to 1; rows are
    sorted by this column, largest first. Labels are read as in scoring; those that are not scored are skipped. The column
    `path` is relative to the folder of the dataset ("" in a store made from bundles). Raises StoreError for a run that
    is missing, unfinished or not scored. Raises ConfigError for an unknown cohort, finding or kind.
    """
    run_id = find_run(store, run_prefix)
    manifest, run = planned(store, run_id, grid)
    if reason := unfinished(manifest, run):
        raise StoreError(f"run {run_id}: {reason}", str(store.run_dir(run_id)), "finish it with `bench run`")
    scores = manifest.scores / run_id
    if not ScoresFolder(scores).key():
        raise StoreError(f"run {run_id} has no scores", str(scores), "make them with `bench score`")
    config = run.config
    unlearnt = CheckedFolder(store.run_dir(run_id)).facts()["trained"].get("unlearnt", [])
    findings = [name for name in manifest.scored_findings(run) if name not in unlearnt]
    cohorts = [manifest.cohorts[0], *manifest.external_to(run)]
    names = [c.name for c in cohorts]
    ConfigError.check_choices("cohort", cohort, names)
    ConfigError.check_choices("finding", finding, findings)
    ConfigError.check_choices("kind", [kind] if kind else [], list(KINDS))
    points = ScoresFolder(scores).table("operating_points")
    points = points[points["rule"] == (rule or manifest.settings.threshold)].set_index("finding")
    points = points[["threshold", "platt_a", "platt_b"]].astype(float)
    frames = [
        errors
        for scored_split in load_scored_splits(manifest, run, config, {})
        if not cohort or scored_split.dataset in cohort
        for k, name in enumerate(config.findings)
        if name in (finding or findings)
        for errors in _errors_of_finding(scored_split, k, name, points.loc[name].to_numpy(np.float64))
        if kind in ("", errors["kind"].iloc[0])
    ]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    order = ["surprise", "dataset", "finding", "image_id"]
    table = table.sort_values(order, ascending=[False, True, True, True]).head(most).reset_index(drop=True)
    return table.assign(path=_paths(manifest, cohorts, table))


def _paths(manifest: Manifest, cohorts: Sequence[PlannedCohort], table: pd.DataFrame) -> list[str]:
    """Return the path of each error's image in `cohorts`, "" if unknown."""
    path_of: dict[tuple[str, str], str] = {}
    for cohort in cohorts:
        images = manifest.table(cohort) if (table["dataset"] == cohort.name).any() else pd.DataFrame()
        if "path" in images:
            path_of |= {
                (cohort.name, image): path
                for image, path in zip(images["image_id"].astype(str), images["path"].astype(str), strict=True)
            }
    keys = zip(table["dataset"].astype(str), table["image_id"].astype(str), strict=True)
    return [path_of.get(key, "") for key in keys]


def _errors_of_finding(
    scored_split: ScoredSplit, k: int, finding: str, point: NDArray[np.float64]
) -> list[pd.DataFrame]:
    """Return a table of the false positives and a table of the false negatives of finding k on a split.

    A table without rows is left out. `point`: threshold on the logit, then a and b of Platt scaling.
    """
    threshold, a, b = point.tolist()
    logit = scored_split.logit[:, k].astype(np.float64)
    if np.isnan(threshold):
        return []
    calibrated, called = Platt(a, b).apply(logit), logit >= threshold
    label = scored_split.labels()[:, k]
    wrong = {"fp": (label == 0) & called, "fn": (label == 1) & ~called}
    frames = []
    for kind, mask in wrong.items():
        if mask.any():
            surprise = calibrated if kind == "fp" else 1 - calibrated
            names = (scored_split.dataset, scored_split.split, finding, kind)
            columns = (scored_split.image_id[mask], *names, logit[mask], threshold)
            row = dict(zip(COLUMNS[:-1], (*columns, calibrated[mask], surprise[mask]), strict=True))
            frames.append(pd.DataFrame(row))
    return frames
