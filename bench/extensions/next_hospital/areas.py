"""The AUROC of recipes at a new hospital, from the AUROC of each finding at each hospital.

The macro is the mean over the findings of the means of the report (`reports.schemas.common_findings`). It is the same for each
hospital, also if the hospital does not score all these findings. Errors of two findings at a hospital correlate, because they
have the same patients: the error of the macro there shows how much.
Shapes: R recipes, H hospitals, K findings, T findings and macro.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit

from bench.extensions.next_hospital.panels import Measured
from bench.extensions.next_hospital.random_effects import (
    HIGH,
    LEAST_HOSPITALS,
    LOW,
    Panels,
    Posterior,
    Prediction,
    inconsistency,
)
from bench.scoring.across_runs.recipes import Recipes
from bench.scoring.gaps.gap import MACRO
from reports.schemas.common_findings import common_findings, no_mean

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SCALE = 0.5  # of the half-normal priors, on the logit scale (chosen by benchmarks/next_hospital.csv)
SCALES = (SCALE / 2, SCALE, 2 * SCALE)  # scales in the table `next_hospital_scales`
HEAVY = "low"  # side with the heavier tail, see `Posterior.predict`
LEAST_LEFT_OUT = LEAST_HOSPITALS + 1  # hospitals from which one can be left out
MOST_CHECKED = 20  # recipes of which hospitals are left out: those with the highest expected macros
MOST_CORRELATED = 0.95  # correlation of the errors of two findings
BEYOND = 50.0  # stands for the logit of an AUROC of 1
OUTSIDE = 0.025  # probability on each side of a prediction interval


class Areas(NamedTuple):
    """The AUROCs of recipes on the logit scale: panels of the findings that at least two hospitals score.

    of_macro [K]: the findings of the macro. internal [R, K]: internal AUROCs, not their logits; NaN if unknown.
    """

    run_ids: Sequence[str]
    findings: Sequence[str]
    of_macro: Mask
    panels: Panels
    internal: Array
    num_findings: int  # number of findings of the grid

    @classmethod
    def of(cls, measured: Measured, shared: pd.DataFrame, recipes: Recipes, internal: "pd.Series[float]") -> "Areas":
        """Return the AUROCs of recipes of one grid; measured: those of each finding and of the macro.

        shared: see `shared_by_seeds`. internal: internal AUROCs by recipe and finding.
        """
        run_ids, names = (list(dict.fromkeys(measured.keys[name])) for name in ("run_id", "finding"))
        names = [name for name in names if name != MACRO]
        value, variance = measured.table(run_ids, names)
        of_internal = np.asarray(internal.reindex(pd.MultiIndex.from_product([run_ids, names])), np.float64)
        of_internal = of_internal.reshape(-1, len(names))
        known, everywhere = np.isfinite(value), np.ones(len(names), bool)
        scored, inside = np.asarray(known.any(0)), np.asarray(np.isfinite(of_internal).any(0))
        used = common_findings(scored, everywhere)
        of_macro = used & common_findings(scored, inside if len(internal) else everywhere)
        correlation = _correlations(value[..., of_macro], variance[..., of_macro], *measured.table(run_ids, [MACRO]))
        # A low AUROC has a low variance on the logit scale by chance, and would count too much: each has that of the finding's mean.
        slope = expit(value) * expit(-value)
        mean = np.nansum(slope, 1, keepdims=True) / np.maximum(known.sum(1, keepdims=True), 1)
        error: Array = np.sqrt(variance * slope / mean)[..., used]
        matrix = np.where(np.eye(error.shape[-1], dtype=bool), 1.0, correlation[..., None, None])
        num_runs = np.array([len(recipes.runs_of[run]) for run in run_ids])
        of_seeds = shared.reindex(index=names, columns=names).fillna(0.0).to_numpy()[used][:, used]
        panels = Panels.crossed(
            value[..., used],
            error[..., None] * error[..., None, :] * matrix,
            np.asarray(of_seeds / num_runs[:, None, None], np.float64),
        )
        findings = [name for name, is_used in zip(names, used, strict=True) if is_used]
        return cls(run_ids, findings, of_macro[used], panels, of_internal[:, used], len(names))

    def columns(self, name: str) -> Mask:
        """Return the findings [K] over which a finding, or the macro, is."""
        return self.of_macro if name == MACRO else np.array(self.findings) == name

    @property
    def no_macro(self) -> str:
        """Return why there is no macro; "" if there is one."""
        known = np.asarray(np.isfinite(self.panels.value).any(0))
        return no_mean(known, self.of_macro, self.num_findings) or too_few(int(known[:, self.of_macro].any(1).sum()))

    def predictions(self, scale: float, panels: Panels) -> tuple[Posterior, dict[str, Prediction]]:
        """Return the predictions of the macro and of each finding for panels of these findings."""
        posterior = Posterior.of(panels, scale)
        used = self.of_macro / max(self.of_macro.sum(), 1)
        share = posterior.share.reshape(*posterior.mean.shape[:2], 1)
        center = expit((share * posterior.mean).sum(1))
        # derivative of logit(macro) by the logit of each finding
        slope = center * (1 - center) * used / (center @ used * (1 - center @ used))[:, None]
        unit = np.broadcast_to(np.eye(len(used)), (len(center), len(used), len(used)))
        out = {name: posterior.predict(unit[:, k], heavy=HEAVY) for k, name in enumerate(self.findings)}
        if not self.no_macro:
            out[MACRO] = posterior.predict(slope, logit(expit(posterior.mean) @ used), HEAVY)
        return posterior, out


def too_few(num_hospitals: int) -> str:
    """Return why a number of hospitals gives no prediction, "" if it gives one."""
    if num_hospitals >= LEAST_HOSPITALS:
        return ""
    number = {0: "no hospital has", 1: "only one hospital has", 2: "only two hospitals have"}[num_hospitals]
    return f"too few hospitals: {number} a value"


def tables(areas: Areas) -> dict[str, pd.DataFrame]:
    """Return the rows with numbers of the tables `next_hospital` (without metric and hospitals) and `_scales`."""
    enough = areas.panels.enough
    if not enough.any():
        return {}
    panels = areas.panels.at(enough)
    run_ids = np.array(areas.run_ids, object)[enough]
    internal = areas.internal[enough]
    posterior, predictions = areas.predictions(SCALE, panels)
    left_out = _left_out(areas, panels)
    parts = []
    for name, of_new in predictions.items():
        used = areas.columns(name)
        num_left_out, num_inside = left_out[name]
        columns = dict(zip(("value", "low", "high", "new_low", "new_high"), map(expit, of_new.numbers()), strict=True))
        of_one_finding = name != MACRO and len(used) > 1
        tau = posterior.tau(0.5, LOW, HIGH, axis=1 if of_one_finding else 0)
        columns |= dict(zip(("sd", "sd_low", "sd_high"), tau, strict=True))
        columns |= {"num_left_out": num_left_out, "num_inside": num_inside}
        columns["inconsistency"] = np.full(len(run_ids), np.nan) if of_one_finding else inconsistency(panels)
        columns["below_half"] = of_new.below(np.zeros(len(run_ids)))  # 0 is the logit of 0.5
        with np.errstate(divide="ignore"):
            threshold = np.clip(logit(internal[:, used].mean(1)), -BEYOND, BEYOND)
        columns["below_internal"] = of_new.below(threshold)
        columns["num_hospitals"] = np.isfinite(panels.value[..., used]).any(2).sum(1)
        rows = pd.DataFrame({"run_id": run_ids, "finding": name, "reason": "", **columns})
        parts.append(rows[rows["num_hospitals"] >= LEAST_HOSPITALS])
    out = {"next_hospital": pd.concat(parts, ignore_index=True)}
    if MACRO in predictions:
        scales = []
        for scale in SCALES:
            _, of_scale = areas.predictions(scale, panels)
            _, _, _, low, high = of_scale[MACRO].numbers()
            columns = {"run_id": run_ids, "scale": scale, "new_low": expit(low), "new_high": expit(high)}
            scales.append(pd.DataFrame(columns))
        out["next_hospital_scales"] = pd.concat(scales, ignore_index=True)
    return out


def _left_out(areas: Areas, panels: Panels) -> Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Leave out each hospital in turn; return for each prediction how many values were left out and how many were inside, [P] each.

    A value is inside if it lies in the 95 % prediction interval of the other hospitals. The interval allows for the error of
    the value that was left out.
    """
    num_left_out = {name: np.zeros(len(panels.value), np.int64) for name in (MACRO, *areas.findings)}
    num_inside = {name: np.zeros(len(panels.value), np.int64) for name in num_left_out}
    best = np.argsort(-np.nanmean(panels.value, (1, 2)))[:MOST_CHECKED]
    for h in range(panels.value.shape[1]):
        others = panels.without(h)
        rows = best[others.enough[best]]
        if not len(rows):
            continue
        _, predictions = areas.predictions(SCALE, others.at(rows))
        for name, of_new in predictions.items():
            used = areas.columns(name)
            area = expit(panels.value[rows, h][:, used])
            # derivative of the logit of the mean AUROC by the logit of each finding; 1 for a single finding
            weight = area * (1 - area) / (area.mean(1) * (1 - area.mean(1)))[:, None] / used.sum()
            # variance of the error of that logit (delta method)
            variance = np.einsum("pk,pkl,pl->p", weight, panels.covariance[rows, h][:, used][..., used], weight)
            below = of_new.below(logit(area.mean(1)), variance)
            enough = np.isfinite(panels.value[rows][..., used]).any(2).sum(1) >= LEAST_LEFT_OUT
            num_left_out[name][rows] += enough & np.isfinite(below)
            num_inside[name][rows] += enough & (below >= OUTSIDE) & (below <= 1 - OUTSIDE)
    return {name: (num_left_out[name], num_inside[name]) for name in num_left_out}


def _correlations(value: Array, variance: Array, macro: Array, of_macro: Array) -> Array:
    """Return the correlation [R, H] of the errors of two AUROCs, all on the logit scale; shapes [R, H, K] and [R, H, 1].

    At a hospital that does not score all findings, it is the mean of the other hospitals.
    """
    num = value.shape[-1]
    error = np.sqrt(variance) * expit(value) * expit(-value)
    whole = (of_macro * (expit(macro) * expit(-macro)) ** 2)[..., 0] * num**2
    squares = (error**2).sum(-1)
    products = error.sum(-1) ** 2 - squares
    known = np.divide(whole - squares, products, out=np.full(whole.shape, np.nan), where=products > 0)
    known = known.clip(0, MOST_CORRELATED)
    counts = np.isfinite(known).sum(-1, keepdims=True)
    mean = np.nan_to_num(known).sum(-1, keepdims=True) / np.maximum(counts, 1)
    return np.asarray(np.where(np.isfinite(known), known, mean))
