"""`bench reproduce`: train a run again from nothing, in a store of its own, and hold the two side by side, row by row."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.config.registry import Registry
from bench.executors.local import Local
from bench.planning.manifest import Manifest, planned, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.restore_grid import grid_of
from bench.planning.run import find_run, read_run
from bench.results.read_predictions import run_facts, unfinished
from bench.results.same_scores import same_bits
from bench.results.score_runs import score_all
from bench.store.store import Store, read_table, write_table
from bench.study.job_progress import Display
from bench.study.run_grid import check_foreign, execute
from harmonize.errors import ConfigError, StoreError

KEYS = ("dataset", "split", "metric", "finding", "calibrator", "operating_point")
ENOUGH = 3  # seeds: the spread of two is known so badly that nothing would lie outside it
VERDICTS = ("same bits", "within the seed spread", "within the interval", "outside", "no number")


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What came of it: the verdict of the whole, one row per score, and what was checked on the way."""

    run_id: str
    verdict: str  # one of VERDICTS but the last
    rows: pd.DataFrame  # KEYS, stored, again, low, high, seeds_apart, verdict
    checked: tuple[str, ...]
    num_seeds: int  # runs that differ in their seed alone, itself included
    path: Path  # of the rows


def reproduce(
    store: Store, asked: str, grid: str | None, data: Path | None, weights: Path | None, registry_file: Path | None,
    into: Path, device: str, workers: int, display: Display,
) -> Reproduction:  # fmt: skip
    """Train a finished run again on the same data and compare every score; an interrupted call goes on.

    Raises StoreError for a run that is derived, not finished or of bundles; ConfigError when data, starting weights or registry
    are not those that the run was made of, or `into` is the store itself.
    """
    run_id = find_run(store, asked)
    stored = read_run(store, run_id)
    manifest, run = planned(store, run_id, grid)
    if origin := manifest.content.get("scored_from"):  # compared as the run was scored at first
        manifest, run = planned(store, run_id, str(origin))
    if manifest.of_bundles or (reason := unfinished(manifest, run)):
        why = "it is of a bundle: its data are elsewhere" if manifest.of_bundles else reason
        raise StoreError(f"run {run_id}: {why}", str(store.run_dir(run_id)), "reproduce it where it was trained")
    if into.resolve() == store.root.resolve():
        raise ConfigError("a run is not reproduced over itself", str(into), "name another folder with --into")
    if data is None and not manifest.content["phantom"]:
        raise ConfigError("the run is of real images", "bench reproduce", "name the data with --data")
    registry = Registry.read(registry_file)
    wanted = grid_of(manifest, [run])
    check_foreign(wanted, registry)
    command = f"bench reproduce {run_id}"
    plan = make_plan(wanted, registry, Store.open(into), data, weights, workers, command, display.progress)
    plan = replace(plan, bins=int(manifest.content["bins"]), metrics=manifest.settings.custom_metrics)
    _check_same(stored.document, plan, manifest)
    result = execute(plan, plan.runs, [], Local(device, workers), workers, display)
    if result.failed:
        raise StoreError(
            f"the run failed this time: {next(iter(result.failed.values()))}", str(into), "its log says more"
        )
    score_all(manifest, display.progress)
    again = read_manifest(plan.store, wanted.name)
    seeds = _seeds(manifest, run)
    rows = compared(_scores(manifest, run_id), _scores(again, run_id), [_scores(manifest, other) for other in seeds])
    path = into / f"reproduction-{run_id}.parquet"
    write_table(path, rows)
    return Reproduction(
        run_id, _whole(rows, len(seeds) >= ENOUGH), rows, _checked(manifest, again, run_id), len(seeds), path
    )


def _check_same(document: bytes, plan: Plan, manifest: Manifest) -> None:
    """Raise ConfigError when the plan is of another run, or of other external images, saying what differs."""
    before, now = json.loads(document), json.loads(plan.runs[0].document)
    if before != now:
        parts = [key for key in before if before[key] != now.get(key)]
        said = {
            "home": f"the training cohort is another table ({now['home']}, was {before['home']})",
            "weights": f"the starting weights are {now['weights']}, were {before['weights']}",
            "entries": "registry entries have changed: "
            + ", ".join(k for k, v in before["entries"].items() if now["entries"].get(k) != v),
        }
        what = "; ".join(said.get(part, f"{part} differs") for part in parts)
        fix = "give the same --data, --weights and --registry as then, and the version that trained it"
        raise ConfigError(f"this would be another run: {what}", "bench reproduce", fix)
    for cohort, ref in zip(manifest.cohorts, plan.refs, strict=True):
        if cohort["id"] != ref.id:
            fix = "give the data as they were; `bench check --data` compares them with the published releases"
            raise ConfigError(
                f"the images or labels of {ref.name} have changed since ({ref.id}, was {cohort['id']})", "--data", fix
            )


def _seeds(manifest: Manifest, run: Mapping[str, Any]) -> list[str]:
    """Return the scored runs of the grid that differ from a run in nothing but the seed, itself first."""
    config = manifest.config(run)
    same = [r["id"] for r in manifest.runs if replace(manifest.config(r), seed=config.seed) == config]
    done = [r for r in same if (manifest.scores / r / "KEY").is_file()]
    return [run["id"], *(r for r in done if r != run["id"])]


def _scores(manifest: Manifest, run_id: str) -> pd.DataFrame:
    frame = read_table(manifest.scores / run_id / "scores.parquet")
    return frame[frame["subgroup"] == "all"].reset_index(drop=True)


def compared(stored: pd.DataFrame, again: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one row per score: stored and again, and how far apart two trainings may be.

    `seeds` holds the scores of every seed, the stored run's among them. seeds_apart: what two trainings that differ in their seed
    alone are apart by at most, 19 times of 20: t(n - 1, .975) s sqrt(2) of n seeds, NaN below ENOUGH. Verdicts, the first that holds:
    same bits; within the seed spread; where there are too few seeds, within the interval over patients; outside; no number, where one
    is NaN.
    """
    keys = list(KEYS)
    rows = stored[[*keys, "value", "low", "high"]].rename(columns={"value": "stored"})
    rows = rows.merge(again[[*keys, "value"]].rename(columns={"value": "again"}), on=keys, how="outer", validate="1:1")
    values = pd.concat([frame.set_index(keys)["value"] for frame in seeds], axis=1)
    num = values.notna().sum(axis=1).to_numpy()
    with np.errstate(invalid="ignore"):
        apart = stats.t.ppf(0.975, np.maximum(num - 1, 1)) * values.std(axis=1, ddof=1).to_numpy() * np.sqrt(2)
    spread = pd.Series(np.where(num >= ENOUGH, apart, np.nan), index=values.index, name="seeds_apart")
    rows = rows.merge(spread.reset_index(), on=keys, how="left")
    one, two, far = (rows[c].to_numpy(np.float64) for c in ("stored", "again", "seeds_apart"))
    inside = (two >= rows["low"].to_numpy(np.float64)) & (two <= rows["high"].to_numpy(np.float64))
    verdict = np.select(
        [same_bits(one, two), np.isnan(one) | np.isnan(two), np.abs(one - two) <= far, np.isnan(far) & inside],
        ["same bits", "no number", "within the seed spread", "within the interval"],
        "outside",
    )
    return rows.assign(verdict=verdict)[[*keys, "stored", "again", "low", "high", "seeds_apart", "verdict"]]


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that decide: macro AUROC on the internal test split and in each hospital, their mean and the gap."""
    plain = (rows["finding"] == "macro") & (rows["calibrator"] == "none") & rows["metric"].isin(["auroc", "auroc_gap"])
    beside = rows["split"].isin(["val", "expert_valid", "expert_test"])
    return rows[plain & ~beside]


def _whole(rows: pd.DataFrame, several: bool) -> str:
    """Return the verdict of a run: same bits when every row has them, else the least of its headline."""
    if (rows["verdict"] == "same bits").all():
        return "same bits"
    found = set(headline(rows)["verdict"])
    if "outside" in found or "no number" in found:
        return "outside"
    return "within the seed spread" if several else "within the interval"


def _checked(manifest: Manifest, again: Manifest, run_id: str) -> tuple[str, ...]:
    """Return what was verified beside the scores, a line each."""
    before, now = (run_facts(m.store, run_id) for m in (manifest, again))
    same = before["seal"].get("weights_after") == now["seal"].get("weights_after")
    size = before["cost"].get("params"), now["cost"].get("params")
    return (
        "data: the tables of all cohorts are the same, images and labels, patients and splits (by their ids)",
        "leakage: no patient is in two splits, no image of an external hospital is one of the internal hospital (looked for again)",
        "from nothing: configuration, registry entries, starting weights and training cohort are the same (by the run's id)",
        f"architecture: {size[1]:,} parameters, {'as stored' if size[0] == size[1] else f'stored {size[0]:,}'}",
        f"test reuse: none, the weights are the same before and after the tests ({'as they are stored' if same else 'not those that are stored'})",
        f"made with: {_made(before['env'])}; again with: {_made(now['env'])}",
    )


def _made(env: Mapping[str, Any]) -> str:
    torch = env.get("versions", {}).get("torch", "?")
    return f"commit {env.get('commit') or 'unknown'}, torch {torch}, {env.get('device', '?')}"
