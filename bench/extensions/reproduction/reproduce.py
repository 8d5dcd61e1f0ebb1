"""`bench reproduce`: train a run again in a new store, and compare each score with the stored one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from bench.executors.local import Local
from bench.extensions.reproduction.compared_scores import ENOUGH, compared, overall_verdict
from bench.extensions.reproduction.request import ReproductionRequest
from bench.planning.manifest import Manifest, read_manifest
from bench.planning.plan import Plan, make_plan
from bench.planning.planned_grid import PlannedRun
from bench.results.score_runs import score_all
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store, write_table
from bench.study.job_progress import Display
from bench.study.run_grid import execute
from harmonize.errors import ConfigError, StoreError


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result of a reproduction: the verdict, one row per score, and the other checks."""

    run_id: str
    verdict: str  # one of VERDICTS, except "no number"
    rows: pd.DataFrame  # columns: KEYS, stored, again, low, high, seeds_apart, verdict
    checked: tuple[str, ...]  # results of the other checks, one line of text per check
    num_seeds: int  # number of runs that differ only in their seed, including this run
    path: Path  # file with the rows
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
    starting weights or registry differ from the stored run, StoreError when the training fails.
    """
    stored, manifest, run = request.stored, request.manifest, request.run
    run_id = stored.id
    command = f"bench reproduce {run_id}"
    plan = make_plan(
        request.grid, request.registry, Store.open(into), data, weights, workers, command, display.progress
    )
    plan = replace(plan, settings=manifest.settings)
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
    verdict = overall_verdict(rows, several=len(seeds) >= ENOUGH)
    checked = _checked(manifest, again, run_id)
    return Reproduction(run_id, verdict, rows, checked, len(seeds), path, manifest.titles_of(run))


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
            what = f"the images or labels of {ref.name} have changed since the run ({ref.id}, was {cohort.id})"
            raise ConfigError(what, "--data", fix)


def _seeds(manifest: Manifest, run: PlannedRun) -> list[str]:
    """Return the id of `run`, followed by the ids of scored runs of the grid that differ from `run` only in the seed."""
    config = run.config
    same = [r.id for r in manifest.runs if replace(r.config, seed=config.seed) == config]
    done = [r for r in same if (manifest.scores / r / "KEY").is_file()]
    return [run.id, *(r for r in done if r != run.id)]


def _scores(manifest: Manifest, run_id: str) -> pd.DataFrame:
    return ScoresFolder(manifest.scores / run_id).table("scores")


def _checked(manifest: Manifest, again: Manifest, run_id: str) -> tuple[str, ...]:
    """Return the results of all checks except the comparison of scores, one line of text per check."""
    before, now = (CheckedFolder(m.store.run_dir(run_id)).facts() for m in (manifest, again))
    same = before["seal"].get("weights_after") == now["seal"].get("weights_after")
    stored, size = before["cost"].get("params"), now["cost"].get("params")
    if size is None:
        network = "vectors of the owner of an encoder, no network"
    else:
        network = f"{size:,} parameters, {'as stored' if size == stored else f'stored {stored:,}'}"
    return (
        "the same as stored: images, labels, patients, splits, configuration, registry entries and starting weights",
        "leakage: no patient is in two splits, and no image is in both the internal and an external cohort (checked again)",
        f"architecture: {network}",
        f"test reuse: none, the tests did not change the weights ({'equal' if same else 'not equal'} to the stored weights)",
        f"made with: {_made(before['env'])}; again with: {_made(now['env'])}",
    )


def _made(env: Mapping[str, Any]) -> str:
    torch = env.get("versions", {}).get("torch", "?")
    return f"commit {env.get('commit') or 'unknown'}, torch {torch}, {env.get('device', '?')}"
