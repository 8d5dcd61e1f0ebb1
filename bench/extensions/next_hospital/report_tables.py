"""The tables `next_hospital` and `next_hospital_pairs` of a report."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from bench.extensions.next_hospital.panels import ON_LOGIT, VALUES, Measured, from_scale, shared_by_seeds, with_variance
from bench.extensions.next_hospital.random_effects import LEAST_HOSPITALS, Panels, Posterior, bayes, inconsistency
from bench.extensions.next_hospital.rankings import ranks
from bench.planning.manifest import Manifest
from bench.results.cross_run_tables import ScoredRuns
from bench.results.read_predictions import load_scores
from bench.scoring.across_runs.covariances import Covariances
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.gaps.gap import MACRO
from bench.scoring.intervals import NORMAL_QUANTILE
from harmonize.cohorts.specs import GOLD
from reports.schemas.select import select
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

AUROC, GAP = "auroc", "gap"
OF_SCORES, NET_BENEFIT, LOG_OE = ("auprc", "sensitivity", "specificity"), "net_benefit", "log_observed_expected"
# metric -> column of the table `calibration`
CALIBRATION = {"calibration_slope": "slope", "calibration_intercept": "intercept", LOG_OE: "observed_expected"}
# scales of the half-normal prior of tau: on the logit scale (chosen by benchmarks/next_hospital.csv), and for shares and
# their differences: an AUROC near .73 changes by a fifth of its logit. The share of images with a finding differs more
# between hospitals than an AUROC does, and so do the numbers of calibration in the large.
LOGIT_SCALE, SHARE_SCALE = 0.5, 0.1
SCALES = {"calibration_slope": 0.5, "calibration_intercept": 1.0, LOG_OE: 1.0} | dict.fromkeys(ON_LOGIT, LOGIT_SCALE)
LEAST_LEFT_OUT = LEAST_HOSPITALS + 1  # hospitals of a panel from which one can be left out
# recipes with pairs, and with predictions of findings by other metrics than AUROC and gap: those with the highest expected values
MOST_COMPARED = 20
THRESHOLDS = np.arange(1, 100) / 100  # AUROCs of the table `next_hospital_below`
BEYOND = 50.0  # stands for the logit of an internal AUROC of 1
OUTSIDE = 0.025  # probability on each side of a prediction interval


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the tables of SCHEMAS, and rows of the table `ranks`; they are empty without external hospitals."""
    hospitals, recipes = hospitals_once(runs.manifest), runs.recipes
    rows = _rows_of_auroc(runs)
    internal = rows[(rows["dataset"] == runs.manifest.source) & (rows["split"] == "test")]
    areas = predicted(recipes, rows, internal, hospitals)
    macros = areas[areas["finding"] == MACRO]
    best_first = macros.sort_values(["value", "run_id"], ascending=[False, True])["run_id"].astype(str)
    first = best_first.head(MOST_COMPARED).tolist()
    parts = [areas, predicted(recipes, panel_rows(runs.frames["gaps"], GAP), internal, hospitals)]
    detailed = [run for recipe in first for run in recipes.runs_of[recipe]]
    for metric, of_metric in (_further_rows(runs, detailed) | _calibration_rows(runs, detailed)).items():
        parts.append(predicted(recipes, panel_rows(of_metric, metric), internal, hospitals))
    of_macro = _of_recipes(recipes, rows[rows["finding"] == MACRO])
    values = of_macro.pivot_table("value", "run_id", "dataset").reindex(index=first, columns=hospitals)
    measured = Measured.of(of_macro, hospitals)
    return {
        "next_hospital": pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True),
        "next_hospital_below": below(recipes, rows[rows["finding"] == MACRO], internal, hospitals),
        "next_hospital_pairs": pairs(values, runs.covariances),
        "ranks": ranks(macros, pd.DataFrame(measured.value, measured.keys["run_id"], hospitals), runs.covariances),
    }


def _rows_of_auroc(runs: ScoredRuns) -> pd.DataFrame:
    """Return the AUROCs of all findings and of their mean, also of the internal hospital, with the column split."""
    rows = select(runs.frames["scores"], AUROC, finding=None)
    rows = rows[rows["finding"].isin([MACRO, *runs.findings])]
    return panel_rows(rows, AUROC).assign(split=rows["split"])


def _further_rows(runs: ScoredRuns, detailed: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return {metric: rows of runs} of AUPRC, of sensitivity and specificity at the thresholds of the grid, and of net benefit.

    detailed: runs with rows of each finding; other runs have the macros only.
    """
    rows = of_scores(runs.frames["scores"], runs.manifest.settings.threshold)
    rows = rows[rows["finding"] == MACRO]
    if detailed:
        of_findings = of_scores(load_scores(runs.manifest, detailed, "scores"), runs.manifest.settings.threshold)
        rows = pd.concat([rows, of_findings[of_findings["finding"].isin(list(runs.findings))]])
    of_metrics = {metric: rows[rows["metric"] == metric] for metric in OF_SCORES}
    if NET_BENEFIT in runs.frames:  # the table of another extension
        benefit = runs.frames[NET_BENEFIT]
        shown = (benefit["finding"] == MACRO) | benefit["run_id"].isin(detailed)
        of_metrics[NET_BENEFIT] = benefit[shown & (benefit["metric"] == NET_BENEFIT)]
    return of_metrics


def of_scores(scores: pd.DataFrame, threshold: str) -> pd.DataFrame:
    """Return the rows of OF_SCORES in the table `scores`; threshold: name of the operating point."""
    points = scores["operating_point"].isin(["", threshold])
    rows = select(scores[points & scores["metric"].isin(OF_SCORES)], OF_SCORES, finding=None)
    return rows[["run_id", "dataset", "finding", "metric", "value", "low", "high"]].astype({"metric": str})


def _calibration_rows(runs: ScoredRuns, run_ids: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return {metric: rows of some runs}: slope, intercept and log O:E after Platt scaling; {} without the table."""
    if "calibration" not in SCHEMAS or not run_ids:  # the table of another extension
        return {}
    table = load_scores(runs.manifest, run_ids, "calibration")
    table = table[table["calibrator"] == "platt"]
    of_metrics = {}
    for metric, column in CALIBRATION.items():
        value, error = table[[column, f"{column}_error"]].to_numpy(np.float64).T
        with np.errstate(divide="ignore"):
            value = np.log(value) if metric == LOG_OE else value
        half = NORMAL_QUANTILE * error  # not the width of the interval, which has Student's t
        of_metrics[metric] = table[["run_id", "dataset", "finding"]].assign(
            value=value, low=value - half, high=value + half
        )
    return of_metrics


def hospitals_once(manifest: Manifest) -> list[str]:
    """Return the names of the external hospitals, each hospital once.

    A gold subset is a part of its cohort, and two cohorts that share images or patients are one hospital: only the first counts.
    A gold subset of the internal hospital does not count, nor does a hospital of children, unless all hospitals are.
    """
    cohorts = manifest.unseen
    names = [cohort.name for cohort in cohorts if not cohort.of_children] or [cohort.name for cohort in cohorts]
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
    """Return the rows of the table `next_hospital` for one metric, in the order of the recipes.

    rows: rows of runs with the columns VALUES. internal: rows of the internal AUROC, in the same form.
    """
    rows = rows[rows["dataset"].isin(hospitals)]
    if not len(rows):
        return pd.DataFrame(columns=list(SCHEMAS["next_hospital"]))
    measured, panels, internal_P = _panels(recipes, rows, internal, hospitals)
    out = _rows(measured, panels, str(rows["metric"].iloc[0]), internal_P).assign(hospitals=" ".join(hospitals))
    return out[list(SCHEMAS["next_hospital"])]


def below(recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame, hospitals: Sequence[str]) -> pd.DataFrame:
    """Return the table `next_hospital_below`; rows: macro AUROCs of runs, see `predicted`."""
    rows = rows[rows["dataset"].isin(hospitals)]
    columns = list(SCHEMAS["next_hospital_below"])
    if not len(rows):
        return pd.DataFrame(columns=columns)
    measured, panels, _ = _panels(recipes, rows, internal, hospitals)
    run_ids, posterior = measured.keys["run_id"][panels.enough], Posterior.of(panels.at(panels.enough), LOGIT_SCALE)
    found = np.stack([posterior.below(np.full(len(run_ids), number)) for number in logit(THRESHOLDS)], 1).round(4)
    keys = [np.repeat(run_ids.to_numpy(object), len(THRESHOLDS)), np.tile(THRESHOLDS, len(run_ids))]
    return pd.DataFrame(dict(zip(columns, (*keys, found.ravel()), strict=True)))


def _panels(
    recipes: Recipes, rows: pd.DataFrame, internal: pd.DataFrame, hospitals: Sequence[str]
) -> tuple[Measured, Panels, Array]:
    """Return the panels of the recipes for one metric, and the internal AUROC of each panel [P], NaN if unknown."""
    metric = str(rows["metric"].iloc[0])
    measured = Measured.of(_of_recipes(recipes, rows), hospitals)
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
    return measured, measured.panels(np.asarray(common, np.float64)), scores["value"].to_numpy(np.float64)


def _of_recipes(recipes: Recipes, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of recipes, with the error of seeds in their intervals, which are 1.96 standard errors wide on each side."""
    of_recipes = recipes.averaged(rows, ("metric", "finding", "dataset"), errors=True)
    kept = recipes.replaced(rows, of_recipes)
    return kept[kept["run_id"].isin(list(recipes.runs_of))]


def scale_of(metric: str) -> float:
    """Return the scale of the prior of tau, the standard deviation between hospitals."""
    return SCALES.get(metric, SHARE_SCALE)


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
    columns |= {"inconsistency": inconsistency(fitted), "num_clamped": fitted.num_clamped.astype(np.float64)}
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


def pairs(values: pd.DataFrame, covariances: Covariances) -> pd.DataFrame:
    """Return the table `next_hospital_pairs`: each pair of recipes once, in the order of the recipes.

    values: macro AUROCs, a row for each recipe, a column for each hospital, NaN if unknown. covariances: those of the recipes,
    which share patients; they give the errors of a difference, and their covariances over hospitals.
    """
    rows: list[tuple[str, str]] = []
    panels: list[tuple[Array, Array, float]] = []
    ids, hospitals, number = values.index.astype(str).tolist(), list(values.columns), values.to_numpy(np.float64)
    between = _covariances(ids, hospitals, covariances)
    for first, second in combinations(range(len(ids)), 2):
        difference, pair = number[first] - number[second], [first, second]
        sign = np.array([1.0, -1.0])
        covariance = np.einsum("a,ahbk,b->hk", sign, between[np.ix_(pair, range(len(hospitals)), pair)], sign)
        variance = np.where(np.isfinite(difference), covariance.diagonal(), np.nan)
        known = np.isfinite(variance)
        if known.sum() >= LEAST_HOSPITALS:
            of_known, num = covariance[np.ix_(known, known)], int(known.sum())
            shared = (of_known.sum() - np.trace(of_known)) / (num * (num - 1))
            rows.append((ids[first], ids[second]))
            panels.append((difference, variance, max(float(shared), 0.0)))
    if not rows:
        return pd.DataFrame(columns=list(SCHEMAS["next_hospital_pairs"]))
    value, variance, common = (np.array(numbers) for numbers in zip(*panels, strict=True))
    of_pairs = Panels.of(value, variance, common)
    fit = bayes(of_pairs, SHARE_SCALE)
    above = 1 - fit.below(np.zeros(len(rows)))
    columns = (fit.mean, fit.low, fit.high, fit.new_low, fit.new_high, above, of_pairs.num_clamped)
    numbers = dict(zip(SCHEMAS["next_hospital_pairs"][3:], columns, strict=True))
    pairs_of = pd.DataFrame(rows, columns=["first", "second"])
    return pairs_of.assign(num_hospitals=of_pairs.num_hospitals, **numbers)[list(SCHEMAS["next_hospital_pairs"])]


def _covariances(ids: Sequence[str], hospitals: Sequence[str], covariances: Covariances) -> Array:
    """Return the covariances [R, H, R, H] of the macro AUROCs of recipes; 0 if unknown."""
    shape = len(ids), len(hospitals)
    weights = {}
    for h, name in enumerate(f"{AUROC}/{hospital}" for hospital in hospitals):
        weight = np.zeros((*shape, len(ids)))
        weight[:, h] = np.diag([covariances.has(run, name) for run in ids])
        weights[name] = weight.reshape(-1, len(ids))
    return covariances.of_combinations(ids, weights).reshape(*shape, *shape)
