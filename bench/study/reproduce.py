"""`bench reproduce`: train a run again in a new store, and compare each score with the stored one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from bench.executors.local import Local
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.planned_grid import PlannedRun
from bench.results.same_scores import same_bits
from bench.results.score_runs import score_all
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store, write_table
from bench.study.job_progress import Display
from bench.study.reproduction_record import KEYS, write_record
from bench.study.reproduction_request import ReproductionRequest
from bench.study.run_grid import execute
from harmonize.errors import ConfigError, StoreError

ENOUGH = 3  # minimum number of seeds to estimate how much scores vary with the seed; two seeds are too few


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of a reproduction: the verdict, one row per score, and the other checks."""

    run_id: str
    verdict: str  # one of VERDICTS, except "no number"
    rows: pd.DataFrame  # columns: KEYS, stored, again, low, high, seeds_apart, verdict
    checked: tuple[str, ...]  # results of the other checks, one line of text per check
    num_seeds: int  # number of runs that differ only in their seed, including this run
    path: Path  # file with the rows
    record: Path  # file with the headline rows, which can be signed
    hospitals: Mapping[str, str]  # cohort -> title of its hospital


def reproduce(
    request: ReproductionRequest,
    data: Path | None,
    weights: Path | None,
    into: Path,
    device: str,
    workers: int,
    display: Display,
) -> Reproduction:
    """Train a finished run again on the same data and compare every score.

    `into`: folder of the new store. After an interruption, a second call resumes the training. Raises ConfigError when data,
    starting weights or registry are not those of the stored run, StoreError when the training fails.
    """
    stored, manifest, run = request.stored, request.manifest, request.run
    run_id = stored.id
    command = f"bench reproduce {run_id}"
    plan = make_plan(
        request.grid, request.registry, Store.open(into), data, weights, workers, command, display.progress
    )
    settings = manifest.settings
    plan = replace(plan, bins=settings.bins, metrics=settings.custom_metrics, estimators=manifest.estimators)
    _check_same(stored.document, plan, manifest)
    executor = Local(device, workers)
    executor.prepare()
    result = execute(plan, plan.runs, [], executor, workers, display)
    if result.failed:
        raise StoreError(f"the run failed this time: {next(iter(result.failed.values()))}", str(into), "read its log")
    score_all(manifest, display.progress, say=display.say)
    again = read_manifest(plan.store, request.grid.name)
    seeds = _seeds(manifest, run)
    rows = compared(_scores(manifest, run_id), _scores(again, run_id), [_scores(manifest, other) for other in seeds])
    path = into / f"reproduction-{run_id}.parquet"
    write_table(path, rows)
    verdict, checked = _verdict(rows, len(seeds) >= ENOUGH), _checked(manifest, again, run_id)
    record = write_record(into / f"reproduction-{run_id}.json", run_id, verdict, headline(rows), checked)
    return Reproduction(run_id, verdict, rows, checked, len(seeds), path, record, manifest.titles_of(run))


def _check_same(document: bytes, plan: Plan, manifest: Manifest) -> None:
    """Raise ConfigError if the planned run is not the stored run, or if a cohort has another id than in the manifest.

    The error names the differences. `document`: the stored run.json. The id of a cohort changes with its images and labels.
    """
    before, now = json.loads(document), json.loads(plan.runs[0].document)
    if before != now:
        changed = [key for key in before | now if before.get(key) != now.get(key)]
        texts = {
            "internal": f"the training cohort is another table ({now['internal']}, was {before['internal']})",
            "weights": f"the starting weights are {now['weights']}, were {before['weights']}",
            "entries": "registry entries have changed: "
            + ", ".join(k for k, v in before["entries"].items() if now["entries"].get(k) != v),
            "training": f"the training code has changed (version {now['training']}, was {before['training']})",
        }
        what = "; ".join(texts.get(key, f"{key} differs") for key in changed)
        fix = "give the same --data, --weights and --registry, and use the version that trained the run"
        raise ConfigError(f"this would be another run: {what}", "bench reproduce", fix)
    for cohort, ref in zip(manifest.cohorts, plan.refs, strict=True):
        if cohort.id != ref.id:
            fix = "give the unchanged data; `bench check --data` compares them with the published releases"
            raise ConfigError(
                f"the images or labels of {ref.name} have changed since the run ({ref.id}, was {cohort.id})",
                "--data",
                fix,
            )


def _seeds(manifest: Manifest, run: PlannedRun) -> list[str]:
    """Return the id of `run`, followed by the ids of scored runs of the grid that differ from `run` only in the seed."""
    config = run.config
    same = [r.id for r in manifest.runs if replace(r.config, seed=config.seed) == config]
    done = [r for r in same if (manifest.scores / r / "KEY").is_file()]
    return [run.id, *(r for r in done if r != run.id)]


def _scores(manifest: Manifest, run_id: str) -> pd.DataFrame:
    return ScoresFolder(manifest.scores / run_id).table("scores")


def compared(stored: pd.DataFrame, again: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return one row per score: stored value, new value, and the largest difference that seeds explain.

    `seeds` has one table of scores for each seed, also for the seed of the stored run. The column `seeds_apart` is the largest
    difference between two trainings with different seeds in 95 % of cases: t(n - 1, .975) x s x sqrt(2). Here s is the
    standard deviation over n seeds, and t is the quantile of Student's t distribution. With fewer than ENOUGH seeds,
    `seeds_apart` is NaN.

    The verdict is the first in this list that is true: same bits; no number (one value is NaN); within the seed spread;
    within the interval over patients (only with too few seeds); outside.
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
    old, new, bound = (rows[c].to_numpy(np.float64) for c in ("stored", "again", "seeds_apart"))
    inside = (new >= rows["low"].to_numpy(np.float64)) & (new <= rows["high"].to_numpy(np.float64))
    verdict = np.select(
        [same_bits(old, new), np.isnan(old) | np.isnan(new), np.abs(old - new) <= bound, np.isnan(bound) & inside],
        ["same bits", "no number", "within the seed spread", "within the interval"],
        "outside",
    )
    return rows.assign(verdict=verdict)[[*keys, "stored", "again", "low", "high", "seeds_apart", "verdict"]]


def headline(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that decide the verdict.

    These rows are the macro AUROC on the internal test split, the macro AUROC at each external hospital, the mean over the
    external hospitals, and the gaps of the macro AUROC. In a pool, the single training hospitals (splits such as "test:mimic")
    are left out: the internal score is their mean.
    """
    plain = (rows["finding"] == "macro") & (rows["calibrator"] == "none") & rows["metric"].isin(["auroc", "auroc_gap"])
    other = rows["split"].isin(["val", "expert_valid", "expert_test"]) | rows["split"].astype(str).str.contains(":")
    return rows[plain & ~other]


def _verdict(rows: pd.DataFrame, several: bool) -> str:
    """Return the verdict of a run: "same bits" if all rows have this verdict, else the worst verdict of the headline rows.

    A headline row without a number counts as "outside". `several`: whether there are at least ENOUGH seeds.
    """
    if (rows["verdict"] == "same bits").all():
        return "same bits"
    verdicts = set(headline(rows)["verdict"])
    if "outside" in verdicts or "no number" in verdicts:
        return "outside"
    return "within the seed spread" if several else "within the interval"


def _checked(manifest: Manifest, again: Manifest, run_id: str) -> tuple[str, ...]:
    """Return the results of all checks except the comparison of scores, one line of text per check."""
    before, now = (CheckedFolder(m.store.run_dir(run_id)).facts() for m in (manifest, again))
    same = before["seal"].get("weights_after") == now["seal"].get("weights_after")
    size = before["cost"].get("params"), now["cost"].get("params")
    network = "architecture: vectors of the owner of an encoder, no network"
    if size[1] is not None:
        network = (
            f"architecture: {size[1]:,} parameters, {'as stored' if size[0] == size[1] else f'stored {size[0]:,}'}"
        )
    return (
        "data: the tables of all cohorts are the same: images, labels, patients and splits (their hashes are equal)",
        "leakage: no patient is in two splits, and no image is in both the internal and an external cohort (checked again)",
        "start: configuration, registry entries, starting weights and training cohort are the same (the run id, their hash, is equal)",
        network,
        f"test reuse: none, the tests did not change the weights ({'equal' if same else 'not equal'} to the stored weights)",
        f"made with: {_made(before['env'])}; again with: {_made(now['env'])}",
    )


def _made(env: Mapping[str, Any]) -> str:
    torch = env.get("versions", {}).get("torch", "?")
    return f"commit {env.get('commit') or 'unknown'}, torch {torch}, {env.get('device', '?')}"
