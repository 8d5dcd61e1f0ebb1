"""The values of recipes over hospitals, with their errors, on the scale of the model.

AUROC, sensitivity and specificity are on the logit scale (Snell et al. 2018, doi:10.1177/0962280217705678),
gaps as they are. The error of a value is from its 95 % interval, which comes from the influence of patients and from seeds.
Shapes: P panels, H hospitals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.extensions.next_hospital.random_effects import Panels
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.intervals import NORMAL_QUANTILE

Array = NDArray[np.float64]

ON_LOGIT = ("auroc", "sensitivity", "specificity")
PANEL = ("run_id", "metric", "finding")  # columns that identify a panel
VALUES = (*PANEL, "dataset", "value", "low", "high")


def on_scale(metric: str, value: Array) -> Array:
    """Return values of a metric on the scale of the model."""
    with np.errstate(divide="ignore"):  # the bound of an interval may be 0 or 1
        return np.asarray(logit(value)) if metric in ON_LOGIT else value


def from_scale(metric: str, value: Array) -> Array:
    """Return values on the scale of the model as values of the metric."""
    return np.asarray(expit(value)) if metric in ON_LOGIT else value


def with_variance(metric: str, value: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Return values and their variances on the scale of the model, from values with 95 % intervals.

    A value of 0 or 1, such as the AUROC of a perfect separation, has no logit: the middle of its interval takes its place. If a
    bound is 0 or 1, the variance comes from the other bound. Both results are NaN for a value without an interval.
    """
    if metric in ON_LOGIT:
        value = np.where((value <= 0) | (value >= 1), (low + high) / 2, value)
    center, below, above = (on_scale(metric, numbers) for numbers in (value, low, high))
    with np.errstate(invalid="ignore"):  # without any width at 0 or 1, the center is infinite, too
        distances = np.stack([center - below, above - center])
    usable = np.isfinite(distances)
    num = usable.sum(0)
    half = np.divide(np.where(usable, distances, 0.0).sum(0), num, out=np.full(len(value), np.nan), where=num > 0)
    known = np.isfinite(center) & np.isfinite(half) & np.isfinite(low) & np.isfinite(high)
    return np.where(known, center, np.nan), np.where(known, (half / NORMAL_QUANTILE) ** 2, np.nan)


class Measured(NamedTuple):
    """Panels of one metric: one for each recipe and finding. keys: run_id, metric and finding of each panel."""

    keys: pd.DataFrame
    value: Array  # [P, H] on the scale of the model, NaN if unknown
    variance: Array  # [P, H]

    @classmethod
    def of(cls, rows: pd.DataFrame, hospitals: Sequence[str]) -> "Measured":
        """Return the panels of rows of one metric, with the columns VALUES; only rows of these hospitals count."""
        keys = rows[list(PANEL)].drop_duplicates().reset_index(drop=True)
        rows = rows[rows["dataset"].isin(list(hospitals))]
        panel = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(rows[list(PANEL)]))
        place = panel, pd.Index(hospitals).get_indexer(pd.Index(rows["dataset"]))
        value, variance = np.full((2, len(keys), len(hospitals)), np.nan)
        if len(rows):
            numbers = rows[["value", "low", "high"]].to_numpy(np.float64).T
            value[place], variance[place] = with_variance(str(keys["metric"][0]), *numbers)
        return cls(keys, value, variance)

    def panels(self, common: Array) -> Panels:
        """Return the panels of the model; common [P]: variance of the error that the hospitals of a panel share."""
        return Panels.of(self.value, self.variance, common)

    def table(self, run_ids: Sequence[str], findings: Sequence[str]) -> tuple[Array, Array]:
        """Return values and variances [R, H, K] of runs and findings; NaN if unknown."""
        place = [
            pd.Index(names).get_indexer(pd.Index(self.keys[name]))
            for name, names in (("run_id", run_ids), ("finding", findings))
        ]
        known = np.min(place, 0) >= 0
        out = np.full((2, len(run_ids), self.value.shape[1], len(findings)), np.nan)
        out[:, place[0][known], :, place[1][known]] = np.stack([self.value[known], self.variance[known]], 1)
        return out[0], out[1]


def shared_by_seeds(of_runs: Measured, recipes: Recipes) -> pd.DataFrame:
    """Return the covariances [K, K] of the errors of one run that hospitals share, because a weak seed is weak everywhere.

    of_runs: panels of the runs; rows and columns are their findings, also the macro. The covariance is the mean covariance of two
    hospitals over the seeds of a recipe, pooled over the recipes: 0 if there are too few seeds; a variance is never negative.
    Runs that leave out different hospitals are not compared.
    """
    findings = list(dict.fromkeys(of_runs.keys["finding"]))
    total, degrees = np.zeros((2, len(findings), len(findings)))
    for run_ids in recipes.of_one_fold.values() if recipes.has_seeds else ():
        value, _ = of_runs.table(run_ids, findings)
        deviation = value - value.mean(0)  # NaN if a run has no value
        known = np.isfinite(deviation[0]).astype(np.float64)
        deviation = np.nan_to_num(deviation)
        pairs = np.outer(known.sum(0), known.sum(0)) - known.T @ known
        product = deviation.sum(1).T @ deviation.sum(1) - np.einsum("rhk,rhl->kl", deviation, deviation)
        total += product / np.maximum(pairs, 1)
        degrees += (len(run_ids) - 1) * (pairs > 0)
    shared = np.divide(total, degrees, out=np.zeros(total.shape), where=degrees > 0)
    np.fill_diagonal(shared, shared.diagonal().clip(0))
    return pd.DataFrame(shared, findings, findings)
