"""Comparison of two runs of the store, given by the beginning of their ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

import pandas as pd

from bench.planning.manifest import Manifest, read_manifest
from bench.results.read_predictions import Labels, parts_of, run_facts, unfinished
from bench.results.run_table import titled
from bench.scoring.across_runs.paired_runs import GAP, ScoredRun, differences
from bench.scoring.metrics_of_split import BUILT_IN, Key, MetricNeeds
from bench.scoring.scored_split import Settings
from bench.store.store import Store
from harmonize.errors import ConfigError, StoreError
from harmonize.labels.findings import space


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with the manifest of a grid that planned it."""

    manifest: Manifest
    run: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return "1a2b3c4d5e6f DenseNet-121 seed 0"."""
        return f"{self.run['id']} {titled(self.manifest, self.run)}"


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two runs and the table of their differences (columns: bench.scoring.across_runs.paired_runs.COLUMNS)."""

    first: str
    second: str
    key: Key
    settings: Settings
    table: pd.DataFrame


def contrast(
    store: Store,
    first: str,
    second: str,
    metric: str,
    operating_point: str = "f1_max",
    calibrator: str = "none",
    datasets: Sequence[str] = (),
    grid: str | None = None,
    threads: int = 2,
) -> Contrast:
    """Compare two finished runs on the cohorts both predicted, or on some of them.

    Labels and custom metrics are those of the first run's grid; a grid that holds both runs is preferred. The stricter
    min_count holds. `operating_point` is ignored for a metric without calls.
    Raises StoreError for an id that names no run or several, for a run that is not finished, and when no image is shared;
    ConfigError for a metric that the grid does not score, a calibrator without effect, a cohort that is not shared, and for
    one run twice.
    """
    names = [grid] if grid else sorted(path.stem for path in (store.root / "grids").glob("*.json"))
    manifests = [read_manifest(store, name) for name in names]
    manifests = [
        m for m in manifests if grid or not m.content.get("scored_from")
    ]  # the runs of a rescored grid belong to its origin
    known = [
        [PlannedRun(m, run) for m in manifests for run in (*m.runs, *m.derived) if run["id"].startswith(prefix)]
        for prefix in (first, second)
    ]
    for prefix, matches in zip((first, second), known, strict=True):
        _check_one(store, manifests, prefix, matches)
    one, two = next(
        ((a, b) for a in known[0] for b in known[1] if a.manifest is b.manifest), (known[0][0], known[1][0])
    )
    key = metric_key(metric, operating_point, calibrator, one.manifest.settings)
    if one.run["id"] == two.run["id"]:
        raise ConfigError(
            f"both are run {one.run['id']}", "bench compare", "name two runs: `bench list runs` shows them"
        )
    for each in (one, two):
        if reason := unfinished(each.manifest, each.run):
            raise StoreError(
                f"run {each.name}: {reason}", str(store.run_dir(each.run["id"])), "finish it with `bench run`"
            )
    shared = [c["name"] for c in one.manifest.cohorts if c["name"] in {d["name"] for d in two.manifest.cohorts}]
    if unknown := [name for name in datasets if name not in shared]:
        raise ConfigError(
            f"no cohort {unknown[0]!r} that both runs predicted",
            "--cohort",
            f"choose from: {', '.join(shared) or 'none'}",
        )
    labels: dict[int, dict[tuple[str, str, str], Labels]] = {id(m): {} for m in manifests}
    scored = [_scored(each, labels[id(each.manifest)]) for each in (one, two)]
    of_grids = [each.manifest.settings for each in (one, two)]
    settings = replace(of_grids[0], min_count=max(each.min_count for each in of_grids))
    table = differences(scored[0], scored[1], key, settings, datasets, threads)
    if table.empty:
        raise StoreError(
            "the two runs share no image and finding to be compared on", str(store.root), "run both on one cohort"
        )
    return Contrast(one.name, two.name, key, settings, table)


def metric_key(metric: str, operating_point: str, calibrator: str, settings: Settings) -> Key:
    """Return the key of a metric that two runs can be compared by: a built-in one, one that the grid adds, or the gap.

    Raises ConfigError for any other, and for a calibrator of a metric that is not computed from probabilities.
    """
    needs = {**BUILT_IN, **{entry.name: MetricNeeds() for entry in settings.custom_metrics}, GAP.metric: MetricNeeds()}
    if metric not in needs:
        raise ConfigError(
            f"no metric {metric!r} in this grid",
            "--metric",
            f"choose from: {', '.join(needs)}; `bench score --registry FILE` adds the metrics of a registry",
        )
    if calibrator != "none" and not needs[metric].calibrator:
        raise ConfigError(f"{metric} does not depend on a calibrator", "--calibrator", "leave it out")
    return Key(metric, calibrator, operating_point if needs[metric].operating_point else "")


def _check_one(store: Store, manifests: Sequence[Manifest], prefix: str, matches: Sequence[PlannedRun]) -> None:
    """Raise StoreError unless exactly one run is meant."""
    ids = sorted({each.run["id"] for each in matches})
    if len(ids) == 1:
        return
    every = {run["id"]: PlannedRun(m, run) for m in manifests for run in (*m.runs, *m.derived)}
    if ids:
        what, near = f"{len(ids)} runs begin with {prefix!r}", ids
    else:
        what, near = f"no run {prefix!r} in a grid of the store", get_close_matches(prefix, every, 3, 0.0)
    told = "; ".join(every[run_id].name for run_id in near[:5])
    raise StoreError(
        what,
        str(store.root / "grids"),
        f"{'name one of' if ids else '`bench list runs` shows all; nearest'}: {told or 'there is no run yet'}",
    )


def _scored(planned: PlannedRun, labels: dict[tuple[str, str, str], Labels]) -> ScoredRun:
    manifest, config = planned.manifest, planned.manifest.config(planned.run)
    parts = parts_of(manifest, planned.run, config, labels)
    unlearnt = run_facts(manifest.store, planned.run["id"])["trained"].get("unlearnt", [])
    return ScoredRun(space(config.space), manifest.content["source"], parts, unlearnt)
