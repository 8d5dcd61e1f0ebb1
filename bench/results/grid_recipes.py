"""The recipes of a grid: runs that differ only in the seed."""

from typing import Any

from bench.config.run_names import RunName
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.scoring.across_runs.algorithms import ERM, Fold, TrainedRecipe
from bench.scoring.across_runs.ranks import Replicates
from bench.scoring.across_runs.recipes import LEAVE_OUT, Recipes, seed_groups

# fields in which recipes that are compared may differ: how the loss of a batch is computed, and what differs inside a recipe
_NOT_SETTINGS = ("algorithm", "groups", "seed", LEAVE_OUT)


def recipes_of(manifest: Manifest, replicates: Replicates) -> Recipes:
    """Return the recipes of the ranked runs that have replicates.

    A recipe of a leave-one-out grid is left out until it has runs for every hospital that the grid leaves out: means over
    different hospitals cannot be compared.
    """
    runs = [run for run in manifest.ranked if run.id in replicates]
    if manifest.left_out:
        hospitals = {hospital.name for hospital in manifest.left_out}
        left_out = {run.id: run.config.leave_out for run in runs}
        groups = seed_groups({run.id: configuration(run) for run in runs})
        complete = {i for ids in groups if {left_out[i] for i in ids} == hospitals for i in ids}
        runs = [run for run in runs if run.id in complete]
    return Recipes.of_configs({run.id: configuration(run) for run in runs}, replicates)


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
    firsts = {recipe: of[0] for recipe, of in members.items() if of}
    flat = [run.flat_config for run in firsts.values()]
    others = [{key: value for key, value in config.items() if key not in _NOT_SETTINGS} for config in flat]
    settings = RunName.among(others, [run.titles for run in firsts.values()])
    titles = [_algorithm(run) for run in firsts.values()]
    groups = [str(config.get("groups", "")) for config in flat]
    kinds = {title: {g for t, g in zip(titles, groups, strict=True) if t == title} for title in titles}
    names = [t if len(kinds[t]) == 1 or t == ERM else f"{t} by {g}" for t, g in zip(titles, groups, strict=True)]
    return {
        recipe: TrainedRecipe(name, setting.recipe, frozenset(_fold(run) for run in members[recipe]))
        for recipe, name, setting in zip(firsts, names, settings, strict=True)
    }


def _algorithm(run: PlannedRun) -> str:
    """Return the title of a run's algorithm. A run with ERM names no entry of the registry."""
    return str(run.titles.get("algorithm", ERM))


def _fold(run: PlannedRun) -> Fold:
    return run.config.seed, run.config.leave_out
