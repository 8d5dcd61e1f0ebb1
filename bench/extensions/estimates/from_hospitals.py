"""Estimators that learn from other hospitals with labels.

Each function gets `KnownValues`, the values of one quantity at the internal hospital and at the labeled hospitals, and
`here`, the estimates of the estimators in `from_logits` at the hospital without labels: name -> [R, K]. Each returns
estimates [R, K], NaN where there is nothing to learn from.
Shapes: R runs, K findings, H labeled hospitals, C estimators, P penalties.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from bench.extensions.estimates.quantities import Array, finite_mean
from bench.scoring.across_runs.robustness import fit
from reports.schemas.tables import LEAST_RELATED

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)  # ridge penalties that `combination` tries, relative to the number of rows
_COMPLETE = 0.95  # least share of cells with a value of an estimator that `combination` uses
_LEAST_HOSPITALS = 3  # fewer hospitals cannot show whether a correction of the mean gap helps


@dataclass(frozen=True, slots=True, eq=False)
class KnownValues:
    """Values of one quantity where labels are known.

    internal [R, K]: on the internal test split. truth [H, R, K]: at the labeled hospitals, NaN where a finding has too few
    patients. estimates: name of an estimator in `from_logits` -> its estimates [H, R, K] at the same hospitals.
    """

    internal: Array
    truth: Array
    estimates: Mapping[str, Array]

    def without(self, hospital: int) -> "KnownValues":
        """Return the values without one hospital."""
        others = np.arange(len(self.truth)) != hospital
        return KnownValues(
            self.internal, self.truth[others], {name: value[others] for name, value in self.estimates.items()}
        )

    def at(self, hospital: int) -> dict[str, Array]:
        """Return the estimates at one hospital: name -> [R, K]."""
        return {name: value[hospital] for name, value in self.estimates.items()}


def internal(known: KnownValues, here: Mapping[str, Array]) -> Array:  # noqa: ARG001 - all have the same arguments
    """Return the internal values: nothing changes at the new hospital."""
    return known.internal


def mean_gap(known: KnownValues, here: Mapping[str, Array]) -> Array:  # noqa: ARG001 - all have the same arguments
    """Add the mean change at the labeled hospitals to the internal value, for each run and finding."""
    return np.asarray((known.internal + finite_mean(known.truth - known.internal)).clip(0, 1))


def robustness_line(known: KnownValues, here: Mapping[str, Array]) -> Array:  # noqa: ARG001 - all have the same arguments
    """Estimate a score from its internal value with the lines of the labeled hospitals.

    At each labeled hospital, a line over runs gives the external score on the logit scale as a function of the internal
    score; the estimate is the mean over the lines. A score of 0 or 1 has no logit, so its run is not on the line and has
    no estimate. NaN with fewer than LEAST_RELATED runs on a line.
    Source: Miller et al. 2021, arXiv:2107.04649.
    """
    estimate = np.full(known.internal.shape, np.nan)
    for k in range(known.internal.shape[1]):
        of_hospitals = []
        inside = (known.internal[:, k] > 0) & (known.internal[:, k] < 1)
        for truth in known.truth:
            runs = inside & (truth[:, k] > 0) & (truth[:, k] < 1)
            if runs.sum() >= LEAST_RELATED:
                of_hospitals.append(fit(known.internal[runs, k], truth[runs, k]).expected(known.internal[:, k]))
        if of_hospitals:
            with np.errstate(divide="ignore"):
                estimate[inside, k] = expit(finite_mean(logit(np.stack(of_hospitals))))[inside]
    return estimate


def combination(known: KnownValues, here: Mapping[str, Array]) -> Array:
    """Correct `mean_gap` with the other estimators, as far as this helped at the labeled hospitals.

    For each run and finding, a hospital's estimates differ from the mean estimates at the other hospitals. A ridge
    regression over the labeled hospitals predicts from these differences how much the true value differs from the mean
    true value. An estimator that has no value in more than 5 % of the cells is not used. The penalty is the one with the
    smallest error at labeled hospitals that were left out of the regression. If no penalty has a smaller error than
    `mean_gap`, or with fewer than 3 labeled hospitals, the result is `mean_gap`. All runs and findings share the
    coefficients.
    """
    base = mean_gap(known, here)
    names = [name for name in known.estimates if name in here and _is_complete(known, name)]
    if len(known.truth) < _LEAST_HOSPITALS or not names:
        return base
    penalty = _best_penalty(known, names)
    return base if penalty is None else np.asarray(_corrected(known, here, names, [penalty])[0])


def _is_complete(known: KnownValues, name: str) -> bool:
    """Return whether an estimator has a value in nearly all cells with a true value."""
    has_value = np.isfinite(known.estimates[name])[np.isfinite(known.truth)]
    return bool(has_value.size and has_value.mean() >= _COMPLETE)


def _best_penalty(known: KnownValues, names: list[str]) -> float | None:
    """Return the penalty with the smallest error at hospitals that are left out; None if `mean_gap` has a smaller error."""
    errors = []
    for hospital in range(len(known.truth)):
        others, truth, here = known.without(hospital), known.truth[hospital], known.at(hospital)
        base = mean_gap(others, here)
        labeled = np.isfinite(truth) & np.isfinite(base)
        if labeled.any():
            estimates_PRK = np.concatenate([base[None], _corrected(others, here, names, PENALTIES)])
            errors.append(np.abs(estimates_PRK - truth)[:, labeled].mean(1))
    if not errors:
        return None
    return (None, *PENALTIES)[int(np.mean(errors, axis=0).argmin())]


def _corrected(known: KnownValues, here: Mapping[str, Array], names: list[str], penalties: Sequence[float]) -> Array:
    """Return, for each penalty, `mean_gap` plus the correction that a ridge regression with this penalty predicts [P, R, K]."""
    labeled = np.isfinite(known.truth)
    x_HRKC = np.stack([np.where(labeled, known.estimates[name], np.nan) for name in names], -1)
    center_RKC = finite_mean(x_HRKC)
    dx, dy = x_HRKC - center_RKC, known.truth - finite_mean(known.truth)
    rows = np.isfinite(dx).all(-1) & np.isfinite(dy)
    base = mean_gap(known, here)
    uncorrected = np.broadcast_to(base, (len(penalties), *base.shape))
    if rows.sum() <= len(names):
        return uncorrected
    x, y = dx[rows], dy[rows]
    scale = np.sqrt((x * x).mean(0))
    used = scale > 1e-12
    if not used.any():
        return uncorrected
    x = x[:, used] / scale[used]
    new_RKC = np.stack([here[name] for name in names], -1)[..., used] - center_RKC[..., used]
    ridges_PCC = np.multiply.outer(penalties, len(x) * np.eye(x.shape[1]))
    slopes_PC = np.linalg.solve(x.T @ x + ridges_PCC, (x.T @ y)[:, None])[..., 0] / scale[used]
    correction = np.einsum("rkc,pc->prk", new_RKC, slopes_PC)
    return np.asarray(np.where(np.isfinite(correction), base + correction, base).clip(0, 1))
