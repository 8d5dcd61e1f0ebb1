"""Build the report tables that compare recipes, such as ranks, paired differences and ablations."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bench.planning.manifest import Manifest
from bench.results.grid_recipes import recipes_of, trained_by
from bench.results.read_predictions import load_estimates
from bench.results.run_table import recipe_rows
from bench.scoring.across_runs.ablation_tables import ablation, frontier, metrics
from bench.scoring.across_runs.agreement import agreement
from bench.scoring.across_runs.algorithms import algorithms
from bench.scoring.across_runs.all_pairs import pairs
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.criteria import SMALLEST_FIRST, external_of_findings, scores_to_rank_by
from bench.scoring.across_runs.frontier import device_hours
from bench.scoring.across_runs.ranks import mean_gaps, rankings
from bench.scoring.across_runs.recipes import Recipes, macro_auroc, seed_variance
from bench.scoring.across_runs.robustness import robustness
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.store.checked_folders import CheckedFolder
from reports import extensions, failed_parts, hooks
from reports.schemas.criterion import further_scores
from reports.schemas.tables import SCHEMAS


class RunComparison(NamedTuple):
    """The result of `across`: tables that compare recipes, and rows of recipes to add to the tables of runs."""

    tables: dict[str, pd.DataFrame]
    of_recipes: dict[str, pd.DataFrame]  # name of a table of runs -> its rows of recipes
    recipes: Recipes


class ScoredRuns(NamedTuple):
    """The compared runs of a grid with their scores: what an extension computes its tables of a report from."""

    manifest: Manifest
    frames: Mapping[str, pd.DataFrame]  # see `across`
    run_ids: Sequence[str]
    findings: Sequence[str]
    recipes: Recipes
    covariances: Covariances  # covariances of the scores of recipes


def across(
    manifest: Manifest, frames: Mapping[str, pd.DataFrame], run_ids: Sequence[str], findings: Sequence[str]
) -> RunComparison:
    """Compute the report tables that compare recipes; a recipe is the mean of the runs that differ only in the seed.

    `frames`: {name: table} of scores, gaps, mappings, costs, history, runs and the criteria of extensions. `run_ids`: the compared
    runs, which must have learned the same findings. `findings`: the findings of the grid.
    """
    internal = manifest.source
    estimates = load_estimates(manifest, run_ids)
    recipes = recipes_of(manifest, estimates.values)
    covariances = recipes.covariances(estimates)
    of_extensions = _of_extensions(ScoredRuns(manifest, frames, run_ids, findings, recipes, covariances))
    macros = macro_auroc(frames["scores"])
    seeds = seed_variance(recipes.of_one_fold, macros, estimates, internal)
    in_means = frames["gaps"]["dataset"].isin([EXTERNAL, *(cohort.name for cohort in manifest.averaged)])
    of_findings = external_of_findings(frames["gaps"][in_means], frames["scores"], estimates.values, recipes)
    # A hundred runs have half a million rows of scores, so only the rows that the tables need are kept.
    scores = frames["scores"]
    needed = ((scores["finding"] == MACRO) | (scores["metric"] == "auroc")) & (scores["subgroup"] == "all")
    shown = scores if needed.all() else scores[needed]
    of_recipes = {
        "scores": recipes.of_scores(shown),
        "gaps": recipes.of_gaps(frames["gaps"]),
        "mappings": recipes.averaged(frames["mappings"], ("dataset", "mapping", "finding"), metric="auroc"),
        "costs": _mean_costs(frames["costs"], recipes),
    }
    criteria = [score.METRIC for score in further_scores()]
    for name in criteria:  # recipes are compared by macros, and by the external mean of each finding
        of_runs = frames[name][(frames[name]["finding"] == MACRO) | (frames[name]["dataset"] == EXTERNAL)]
        of_recipes[name] = recipes.averaged(of_runs, ("dataset", "finding", "metric"))
    rows = {name: recipes.replaced(frames[name], of_recipes[name]) for name in of_recipes}
    of_recipes["runs"] = recipe_rows(recipes.joined, frames["runs"])
    further = {name: rows[name][rows[name]["metric"] == name] for name in criteria}
    plain = macro_auroc(rows["scores"])
    custom = manifest.settings.custom_metrics
    by_id = {run.id: run for run in manifest.ranked}
    firsts = {recipe: by_id[run_ids[0]] for recipe, run_ids in recipes.runs_of.items()}
    configs = {recipe: run.flat_config | dict(run.titles) for recipe, run in firsts.items()}
    values = metrics(plain, rows["gaps"], covariances)
    num_runs = {recipe: len(run_ids) for recipe, run_ids in recipes.runs_of.items()}
    effects, importance, single = ablation(configs, values, num_runs)
    ranks = rankings(
        scores_to_rank_by(rows["scores"], rows["gaps"], further.values(), of_findings, internal, custom),
        covariances,
        SMALLEST_FIRST | {entry.name for entry in custom if entry.facts.get("better") == "lower"},
    )
    out = {
        "recipes": pd.DataFrame(
            [(recipe, run) for recipe, run_ids in recipes.runs_of.items() for run in run_ids],
            columns=list(SCHEMAS["recipes"]),
        ),
        "ranks": ranks,
        "pairs": pairs(plain, rows["gaps"], further, covariances, internal),
        "mean_gaps": mean_gaps(rows["gaps"], covariances),
        "agreement": agreement(plain, covariances, internal),
        "seeds": seeds,
        "ablation": effects,
        "surrogate": importance,
        "factor_shap": single,
        "algorithms": algorithms(trained_by(manifest, recipes), plain, covariances, internal),
        "robustness": robustness(rows["gaps"], covariances),
        **of_extensions,
    }
    if "auroc" in values:
        costs = rows["costs"].set_index("run_id")
        kinds = {"macs": costs["macs"], "params": costs["params"]}
        by_recipe = {kind: {str(k): float(v) for k, v in amount.items()} for kind, amount in kinds.items()}
        by_recipe["device_hours"] = recipes.means(device_hours(*_training(manifest, frames)))
        out["frontier"] = frontier(by_recipe, *values["auroc"])
    return RunComparison(out, of_recipes, recipes)


def _of_extensions(scored: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the tables of extensions that compare runs."""

    def make(module: hooks.ReportTables) -> dict[str, pd.DataFrame]:
        return {name: table[list(SCHEMAS[name])] for name, table in module.tables(scored).items()}

    tables = failed_parts.of_extensions("tables", extensions.modules(hooks.ReportTables), make)
    return {name: table for group in tables for name, table in group.items()}


def _mean_costs(costs: pd.DataFrame, recipes: Recipes) -> pd.DataFrame:
    """Return one row of costs for each recipe with an id of its own (`Recipes.joined`).

    Numbers are means over the recipe's runs; texts are from the first run.
    """
    recipe_of = {run: recipe for recipe, run_ids in recipes.joined.items() for run in run_ids}
    recipe = costs["run_id"].map(recipe_of)
    by_recipe = costs[recipe.notna()].groupby(recipe.dropna().to_numpy(object), sort=False)
    numbers = by_recipe[list(costs.select_dtypes("number"))].mean()
    out: pd.DataFrame = by_recipe.nth(0).assign(**{str(name): numbers[name].to_numpy() for name in numbers})
    out["run_id"] = numbers.index.to_numpy(object)
    return out.reset_index(drop=True)


def _training(manifest: Manifest, frames: Mapping[str, pd.DataFrame]) -> tuple[dict[str, float], dict[str, str]]:
    """Return two mappings from run id: training seconds and device.

    The seconds of a panel are the sum over its networks.
    """
    spent = frames["history"].groupby("run_id")["seconds"].sum(min_count=1)
    seconds = {str(run_id): float(value) for run_id, value in spent.items()}
    runs = frames["runs"]
    devices = dict(zip(runs["run_id"].astype(str), runs["device"].astype(str), strict=True))
    for run in manifest.derived:
        if run.kind == "panel" and all(part in seconds for part in run.of):
            seconds[run.id] = sum(seconds[part] for part in run.of)
    return seconds, devices


def stored_analyses(
    manifest: Manifest, run_ids: Sequence[str], states: Sequence[Mapping[str, Any]]
) -> dict[str, pd.DataFrame]:
    """Return {name of a report table: table}, from the finished analyses of the given runs and of the cohorts.

    If several analyses write the same table, the result has the rows of all of them. `states`: the result of
    `Manifest.analysis_states`.
    """
    frames: dict[str, list[pd.DataFrame]] = {}
    selected = {"", *run_ids}
    for analysis, state in zip(manifest.analyses, states, strict=True):
        if state["state"] != "done" or state["run_id"] not in selected:
            continue
        for path in sorted((manifest.store.root / analysis.folder).glob("*.parquet")):
            if path.stem in SCHEMAS:  # other tables in the folder are read only by the analysis itself
                frames.setdefault(path.stem, []).append(CheckedFolder(path.parent).table(path.name))
    return {name: pd.concat([f for f in parts if len(f)] or parts, ignore_index=True) for name, parts in frames.items()}
