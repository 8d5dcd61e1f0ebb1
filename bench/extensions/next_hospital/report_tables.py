"""The tables `next_hospital` and `next_hospital_pairs` of a report."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from bench.extensions.next_hospital.model import LEAST_HOSPITALS, Panels, Posterior, bayes, inconsistency
from bench.extensions.next_hospital.panels import ON_LOGIT, VALUES, Measured, from_scale, shared_by_seeds, with_variance
from bench.planning.manifest import Manifest
from bench.results.cross_run_tables import ScoredRuns
from bench.scoring.across_runs.ranks import Replicates
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.bootstrap.intervals import enough
from bench.scoring.gaps.gap import MACRO
from harmonize.cohorts.specs import GOLD
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

AUROC, GAP = "auroc", "gap"
MACRO_ONLY = ("auprc", "sensitivity", "specificity")  # metrics whose findings have no prediction, to save time
# scales of the half-normal prior of tau: on the logit scale (chosen by benchmarks/next_hospital.csv), and for shares and
# their differences: an AUROC near .73 changes by a fifth of its logit
LOGIT_SCALE, SHARE_SCALE = 0.5, 0.1
LEAST_LEFT_OUT = LEAST_HOSPITALS + 1  # hospitals of a panel from which one can be left out
MOST_COMPARED = 20  # recipes with pairs: those with the highest expected values
BEYOND = 50.0  # stands for the logit of an internal AUROC of 1
OUTSIDE = 0.025  # probability on each side of a prediction interval


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return both tables; they are empty without external hospitals."""
    hospitals = hospitals_once(runs.manifest)
    internal = runs.manifest.source
    scores = runs.frames["scores"]
    of_auroc = select(scores, AUROC, finding=None)
    of_auroc = of_auroc[of_auroc["finding"].isin([MACRO, *runs.findings])]
    points = scores["operating_point"].isin(["", runs.manifest.settings.threshold])
    further = select(scores[points & scores["metric"].isin(MACRO_ONLY)], MACRO_ONLY)
    of_internal = _panel_rows(of_auroc[(of_auroc["dataset"] == internal) & (of_auroc["split"] == "test")], AUROC)
    parts = [
        predicted(runs.recipes, _panel_rows(rows, metric), of_internal, hospitals)
        for metric, rows in (
            (AUROC, of_auroc),
            (GAP, runs.frames["gaps"]),
            *((metric, further[further["metric"] == metric]) for metric in MACRO_ONLY),
        )
    ]
    predictions = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    macros = predictions[(predictions["metric"] == AUROC) & (predictions["finding"] == MACRO)]
    first = macros.sort_values(["value", "run_id"], ascending=[False, True])["run_id"].head(MOST_COMPARED)
    rows = _of_recipes(runs.recipes, _panel_rows(of_auroc[of_auroc["finding"] == MACRO], AUROC), AUROC)
    rows = rows[rows["run_id"].isin(first) & rows["dataset"].isin(hospitals)]
    values = rows.pivot_table("value", "run_id", "dataset").reindex(index=list(first), columns=hospitals)
    return {"next_hospital": predictions, "next_hospital_pairs": pairs(values, runs.of_recipes)}


def hospitals_once(manifest: Manifest) -> list[str]:
    """Return the names of the external hospitals, each hospital once.

    A gold subset is a part of its cohort, and two cohorts that share images or patients are one hospital: only the first counts.
    A gold subset of the internal hospital does not count, nor does a hospital of children, unless all hospitals are.
    """
    cohorts = (*manifest.external, *manifest.left_out)
    names = [cohort.name for cohort in cohorts if not cohort.of_children] or [cohort.name for cohort in cohorts]
    known = {*names, *(cohort.name for cohort in manifest.trained_at(*manifest.runs))}
    names = [name for name in names if name.removesuffix(GOLD) not in known - {name}]
    for overlap in manifest.compared.external if manifest.compared else ():
        first, second = overlap.cohorts
        if overlap.is_shared and first in names and second in names:
            names.remove(second)
    return names


def _panel_rows(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    return rows.assign(metric=metric)[list(VALUES)].astype(dict.fromkeys(VALUES[:4], "str"))


def predicted(recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame, hospitals: Sequence[str]) -> pd.DataFrame:
    """Return the rows of the table `next_hospital` for one metric, in the order of the recipes.

    rows: rows of runs with the columns VALUES. internal: rows of the internal AUROC, in the same form.
    """
    rows = rows[rows["dataset"].isin(hospitals)]
    if not len(rows):
        return pd.DataFrame(columns=list(SCHEMAS["next_hospital"]))
    metric = str(rows["metric"].iloc[0])
    measured = Measured.of(_of_recipes(recipes, rows, metric), hospitals)
    keys = measured.keys
    seeds = shared_by_seeds(Measured.of(rows, hospitals), recipes)
    num_runs = keys["run_id"].map({recipe: len(run_ids) for recipe, run_ids in recipes.runs_of.items()})
    common = keys["finding"].map(seeds).fillna(0.0) / num_runs
    recipe_of = {run: recipe for recipe, run_ids in recipes.runs_of.items() for run in run_ids}
    numbers = internal[["value", "low", "high"]].to_numpy(np.float64).T
    scores = internal.assign(recipe=internal["run_id"].map(recipe_of), variance=with_variance(GAP, *numbers)[1])
    scores = scores.groupby(["recipe", "finding"])[["value", "variance"]].mean()
    scores = scores.reindex(pd.MultiIndex.from_frame(keys[["run_id", "finding"]]))
    if metric == GAP:  # all gaps of a recipe have the error of its internal score; seeds are counted above
        common += scores["variance"].fillna(0.0).to_numpy()
    panels = measured.panels(np.asarray(common, np.float64))
    out = _rows(measured, panels, metric, scores["value"].to_numpy(np.float64)).assign(hospitals=" ".join(hospitals))
    return out[list(SCHEMAS["next_hospital"])]


def _of_recipes(recipes: Recipes, rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of recipes, with the error of seeds in their intervals."""
    of_recipes = recipes.averaged(rows, ("metric", "finding", "dataset"), shares=metric != GAP)
    kept = recipes.replaced(rows, of_recipes)
    return kept[kept["run_id"].isin(list(recipes.runs_of))]


def scale_of(metric: str) -> float:
    """Return the scale of the prior of tau, the standard deviation between hospitals."""
    return LOGIT_SCALE if metric in ON_LOGIT else SHARE_SCALE


def _rows(measured: Measured, panels: Panels, metric: str, internal: Array) -> pd.DataFrame:
    enough, scale = panels.enough, scale_of(metric)
    num = panels.num_hospitals
    out = measured.keys.assign(num_hospitals=num, reason=[_reason(n) for n in num.tolist()])
    fitted = panels.at(enough)
    fit = bayes(fitted, scale)
    columns: dict[str, Array] = {
        name: from_scale(metric, numbers)
        for name, numbers in (
            ("value", fit.mean),
            ("low", fit.low),
            ("high", fit.high),
            ("new_low", fit.new_low),
            ("new_high", fit.new_high),
        )
    }
    columns |= {"sd": fit.tau, "sd_low": fit.tau_low, "sd_high": fit.tau_high}
    columns["inconsistency"] = inconsistency(fitted)
    if metric == AUROC:
        columns["below_half"] = fit.below(np.zeros(len(fitted.value)))
        with np.errstate(divide="ignore"):
            threshold = np.clip(logit(internal[enough]), -BEYOND, BEYOND)
        columns["below_internal"] = fit.below(threshold)
    for name in SCHEMAS["next_hospital"]:
        if name not in (*out, "hospitals"):
            filled = np.full(len(out), np.nan)
            filled[enough] = columns.get(name, np.nan)
            out[name] = filled
    out["num_left_out"], out["num_inside"] = left_out(panels, scale) if metric == AUROC else (0, 0)
    return out


def _reason(num_hospitals: int) -> str:
    """Return why a panel has no prediction, "" if it has one."""
    if num_hospitals >= LEAST_HOSPITALS:
        return ""
    number = {0: "no hospital has", 1: "only one hospital has", 2: "only two hospitals have"}[num_hospitals]
    return f"too few hospitals: {number} a value"


def left_out(panels: Panels, scale: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Leave out each hospital in turn; return how many values were left out [P], and how many were inside [P].

    A value is inside if it lies in the 95 % prediction interval of the other hospitals. The interval allows for the error of
    the value that was left out.
    """
    num, inside = np.zeros((2, len(panels.value)), np.int64)
    tried = np.isfinite(panels.value) & (panels.num_hospitals >= LEAST_LEFT_OUT)[:, None]
    for h in range(panels.value.shape[1]):
        rows = tried[:, h]
        if rows.any():
            others = panels.at(rows)
            value, variance = others.value[:, h].copy(), others.variance[:, h].copy()
            others.value[:, h] = others.variance[:, h] = np.nan
            below = Posterior.of(others, scale).below(value, variance)
            num[rows] += 1
            inside[rows] += (below >= OUTSIDE) & (below <= 1 - OUTSIDE)
    return num, inside


def pairs(values: pd.DataFrame, replicates: Replicates) -> pd.DataFrame:
    """Return the table `next_hospital_pairs`: each pair of recipes once, in the order of the recipes.

    values: macro AUROCs, a row for each recipe, a column for each hospital, NaN if unknown. replicates: those of the recipes. The
    errors of a difference and their covariances over hospitals come from the replicates, which share patients.
    """
    rows: list[tuple[str, str]] = []
    panels: list[tuple[Array, Array, float]] = []
    for first, second in combinations(values.index.astype(str), 2):
        difference = (values.loc[first] - values.loc[second]).to_numpy(np.float64)
        errors, shared = _errors(replicates[first], replicates[second], list(values.columns))
        if (np.isfinite(difference) & np.isfinite(errors)).sum() >= LEAST_HOSPITALS:
            rows.append((first, second))
            panels.append((difference, errors, shared))
    if not rows:
        return pd.DataFrame(columns=list(SCHEMAS["next_hospital_pairs"]))
    value, variance, common = (np.array(numbers) for numbers in zip(*panels, strict=True))
    of_pairs = Panels.of(value, variance, common)
    fit = bayes(of_pairs, SHARE_SCALE)
    columns = (fit.mean, fit.low, fit.high, fit.new_low, fit.new_high, 1 - fit.below(np.zeros(len(rows))))
    numbers = dict(zip(SCHEMAS["next_hospital_pairs"][3:], columns, strict=True))
    pairs_of = pd.DataFrame(rows, columns=["first", "second"])
    return pairs_of.assign(num_hospitals=of_pairs.num_hospitals, **numbers)[list(SCHEMAS["next_hospital_pairs"])]


def _errors(
    first: Mapping[str, NDArray[Any]], second: Mapping[str, NDArray[Any]], hospitals: Sequence[str]
) -> tuple[Array, float]:
    """Return the variances [H] of the differences of two recipes, NaN if unknown, and the variance of their common error."""
    variance = np.full(len(hospitals), np.nan)
    names = [f"{AUROC}/{hospital}" for hospital in hospitals]
    places = [h for h, name in enumerate(names) if name in first and name in second]
    if not places:
        return variance, 0.0
    differences = np.stack([np.asarray(first[names[h]], np.float64) - second[names[h]] for h in places])
    usable = enough(differences)
    differences, places = differences[usable], [h for h, used in zip(places, usable, strict=True) if used]
    covariance = np.atleast_2d(np.cov(differences[:, np.isfinite(differences).all(0)]))
    variance[places], num = covariance.diagonal(), len(places)
    shared = (covariance.sum() - np.trace(covariance)) / max(num * (num - 1), 1)
    return variance, max(float(shared), 0.0)
