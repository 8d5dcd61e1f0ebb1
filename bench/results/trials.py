"""The trials of a grid with `search`: what was tried, and which trial of each recipe the report shows.

The choice uses the internal validation split only. Runs of trials that are not chosen are not scored, so nobody sees how
they do at external hospitals.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.config.run_names import RunName
from bench.planning.manifest import Manifest
from bench.results.grid_recipes import configuration
from bench.results.read_predictions import unfinished
from bench.results.run_table import read_history
from bench.scoring.across_runs.recipes import seed_groups
from bench.store.checked_folders import CheckedFolder
from reports.schemas.tables import SCHEMAS


class TrialRun(NamedTuple):
    """One run of one trial of a recipe."""

    recipe: str  # id of the first run of the recipe's trial 0
    trial: int
    val_auroc: float  # macro AUROC on the split `val` of the selected epoch; NaN if the run is not finished

    @staticmethod
    def chosen(tried: "Iterable[TrialRun]") -> dict[str, int]:
        """Return {recipe: chosen trial}: the trial with the highest mean validation AUROC over its runs.

        A trial with fewer finished runs than another trial of the recipe is left out. The smallest number wins a tie, and
        trial 0 if no run is finished.

        >>> TrialRun.chosen([TrialRun("a", 0, 0.7), TrialRun("a", 0, 0.7), TrialRun("a", 1, 0.8), TrialRun("a", 1, float("nan"))])
        {'a': 0}
        """
        finished: dict[str, dict[int, list[float]]] = {}
        for recipe, trial, val_auroc in tried:
            finished.setdefault(recipe, {}).setdefault(trial, []).extend([val_auroc] if np.isfinite(val_auroc) else [])
        out = {}
        for recipe, of_trial in finished.items():
            most = max(map(len, of_trial.values()))
            means = {
                trial: float(np.mean(of)) if of else 0.0 for trial, of in sorted(of_trial.items()) if len(of) == most
            }
            out[recipe] = max(means, key=lambda trial: means[trial])  # the first of equal means
        return out


def trials_table(manifest: Manifest) -> pd.DataFrame:
    """Build the table `trials`: one row for each run of each trial; empty for a grid without `search`."""
    columns = list(SCHEMAS["trials"])
    search = manifest.content.get("search")
    if not search:
        return pd.DataFrame(columns=columns)
    runs = {str(run["id"]): run for run in manifest.runs}
    facts = {run_id: _facts(manifest, run) for run_id, run in runs.items()}
    names = _names(manifest, search)
    by_recipe = _by_recipe(runs, search)
    rows = []
    for first, of in by_recipe.items():
        for trial in range(search["trials"]):
            for run_id in (trials[trial] for trials in of):
                config = runs[run_id]["config"]
                key = (names[first], first, trial, _text(search["settings"][trial]), run_id)
                rows.append((*key, int(config["seed"]), str(config.get("leave_out", "")), *facts[run_id]))
    table = pd.DataFrame([(*row, False) for row in rows], columns=columns)
    of_runs = zip(table["recipe_id"], table["trial"], table["val_auroc"], strict=True)
    chosen = TrialRun.chosen(TrialRun(str(recipe), int(trial), float(value)) for recipe, trial, value in of_runs)
    return table.assign(chosen=table["trial"].eq(table["recipe_id"].map(chosen)))


def with_chosen_runs(manifest: Manifest, table: pd.DataFrame | None = None) -> Manifest:
    """Return the manifest with the runs of the chosen trials only; a manifest without `search` itself.

    `table`: the result of `trials_table` if the caller has it; otherwise the histories of all runs are read here.
    A run keeps its configuration. Its key `recipe` has the configuration of trial 0, by which recipes are named and
    compared: the settings that were searched are no difference between recipes.
    """
    search = manifest.content.get("search")
    if not search:
        return manifest
    table = trials_table(manifest) if table is None else table
    trial_of = dict(table.loc[table["chosen"], ["recipe_id", "trial"]].itertuples(index=False, name=None))
    runs = {str(run["id"]): run for run in manifest.runs}
    chosen = {}
    for first, of in _by_recipe(runs, search).items():
        for trials in of:
            chosen[trials[0]] = {**runs[trials[trial_of[first]]], "recipe": runs[trials[0]]["config"]}
    kept = [chosen[trials[0]] for trials in search["runs"]]
    ids = {run["id"] for run in kept}
    content = {key: value for key, value in manifest.content.items() if key != "search"}
    content["analyses"] = [row for row in manifest.analyses if row["run"] in ids or not row["per_run"]]
    return replace(manifest, content={**content, "runs": kept})


def _by_recipe(runs: Mapping[str, Mapping[str, Any]], search: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Return {id of the first run of trial 0: the run ids by trial, for each seed and hospital that is left out}."""
    by_first = {str(trials[0]): [str(run_id) for run_id in trials] for trials in search["runs"]}
    groups = seed_groups({run_id: configuration(runs[run_id]) for run_id in by_first})
    return {group[0]: [by_first[run_id] for run_id in group] for group in groups}


def _names(manifest: Manifest, search: Mapping[str, Any]) -> dict[str, str]:
    """Return {id of a run of trial 0: name of its recipe}."""
    first = {str(trials[0]) for trials in search["runs"]}
    runs = [run for run in manifest.runs if run["id"] in first]
    names = RunName.among([manifest.flat_config(run) for run in runs], [run["titles"] for run in runs])
    return {str(run["id"]): name.recipe for run, name in zip(runs, names, strict=True)}


def _facts(manifest: Manifest, run: Mapping[str, Any]) -> tuple[str, float, float]:
    """Return the state of a run, the validation AUROC of its selected epoch, and its passes; NaN if it is not finished."""
    state = manifest.store.state(run["id"])
    if unfinished(manifest, run):
        return "started" if state == "done" else state, np.nan, np.nan
    history = read_history(manifest, run["id"])
    trained = CheckedFolder(manifest.store.run_dir(run["id"])).facts()["trained"]
    value = history.loc[history["epoch"] == trained.get("best_epoch", len(history)), "val_auroc"]
    return state, float(value.iloc[0]) if len(value) else np.nan, float(trained.get("gradient_evaluations", np.nan))


def _text(settings: Mapping[str, Any]) -> str:
    """Return the drawn settings of a trial as text, "" for trial 0.

    >>> _text({"schedule.lr": 0.0003, "schedule.batch_size": 16})
    'lr 0.0003 · batch size 16'
    """
    return " · ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {value}" for key, value in settings.items())
