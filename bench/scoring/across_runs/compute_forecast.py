"""Predicted external AUROC of a recipe with more compute: the table `compute_forecast`.

A straight line is fitted to the external AUROC of the recipes over log2 of their cost, so the slope of the line is the
gain for twice the cost. The prediction is for a new recipe with twice the cost of the most expensive recipe. Its
interval is the prediction interval of the regression, widened by the variation over patients. All recipes are tested on
the same patients, so the scatter of the recipes around the line does not contain the variation over patients.

The line describes how the recipes of a grid differ. Expensive recipes also differ in their architecture, so the line
does not show how much one network gains from more training.

Shapes: R recipes, B replicates.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.scoring.bootstrap.intervals import LEVEL
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]

FACTOR = 2.0  # the score is predicted at this multiple of the largest cost; the line is not valid for much larger costs
LEAST = 6  # minimum number of recipes, the same as in `reports.sentences.cost`
LEAST_COSTS = 4  # minimum number of different costs


class CostLine(NamedTuple):
    """A line fitted to a score over log2(cost), with a prediction at one cost, and their 95 % intervals."""

    slope: float
    slope_low: float
    slope_high: float
    value: float
    low: float
    high: float


def compute_forecast(
    costs: Mapping[str, Mapping[str, float]], recipes: Sequence[str], value: Array, replicates: Array
) -> pd.DataFrame:
    """Build the table `compute_forecast`: one row for each kind of cost with enough recipes.

    costs: kind of cost -> recipe id -> cost. value [R] and replicates [R, B] are in the order of `recipes`. Each row
    has a check of the method. The column `check` is the score at the largest cost of the grid, predicted from the
    cheaper recipes. The column `reached` is the actual mean score of the recipes with the largest cost.
    """
    rows: list[tuple[object, ...]] = []
    for kind, by_recipe in costs.items():
        cost = np.array([by_recipe.get(recipe, np.nan) for recipe in recipes], np.float64)
        usable = np.flatnonzero(np.isfinite(cost) & (cost > 0) & np.isfinite(value))
        if not _enough(cost[usable]):
            continue
        cost, scores, drawn = cost[usable], value[usable], replicates[usable]
        most = float(cost.max())
        line = fit(cost, scores, drawn, FACTOR * most)
        cheaper = cost < most
        check = (np.nan, np.nan, np.nan)
        if _enough(cost[cheaper]):
            check = fit(cost[cheaper], scores[cheaper], drawn[cheaper], most)[3:]
        reached = float(scores[~cheaper].mean())
        rows.append((kind, FACTOR * most, *line[3:], *line[:3], *check, reached, len(cost)))
    return pd.DataFrame(rows, columns=list(SCHEMAS["compute_forecast"]))


def fit(cost: Array, value: Array, replicates: Array, at: float) -> CostLine:
    """Fit value [R] on log2(cost) [R] by least squares, and predict the value of a new recipe with the cost `at`.

    Let x = log2(cost), x0 = log2(at), s^2 the residual variance with R - 2 degrees of freedom, and Sxx the sum of
    squares (x - mean x)^2. The variance of the slope is s^2 / Sxx, plus the variance of the slope over the replicates
    [R, B]. The variance of the prediction is s^2 (1 + 1/R + (x0 - mean x)^2 / Sxx), plus the variance of the line at x0
    over the replicates. Bounds use quantiles of Student's t. Value and bounds of the prediction are limited to the
    range 0 to 1. All bounds are NaN if fewer than two replicates are finite for all recipes.
    """
    x, x_new, num = np.log2(cost), float(np.log2(at)), len(cost)
    centered = x - x.mean()
    sxx = float(centered @ centered)
    slope = float(centered @ value / sxx)
    residual = value - value.mean() - slope * centered
    variance = float(residual @ residual) / (num - 2)
    distance = x_new - float(x.mean())
    complete = replicates[:, np.isfinite(replicates).all(0)]
    slopes = centered @ complete / sxx
    lines = complete.mean(0) + slopes * distance
    by_patients = [float(a.var(ddof=1)) if len(a) > 1 else np.nan for a in (slopes, lines)]
    t = float(stdtrit(num - 2, (1 + LEVEL) / 2))
    half_slope = t * float(np.sqrt(variance / sxx + by_patients[0]))
    half = t * float(np.sqrt(variance * (1 + 1 / num + distance**2 / sxx) + by_patients[1]))
    predicted = float(value.mean()) + slope * distance
    limited = (float(np.clip(v, 0, 1)) for v in (predicted, predicted - half, predicted + half))
    return CostLine(slope, slope - half_slope, slope + half_slope, *limited)


def _enough(cost: Array) -> bool:
    return len(cost) >= LEAST and len(np.unique(cost)) >= LEAST_COSTS
