"""The recipes of a grid: runs that differ only in the seed."""

from collections.abc import Mapping
from typing import Any

from bench.planning.imported_run import KIND as IMPORTED
from bench.planning.manifest import Manifest
from bench.scoring.across_runs.ranks import Replicates
from bench.scoring.across_runs.recipes import LEAVE_OUT, Recipes, seed_groups


def recipes_of(manifest: Manifest, replicates: Replicates) -> Recipes:
    """Return the recipes of the ranked runs that have replicates.

    A recipe of a leave-one-out grid is left out until it has runs for every hospital that the grid leaves out: means over
    different hospitals cannot be compared.
    """
    runs = [run for run in manifest.ranked if run["id"] in replicates]
    if manifest.left_out:
        hospitals = {str(hospital["name"]) for hospital in manifest.left_out}
        left_out = {run["id"]: str(run["config"].get(LEAVE_OUT, "")) for run in runs}
        groups = seed_groups({run["id"]: configuration(run) for run in runs})
        complete = {i for ids in groups if {left_out[i] for i in ids} in (hospitals, {""}) for i in ids}
        runs = [run for run in runs if run["id"] in complete]
    return Recipes.of_configs({run["id"]: configuration(run) for run in runs}, replicates)


def configuration(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration and the kind of a run; the runs of one recipe differ only in the seed of this result.

    The result of an imported model also has the model's id, so that each imported model is a recipe of its own.
    """
    kind = run.get("kind", "run")
    return dict(run["config"]) | {"kind": kind} | ({"model": run["id"]} if kind == IMPORTED else {})
