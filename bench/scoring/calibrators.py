"""Maps from logits to probabilities, fitted on the validation split of the training hospital and judged elsewhere.

Shapes: label [N] of 0 and 1, logit [N]. A fit that lacks a class is NaN, and so is every probability it gives.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.metrics import Label, Score, require_finite

Array = NDArray[np.float64]

LOG_T_LIMIT = 5.0  # of a temperature


def sigmoid(logit: Score) -> Array:
    """Return probabilities [N] as float64: scipy's expit within 4e-16 of it, in half the time."""
    out = np.array(logit, np.float64)
    np.negative(out, out=out)
    with np.errstate(over="ignore"):  # 1 / (1 + infinity) is 0
        np.exp(out, out=out)
    out += 1
    return np.divide(1.0, out, out=out)


class Calibrator(Protocol):
    """What every fit returns."""

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """prob = sigmoid(a * logit + b); NaN when it could not be fitted."""

    a: float
    b: float

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        return sigmoid(self.a * np.asarray(logit, np.float64) + self.b)


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
        size, found = 1.0, loss(line - step)
        while size > 1e-10 and not found < best:
            size /= 2
            found = loss(line - size * step)
        if size <= 1e-10:
            break
        line, best = line - size * step, found
    return float(line[0]), float(line[1])


@compiled
def _slope(raw: Array, target: Array, scale: float) -> float:
    """Return the derivative of the loss of sigmoid(scale * raw) in the scale."""
    total = 0.0
    for i in range(raw.shape[0]):
        total += raw[i] * (1 / (1 + math.exp(-scale * raw[i])) - target[i])
    return total


@dataclass(frozen=True, slots=True)
class Temperature:
    """prob = sigmoid(logit / t): sharper or softer, the order of the images and the side of .5 stay."""

    t: float

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        return sigmoid(np.asarray(logit, np.float64) / self.t)


def fit_temperature(label: Label, logit: Score) -> Temperature:
    """Return the temperature of the highest likelihood, between exp(-5) and exp(5); NaN when a class is absent.

    The bounds are reached where no finite optimum exists: classes that a threshold of 0 separates (lower), logits that
    point the wrong way (upper). Logits that are all 0 give 1.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 9, with two classes.
    """
    from scipy.optimize import brentq

    require_finite(logit, "logits")
    target, raw = (np.asarray(each, np.float64) for each in (label == 1, logit))
    if not 0 < target.sum() < len(target):
        return Temperature(float("nan"))

    def slope(log_t: float) -> float:
        """Return the derivative of the loss in 1 / t, which falls as t grows: the loss is convex."""
        return float(_slope(raw, target, float(np.exp(-log_t))))

    if not raw.any():
        return Temperature(1.0)
    if slope(LOG_T_LIMIT) >= 0:
        return Temperature(float(np.exp(LOG_T_LIMIT)))
    if slope(-LOG_T_LIMIT) <= 0:
        return Temperature(float(np.exp(-LOG_T_LIMIT)))
    return Temperature(float(np.exp(brentq(slope, -LOG_T_LIMIT, LOG_T_LIMIT, xtol=1e-12))))


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """prob = a rising curve through points (x [P], y [P]), straight between them and level beyond; no point: NaN."""

    x: Array
    y: Array

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        if not len(self.x):
            return np.full(len(logit), np.nan)
        return _between_points(np.asarray(logit), self.x, self.y)


@compiled
def _between_points(logit: Score, x: Array, y: Array) -> Array:
    """Return what np.interp gives for finite logits, in half the time where they are sorted: it need not search."""
    out, last, j = np.empty(logit.shape[0]), x.shape[0] - 1, 0
    low, high, slope, start, level = np.inf, -np.inf, 0.0, x[0], y[0]  # of the piece before: most logits share it
    for i in range(logit.shape[0]):
        at = np.float64(logit[i])
        if not low <= at < high:
            while j >= 0 and at < x[j]:
                j -= 1
            while j < last and at >= x[j + 1]:
                j += 1
            low, high = x[j] if j >= 0 else -np.inf, x[j + 1] if j < last else np.inf
            start, level = x[max(j, 0)], y[max(j, 0)]
            slope = (y[j + 1] - level) / (high - start) if 0 <= j < last else 0.0
        out[i] = slope * (at - start) + level
    return out


def fit_isotonic(label: Label, logit: Score) -> Isotonic:
    """Return the rising curve of least squares; without points when a class is absent.

    It may give 0 and 1 at the ends, where its likelihood on other images is that of `calibration.LEAST`.
    Source: Zadrozny and Elkan 2002; equal to scikit-learn's IsotonicRegression(out_of_bounds="clip").
    """
    from scipy.optimize import isotonic_regression

    require_finite(logit, "logits")
    positive = label == 1
    if not 0 < positive.sum() < len(positive):
        return Isotonic(np.empty(0), np.empty(0))
    x, which = np.unique(np.asarray(logit, np.float64), return_inverse=True)
    count = np.bincount(which).astype(np.float64)
    y = np.asarray(isotonic_regression(np.bincount(which, positive) / count, weights=count).x, np.float64)
    inner = np.append(True, y[1:] != y[:-1]) | np.append(y[1:] != y[:-1], True)  # the middle of a step says nothing
    return Isotonic(x[inner], y[inner])


FITS: Mapping[str, Callable[[Label, Score], Calibrator]] = MappingProxyType(
    {"platt": fit_platt, "temperature": fit_temperature, "isotonic": fit_isotonic}
)
