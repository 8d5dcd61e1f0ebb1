"""How far probabilities are from frequencies, and Platt's correction of them.

Shapes: label [N] of 0 and 1, prob [N] in [0, 1], logit [N].
"""

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.metrics import Label, Score, require_finite

Array = NDArray[np.float64]


def ece(label: Label, prob: Score, bins: int = 15) -> float:
    """Return netcal's expected calibration error: mean distance of probability and frequency over equal-width bins.

    Range: 0 (calibrated) to 1, NaN without images. The probability is that of the finding, not of the likelier class.
    Source: Naeini et al. 2015; Kueppers et al. 2020 (netcal).
    """
    require_finite(prob, "probabilities")
    if not len(label):
        return float("nan")
    return float(_netcal_ece(bins).measure(np.asarray(prob, np.float64), np.asarray(label, np.int64)))


@cache
def _netcal_ece(bins: int) -> Any:
    """Return netcal's measure; it brings torch with it, so it is imported by those who need it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escape sequences in its sources, seen when they are first compiled
        from netcal.metrics import ECE
    return ECE(bins=bins)


def bin_of(prob: Score, bins: int = 15) -> NDArray[np.int64]:
    """Return the equal-width bin [N] of each probability, from 0; an edge belongs to the bin above, as in netcal."""
    inside = np.clip(np.asarray(prob, np.float64), np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
    return np.digitize(inside, np.linspace(0.0, 1.0, bins + 1)) - 1


def ece_fast(label: Label, prob: Score, bins: int = 15) -> float:
    """Return the value of `ece` (within 1e-12) without netcal: sum over bins of |sum of (label - prob)|, over N."""
    require_finite(prob, "probabilities")
    if not len(label):
        return float("nan")
    excess = np.bincount(bin_of(prob, bins), label - np.asarray(prob, np.float64), minlength=bins)
    return float(np.abs(excess).sum() / len(label))


@dataclass(frozen=True, slots=True)
class Platt:
    """prob = sigmoid(a * logit + b); NaN when it could not be fitted."""

    a: float
    b: float

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        return np.asarray(expit(self.a * np.asarray(logit, np.float64) + self.b), np.float64)


def fit_platt(label: Label, logit: Score) -> Platt:
    """Return the logistic line through validation logits; NaN when a class is absent.

    Targets are Platt's (n+ + 1)/(n+ + 2) and 1/(n- + 2) instead of 1 and 0, so that data a threshold separates has
    a finite optimum. A constant logit gets slope 0: the prevalence for all.
    Source: Platt 1999, section 2.2; Newton steps that are halved until the loss falls, as Lin et al. 2007.
    """
    require_finite(logit, "logits")
    positive = label == 1
    num_positive = int(positive.sum())
    num_negative = len(label) - num_positive
    if num_positive == 0 or num_negative == 0:
        return Platt(float("nan"), float("nan"))
    target = np.where(positive, (num_positive + 1) / (num_positive + 2), 1 / (num_negative + 2))
    raw = np.asarray(logit, np.float64)
    centre, spread = float(raw.mean()), float(raw.std())
    if spread <= 1e-12 * max(1.0, abs(centre)):
        share = float(target.mean())
        return Platt(0.0, float(np.log(share / (1 - share))))
    z = (raw - centre) / spread  # unit scale: the Newton system stays well conditioned
    slope, offset = _newton(z, target)
    return Platt(slope / spread, offset - slope * centre / spread)


def _newton(z: Array, target: Array) -> tuple[float, float]:
    """Minimise the cross-entropy of sigmoid(slope * z + offset); convex, at most 100 steps."""

    def loss(line: Array) -> float:
        value = line[0] * z + line[1]
        return float((np.logaddexp(0.0, value) - target * value).sum())

    share = float(target.mean())
    line = np.array([0.0, np.log(share / (1 - share))])
    best = loss(line)
    for _ in range(100):
        prob = expit(line[0] * z + line[1])
        residual, weight = prob - target, np.maximum(prob * (1 - prob), 1e-12)
        gradient = np.array([residual @ z, residual.sum()])
        if np.abs(gradient).max() <= 1e-11 * len(z):
            break
        cross = weight @ z
        hessian = np.array([[weight @ (z * z), cross], [cross, weight.sum()]])
        step = np.linalg.solve(hessian + 1e-12 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and not loss(line - size * step) < best:
            size /= 2
        if size <= 1e-10:
            break
        line = line - size * step
        best = loss(line)
    return float(line[0]), float(line[1])
