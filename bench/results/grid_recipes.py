"""The recipes of a grid: runs that differ only in the seed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bench.config.run_names import RunName
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun, PlannedSearch
from bench.results.read_predictions import unfinished
from bench.results.run_table import read_history
from bench.scoring.across_runs.algorithms import ERM, TrainedRecipe
from bench.scoring.across_runs.covariances import Values
from bench.scoring.across_runs.recipes import LEAVE_OUT, Recipes, seed_groups
from bench.store.checked_folders import CheckedFolder
from reports.schemas.tables import SCHEMAS

# fields in which recipes that are compared may differ: how the loss of a batch is computed, and what differs inside a recipe
_NOT_SETTINGS = ("algorithm", "groups", "seed", LEAVE_OUT)


def recipes_of(manifest: Manifest, values: Values) -> Recipes:
    """Return the recipes of the ranked runs in `values`: run id -> values of its scores.

    A recipe of a leave-one-out grid is left out until it has runs for every hospital that the grid leaves out: means over
    different hospitals cannot be compared.
    """
    runs = [run for run in manifest.ranked if run.id in values]
    left_out = {run.id: run.config.leave_out for run in (*manifest.runs, *runs)}
    of_grid = {left_out[run.id] for run in manifest.runs or runs}
    groups = seed_groups({run.id: configuration(run) for run in runs})
    complete = {i for ids in groups if {left_out[i] for i in ids} == of_grid for i in ids}
    return Recipes.of_configs({run.id: configuration(run) for run in runs if run.id in complete}, values)


def configuration(run: PlannedRun) -> dict[str, Any]:
    """Return the configuration and the kind of a run; the runs of one recipe differ only in the seed of this result.

    The result of an imported model also has the model's id, so that each imported model is a recipe of its own. A chosen
    run of a search has the configuration of its trial 0 here.
    """
    kind = run.kind or "run"
    return run.compared_config | {"kind": kind} | ({"model": run.id} if run.is_imported else {})


def trained_by(manifest: Manifest, recipes: Recipes) -> dict[str, TrainedRecipe]:
    """Return how each recipe of trained runs was trained: recipe id -> algorithm, all other settings, folds.

    The name of an algorithm includes its groups only if the grid has the algorithm with several kinds of groups.
    """
    runs = {run.id: run for run in manifest.runs}
    members = {recipe: [runs[r] for r in ids if r in runs] for recipe, ids in recipes.runs_of.items()}
    firsts = {recipe: trained[0] for recipe, trained in members.items() if trained}
    flat = [run.flat_config for run in firsts.values()]
    others = [{key: value for key, value in config.items() if key not in _NOT_SETTINGS} for config in flat]
    settings = RunName.among(others, [run.titles for run in firsts.values()])
    titles = [str(run.titles.get("algorithm", ERM)) for run in firsts.values()]  # ERM is no entry of the registry
    groups = [str(config.get("groups", "")) for config in flat]
    kinds = {title: {g for t, g in zip(titles, groups, strict=True) if t == title} for title in titles}
    names = [t if len(kinds[t]) == 1 or t == ERM else f"{t} by {g}" for t, g in zip(titles, groups, strict=True)]
    return {
        recipe: TrainedRecipe(
            name, setting.recipe, frozenset((run.config.seed, run.config.leave_out) for run in members[recipe])
        )
        for recipe, name, setting in zip(firsts, names, settings, strict=True)
    }


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
    search = manifest.search
    if not search:
        return pd.DataFrame(columns=columns)
    facts = {run.id: _facts(manifest, run) for run in manifest.runs}
    names = _names(manifest, search)
    rows = []
    for first, of_seeds in _by_recipe(manifest, search).items():
        for trial, settings in enumerate(search.settings):
            for run_id in (trials[trial] for trials in of_seeds):
                config = manifest.run_of[run_id].config
                key = (names[first], first, trial, _text(settings), run_id)
                rows.append((*key, config.seed, config.leave_out, *facts[run_id]))
    table = pd.DataFrame([(*row, False) for row in rows], columns=columns)
    of_runs = zip(table["recipe_id"], table["trial"], table["val_auroc"], strict=True)
    chosen = TrialRun.chosen(TrialRun(str(recipe), int(trial), float(value)) for recipe, trial, value in of_runs)
    return table.assign(chosen=table["trial"].eq(table["recipe_id"].map(chosen)))


def with_chosen_runs(manifest: Manifest, table: pd.DataFrame | None = None) -> Manifest:
    """Return the manifest with the runs of the chosen trials only; a manifest without `search` itself.

    `table`: the result of `trials_table` if the caller has it; otherwise the histories of all runs are read here.
    A run keeps its configuration. Its `recipe` is the configuration of trial 0, by which recipes are named and
    compared: the settings that were searched are no difference between recipes.
    """
    search = manifest.search
    if not search:
        return manifest
    table = trials_table(manifest) if table is None else table
    trial_of = dict(table.loc[table["chosen"], ["recipe_id", "trial"]].itertuples(index=False, name=None))
    chosen = {}
    for first, of_seeds in _by_recipe(manifest, search).items():
        for trials in of_seeds:
            run, of_trial_0 = (manifest.run_of[trials[trial]] for trial in (trial_of[first], 0))
            chosen[trials[0]] = replace(run, recipe=of_trial_0.config)
    kept = tuple(chosen[trials[0]] for trials in search.runs)
    ids = {run.id for run in kept}
    analyses = tuple(row for row in manifest.analyses if row.run in ids or not row.per_run)
    return replace(manifest, runs=kept, analyses=analyses, search=None)


def _by_recipe(manifest: Manifest, search: PlannedSearch) -> dict[str, list[tuple[str, ...]]]:
    """Return {id of the first run of trial 0: the run ids by trial, for each seed and hospital that is left out}."""
    by_first = {trials[0]: trials for trials in search.runs}
    groups = seed_groups({run_id: configuration(manifest.run_of[run_id]) for run_id in by_first})
    return {group[0]: [by_first[run_id] for run_id in group] for group in groups}


def _names(manifest: Manifest, search: PlannedSearch) -> dict[str, str]:
    """Return {id of a run of trial 0: name of its recipe}."""
    first = {trials[0] for trials in search.runs}
    runs = [run for run in manifest.runs if run.id in first]
    names = RunName.among([run.flat_config for run in runs], [run.titles for run in runs])
    return {run.id: name.recipe for run, name in zip(runs, names, strict=True)}


def _facts(manifest: Manifest, run: PlannedRun) -> tuple[str, float, float]:
    """Return the state of a run, the validation AUROC of its selected epoch, and its passes; NaN if it is not finished."""
    state = manifest.store.state(run.id)
    if unfinished(manifest, run):
        return "started" if state == "done" else state, np.nan, np.nan
    history = read_history(manifest, run.id)
    trained = CheckedFolder(manifest.store.run_dir(run.id)).facts()["trained"]
    value = history.loc[history["epoch"] == trained.get("best_epoch", len(history)), "val_auroc"]
    return state, float(value.iloc[0]) if len(value) else np.nan, float(trained.get("gradient_evaluations", np.nan))


def _text(settings: Mapping[str, Any]) -> str:
    """Return the drawn settings of a trial as text, "" for trial 0.

    >>> _text({"schedule.lr": 0.0003, "schedule.batch_size": 16})
    'lr 0.0003 · batch size 16'
    """
    return " · ".join(f"{key.rpartition('.')[2].replace('_', ' ')} {value}" for key, value in settings.items())
