"""Estimators of the prevalence: the share of images with a finding at a hospital without labels.

Each function gets `internal` (see `InternalFinding`) and the logits [N] of one finding, and returns {"prevalence": share}. The share is
from 0 to 1, or NaN if it cannot be computed.
"""

import numpy as np
from numpy.typing import NDArray

from bench.extensions.estimates.quantities import Array, Estimates, InternalFinding


def classify_count(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate the prevalence as the share of positive calls.

    Source: Forman 2008, doi:10.1007/s10618-008-0097-y (classify and count).
    """
    called = internal.calls(logit)
    return {} if np.isnan(internal.threshold) or not len(called) else {"prevalence": float(called.mean())}


def adjusted_count(internal: InternalFinding, logit: Array) -> Estimates:
    """Correct the share of positive calls with the sensitivity and specificity on the validation split.

    The estimate is right if only the prevalence differs between the hospitals.
    Source: Forman 2008, doi:10.1007/s10618-008-0097-y (adjusted count).
    """
    if np.isnan(internal.threshold) or not len(logit):
        return {}
    called, positive = internal.calls(internal.logit), internal.label == 1
    return {"prevalence": _solve(called.astype(np.float64), positive, float(internal.calls(logit).mean()))}


def bbse(internal: InternalFinding, logit: Array) -> Estimates:
    """Correct the mean calibrated probability with its means over positive and negative validation images.

    This is black box shift estimation with probabilities instead of calls; with calls, it equals `adjusted_count`.
    Source: Lipton et al. 2018, arXiv:1802.03916.
    """
    if not len(logit):
        return {}
    return {
        "prevalence": _solve(
            internal.platt.apply(internal.logit), internal.label == 1, float(internal.platt.apply(logit).mean())
        )
    }


def em(internal: InternalFinding, logit: Array) -> Estimates:
    """Estimate the prevalence with the highest likelihood, given the calibrated probabilities.

    Expectation maximization has the same result; the root of the derivative is found in fewer steps. The estimate is
    right if only the prevalence differs between the hospitals. It often is 0 or 1 if the images differ, too. There is no
    estimate if the validation images all have the same probability.
    Source: Saerens et al. 2002, doi:10.1162/089976602753284446, equation 2.9.
    """
    from scipy.optimize import brentq

    prob, start = internal.platt.apply(logit), float(internal.label.mean())
    if not len(logit) or not np.isfinite(prob).all() or not 0 < start < 1 or internal.platt.a == 0:
        return {}
    positive, negative = prob / start, (1 - prob) / (1 - start)

    def slope(share: float) -> float:
        """Compute the derivative of the mean log likelihood, which falls with the share of positive images."""
        return float(((positive - negative) / (share * positive + (1 - share) * negative)).mean())

    with np.errstate(divide="ignore", invalid="ignore"):  # a probability of 0 or 1 makes the likelihood 0 at an end
        if not slope(0.0) > 0:
            return {"prevalence": 0.0}
        if not slope(1.0) < 0:
            return {"prevalence": 1.0}
        return {"prevalence": float(brentq(slope, 0.0, 1.0, xtol=1e-12))}


def with_prevalence(prob: Array, before: float, after: float) -> Array:
    """Change probabilities [N] that are calibrated for the prevalence `before` to the prevalence `after`.

    The density of the logits of positive and of negative images stays the same.
    """
    if before <= 0 or before >= 1:
        return np.full(len(prob), np.nan)
    positive, negative = prob * (after / before), (1 - prob) * ((1 - after) / (1 - before))
    with np.errstate(invalid="ignore"):  # 0 / 0 for an impossible image gives NaN
        return np.asarray(positive / (positive + negative))


def _solve(score: Array, positive: NDArray[np.bool_], mean: float) -> float:
    """Return the prevalence at which the scores of the validation split [N] have the mean `mean`, within 0 to 1."""
    if positive.all() or not positive.any():
        return float("nan")
    high, low = float(score[positive].mean()), float(score[~positive].mean())
    if abs(high - low) < 1e-12:  # the means of equal scores differ by rounding
        return float("nan")
    return float(np.clip((mean - low) / (high - low), 0, 1))
