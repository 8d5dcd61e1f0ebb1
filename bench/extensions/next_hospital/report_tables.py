"""The tables of a report about the next hospital."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.extensions.next_hospital.areas import SCALE, Areas, too_few
from bench.extensions.next_hospital.areas import tables as tables_of
from bench.extensions.next_hospital.panels import VALUES, Measured, from_scale, shared_by_seeds, with_variance
from bench.extensions.next_hospital.random_effects import bayes, inconsistency
from bench.planning.manifest import Manifest
from bench.results.cross_run_tables import ScoredRuns
from bench.results.read_predictions import load_scores
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.gaps.gap import MACRO
from harmonize.cohorts.specs import GOLD
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

AUROC, GAP = "auroc", "gap"
RATES = ("sensitivity", "specificity")
# scale of the half-normal prior of tau for gaps: an AUROC near .73 changes by a fifth of its logit. SCALE is that of the other
# metrics, on the logit scale (chosen by benchmarks/next_hospital.csv)
SHARE_SCALE = 0.1
# recipes with predictions of findings by other metrics than AUROC and gap: those with the highest expected values
MOST_COMPARED = 20
NUMBERS = SCHEMAS["next_hospital"][5:14]  # from value to inconsistency
NOT_LEARNED = "too few findings: one of the mean was not learned"


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the tables of SCHEMAS; they are empty without external hospitals."""
    hospitals, recipes = hospitals_once(runs.manifest), runs.recipes
    rows = _rows_of_auroc(runs)
    internal = rows[(rows["dataset"] == runs.manifest.source) & (rows["split"] == "test")]
    areas = of_areas(recipes, rows, internal, hospitals)
    macros = areas["next_hospital"][areas["next_hospital"]["finding"] == MACRO]
    best_first = macros.sort_values(["value", "run_id"], ascending=[False, True])["run_id"].astype(str)
    first = best_first.head(MOST_COMPARED).tolist()
    parts = [areas["next_hospital"], predicted(recipes, panel_rows(runs.frames["gaps"], GAP), internal, hospitals)]
    detailed = [run for recipe in first for run in recipes.runs_of[recipe]]
    for metric, of_metric in _rates(runs, detailed).items():
        parts.append(predicted(recipes, panel_rows(of_metric, metric), internal, hospitals))
    return areas | {"next_hospital": pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)}


def _rows_of_auroc(runs: ScoredRuns) -> pd.DataFrame:
    """Return the AUROCs of all findings and of their mean, also of the internal hospital, with the column split."""
    rows = select(runs.frames["scores"], AUROC, finding=None)
    rows = rows[rows["finding"].isin([MACRO, *runs.findings])]
    return panel_rows(rows, AUROC).assign(split=rows["split"])


def _rates(runs: ScoredRuns, detailed: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return {metric: rows of runs} of sensitivity and specificity at the thresholds of the grid.

    detailed: runs with rows of each finding; other runs have the macros only.
    """
    rows = of_scores(runs.frames["scores"], runs.manifest.settings.threshold)
    rows = rows[rows["finding"] == MACRO]
    if detailed:
        of_findings = of_scores(load_scores(runs.manifest, detailed, "scores"), runs.manifest.settings.threshold)
        rows = pd.concat([rows, of_findings[of_findings["finding"].isin(list(runs.findings))]])
    return {metric: rows[rows["metric"] == metric] for metric in RATES}


def of_scores(scores: pd.DataFrame, threshold: str) -> pd.DataFrame:
    """Return the rows of RATES in the table `scores`; threshold: name of the operating point."""
    rows = select(scores[scores["operating_point"] == threshold], RATES, finding=None)
    return rows[["run_id", "dataset", "finding", "metric", "value", "low", "high"]].astype({"metric": str})


def hospitals_once(manifest: Manifest) -> list[str]:
    """Return the names of the external hospitals, each hospital once.

    A gold subset is a part of its cohort, and two cohorts that share images or patients are one hospital: only the first counts.
    A gold subset of the internal hospital does not count, nor does a hospital of children, unless all hospitals are.
    """
    names = [cohort.name for cohort in manifest.averaged]
    known = {*names, *(cohort.name for cohort in manifest.trained_at(*manifest.runs))}
    names = [name for name in names if name.removesuffix(GOLD) not in known - {name}]
    for overlap in manifest.compared.external if manifest.compared else ():
        first, second = overlap.cohorts
        if overlap.is_shared and first in names and second in names:
            names.remove(second)
    return names


def panel_rows(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the columns VALUES of rows of one metric."""
    return rows.assign(metric=metric)[list(VALUES)].astype(dict.fromkeys(VALUES[:4], "str"))


def predicted(recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame, hospitals: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the table `next_hospital` for one metric other than AUROC, in the order of the recipes.

    rows: rows of runs with the columns VALUES. internal: rows of the internal AUROC, in the same form.
    """
    rows = rows[rows["dataset"].isin(hospitals)]
    if not len(rows):
        return pd.DataFrame(columns=list(SCHEMAS["next_hospital"]))
    metric = str(rows["metric"].iloc[0])
    measured = Measured.of(_of_recipes(recipes, rows), hospitals)
    keys = measured.keys
    # variance of the error that all hospitals share: of the seeds (here), and for a gap also of the internal score (below)
    of_seeds = shared_by_seeds(Measured.of(rows, hospitals), recipes)
    of_one_run = pd.Series(np.diag(of_seeds), of_seeds.index)  # by finding
    num_runs = keys["run_id"].map({recipe: len(run_ids) for recipe, run_ids in recipes.runs_of.items()})
    common = keys["finding"].map(of_one_run).fillna(0.0) / num_runs  # the value of a recipe is the mean of its runs
    if metric == GAP:  # all gaps of a recipe have the error of its internal score; that of seeds is already in `common`
        numbers = internal[["value", "low", "high"]].to_numpy(np.float64).T
        _, variance = with_variance(GAP, *numbers)
        of_internal = by_recipe(recipes, internal.assign(value=variance))
        common += of_internal.reindex(pd.MultiIndex.from_frame(keys[["run_id", "finding"]])).fillna(0.0).to_numpy()
    panels = measured.panels(np.asarray(common, np.float64))
    num_hospitals = panels.num_hospitals
    out = keys.assign(num_hospitals=num_hospitals, reason=[too_few(num) for num in num_hospitals.tolist()])
    enough = panels.enough
    if not enough.any():
        return _complete(out, hospitals)
    fitted = panels.at(enough)
    fit = bayes(fitted, *prior_of(metric))
    ends = (fit.mean, fit.low, fit.high, fit.new_low, fit.new_high)
    columns = [*(from_scale(metric, end) for end in ends), fit.tau, fit.tau_low, fit.tau_high]
    columns.append(inconsistency(fitted))
    for name, column in zip(NUMBERS, columns, strict=True):
        out.loc[enough, name] = column
    return _complete(out, hospitals)


def of_areas(
    recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame, hospitals: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return the tables `next_hospital` (AUROC only) and `next_hospital_scales`; rows, internal: see `predicted`."""
    out = {name: pd.DataFrame(columns=list(SCHEMAS[name])) for name in SCHEMAS if name.startswith("next_hospital")}
    rows = rows[rows["dataset"].isin(hospitals)]
    if not len(rows):
        return out
    measured = Measured.of(_of_recipes(recipes, rows), hospitals)
    areas = Areas.of(
        measured, shared_by_seeds(Measured.of(rows, hospitals), recipes), recipes, by_recipe(recipes, internal)
    )
    out |= tables_of(areas)
    key = ["run_id", "finding"]
    found = out["next_hospital"].set_index(key).reindex(pd.MultiIndex.from_frame(measured.keys[key])).reset_index()
    counts = np.isfinite(measured.value).sum(1)
    found["num_hospitals"] = found["num_hospitals"].fillna(pd.Series(counts)).astype(np.int64)
    reasons = [
        too_few(num) or (areas.no_macro if finding == MACRO else "") or NOT_LEARNED
        for finding, num in zip(found["finding"], counts.tolist(), strict=True)
    ]
    found["reason"] = found["reason"].fillna(pd.Series(reasons))
    return out | {"next_hospital": _complete(found.assign(metric=AUROC), hospitals)}


def by_recipe(recipes: Recipes, internal: pd.DataFrame) -> "pd.Series[float]":
    """Return the mean value of the runs by recipe and finding."""
    recipe_of = {run: recipe for recipe, run_ids in recipes.runs_of.items() for run in run_ids}
    return internal.groupby([internal["run_id"].map(recipe_of), "finding"])["value"].mean()


def _complete(rows: pd.DataFrame, hospitals: Sequence[str]) -> pd.DataFrame:
    """Return rows with all columns of the table."""
    out = rows.assign(hospitals=" ".join(hospitals)).reindex(columns=list(SCHEMAS["next_hospital"]))
    counts = ["num_left_out", "num_inside"]
    out = out.assign(**{name: out[name].fillna(0).astype(np.int64) for name in counts})
    return out.astype(dict.fromkeys(SCHEMAS["next_hospital"][5:16], np.float64))  # from value to below_internal


def _of_recipes(recipes: Recipes, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of recipes, with the error of seeds in their intervals, which are 1.96 standard errors wide on each side."""
    of_recipes = recipes.averaged(rows, ("metric", "finding", "dataset"), errors=True)
    kept = recipes.replaced(rows, of_recipes)
    return kept[kept["run_id"].isin(list(recipes.runs_of))]


def prior_of(metric: str) -> tuple[float, str]:
    """Return the scale of the prior of tau, and the side on which new hospitals have a heavier tail (see `Posterior.predict`)."""
    return (SHARE_SCALE, "high") if metric == GAP else (SCALE, "low")
