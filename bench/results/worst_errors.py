"""The most confident errors of a run, from the store, without opening an image. Image ids are never put on a page.

N images, K findings.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.planning.manifest import Manifest, planned
from bench.planning.run import find_run
from bench.results.read_predictions import parts_of, run_facts, unfinished
from bench.scoring.calibrators import Platt
from bench.scoring.scored_split import ScoredSplit
from bench.store.store import Store, read_table
from harmonize.errors import ConfigError, StoreError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT

COLUMNS = ("image_id", "dataset", "split", "finding", "kind", "logit", "threshold", "calibrated", "surprise", "path")
KINDS = {"fp": "called, but absent", "fn": "present, but not called"}


def mistakes(
    store: Store,
    asked: str,
    grid: str | None = None,
    cohort: Sequence[str] = (),
    finding: Sequence[str] = (),
    kind: str = "",
    rule: str = "f1_max",
    most: int = 20,
) -> pd.DataFrame:
    """Return the `most` most confident errors of a finished run at a threshold of internal validation (columns COLUMNS).

    `surprise` is the distance of the calibrated probability from the label, 0 to 1; the rows are sorted by it. Uncertain and
    unmapped labels are skipped; not mentioned counts as absent, as in scoring. `split` is a split of the internal hospital or
    of the dataset. `path` is relative to the folder of the dataset ("" in a store made from bundles).
    Raises StoreError for a run that is missing, unfinished or not scored; ConfigError for an unknown name.
    """
    run_id = find_run(store, asked)
    manifest, run = planned(store, run_id, grid)
    if reason := unfinished(manifest, run):
        raise StoreError(f"run {run_id}: {reason}", str(store.run_dir(run_id)), "finish it with `bench run`")
    path = store.root / "scores" / run_id / "operating_points.parquet"
    if not path.is_file():
        raise StoreError(f"run {run_id} has no scores", str(path), "make them with `bench score`")
    config = manifest.config(run)
    unlearnt = run_facts(store, run_id)["trained"].get("unlearnt", [])
    findings = [name for name in config.findings if name not in unlearnt]
    names = [str(c["name"]) for c in manifest.cohorts]
    for given, known, option in (
        (cohort, names, "--cohort"),
        (finding, findings, "--finding"),
        ([kind] if kind else [], KINDS, "--kind"),
    ):
        for name in given:
            if name not in known:
                raise ConfigError(f"no {option[2:]} {name!r} of this run", option, f"choose from: {', '.join(known)}")
    points = read_table(path)
    points = points[points["rule"] == rule].set_index("finding")[["threshold", "platt_a", "platt_b"]].astype(float)
    frames = [
        found
        for part in parts_of(manifest, run, config, {})
        if not cohort or part.dataset in cohort
        for k, name in enumerate(config.findings)
        if name in (finding or findings)
        for found in _of_finding(part, k, name, points.loc[name].to_numpy(np.float64))
        if kind in ("", found["kind"].iloc[0])
    ]
    table = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS))
    order = ["surprise", "dataset", "finding", "image_id"]
    table = table.sort_values(order, ascending=[False, True, True, True]).head(most).reset_index(drop=True)
    return table.assign(path=_paths(manifest, table))


def _paths(manifest: Manifest, table: pd.DataFrame) -> list[str]:
    """Look up the file of each error."""
    found: dict[tuple[str, str], str] = {}
    for cohort in manifest.cohorts:
        own = manifest.table(cohort) if (table["dataset"] == cohort["name"]).any() else pd.DataFrame()
        if "path" in own:
            found |= {
                (str(cohort["name"]), image): path
                for image, path in zip(own["image_id"].astype(str), own["path"].astype(str), strict=True)
            }
    return [
        found.get(place, "") for place in zip(table["dataset"].astype(str), table["image_id"].astype(str), strict=True)
    ]


def _of_finding(part: ScoredSplit, k: int, finding: str, point: NDArray[np.float64]) -> list[pd.DataFrame]:
    """List the false positives and the false negatives of one finding on one split; point: threshold and Platt's a and b."""
    (threshold, a, b), logit = (float(v) for v in point), part.logit[:, k].astype(np.float64)
    if np.isnan(threshold):
        return []
    calibrated, called = Platt(a, b).apply(logit), logit >= threshold
    state = part.state[:, k]
    wrong = {"fp": np.isin(state, (ABSENT, NOT_MENTIONED)) & called, "fn": (state == PRESENT) & ~called}
    frames = []
    for kind, mask in wrong.items():
        if mask.any():
            surprise = calibrated if kind == "fp" else 1 - calibrated
            columns = (part.image_id[mask], part.dataset, part.split, finding, kind, logit[mask], threshold)
            row = dict(zip(COLUMNS[:-1], (*columns, calibrated[mask], surprise[mask]), strict=True))
            frames.append(pd.DataFrame(row))
    return frames
