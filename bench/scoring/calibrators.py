"""Calibrators: functions from logits to probabilities, fitted on the internal validation split.

Shapes: N images, P points of a curve; label [N] of 0 and 1, logit [N]. If a class is absent in the images of the fit,
all probabilities of the calibrator are NaN.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring.metrics import Label, Score, require_finite

Array = NDArray[np.float64]

LOG_T_LIMIT = 5.0  # maximum of |log(temperature)|
_RIDGE = 1e-12 * np.eye(2)  # added to the Hessian of Platt scaling, which may be singular


def sigmoid(logit: Score) -> Array:
    """Compute the sigmoid [N] of logits as float64; within 4e-16 of scipy's expit and twice as fast."""
    out = np.array(logit, np.float64)
    np.negative(out, out=out)
    # exp may overflow to infinity; then the result is 1 / (1 + infinity) = 0, which is correct
    with np.errstate(over="ignore"):
        np.exp(out, out=out)
    out += 1
    return np.divide(1.0, out, out=out)


class Calibrator(Protocol):
    """The interface of a fitted calibrator."""

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        ...


@dataclass(frozen=True, slots=True)
class Platt:
    """The calibrator prob = sigmoid(a * logit + b); a and b are NaN if a class was absent in the fit."""

    a: float
    b: float

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        return sigmoid(self.a * np.asarray(logit, np.float64) + self.b)


def fit_platt(label: Label, logit: Score) -> Platt:
    """Fit Platt scaling to validation logits; a and b are NaN when a class is absent.

    The targets are (n+ + 1)/(n+ + 2) and 1/(n- + 2) instead of 1 and 0, so that separable data have a finite optimum; n+ and
    n- are the numbers of positive and negative images. For constant logits, a is 0 and every probability is the mean target.
    Source: Platt 1999, section 2.2. Lin et al. 2007: Newton's method, each step halved until the loss falls.
    """
    require_finite(logit, "logits")
    positive = label == 1
    return Platt(*_platt(positive, np.asarray(logit, np.float64), int(positive.sum())))


def _platt(positive: NDArray[np.bool_], logit: Array, num_positive: int) -> tuple[float, float]:
    """Return slope and offset by Newton's method, each step halved until the loss falls; NaN when a class is absent."""
    num = logit.shape[0]
    if num_positive == 0 or num_positive == num:
        return np.nan, np.nan
    mean, spread = float(logit.mean()), float(logit.std())
    high, low = (num_positive + 1) / (num_positive + 2), 1 / (num - num_positive + 2)
    share = (num_positive * high + (num - num_positive) * low) / num
    line = np.array([0.0, math.log(share / (1 - share))])
    if spread <= 1e-12 * max(1.0, abs(mean)):
        return 0.0, float(line[1])
    design = np.stack([(logit - mean) / spread, np.ones(num)])
    target = np.where(positive, high, low)
    step, size, best = np.zeros(2), 1.0, np.inf
    for _ in range(200):
        at = line - size * step
        value = at @ design
        loss = float((np.logaddexp(0, value) - target * value).sum())
        if loss > best + 1e-14 * num:  # near the optimum, rounding hides whether the loss falls
            size /= 2
            if size < 1e-10:
                break
            continue
        line, best, size = at, loss, 1.0
        prob = expit(value)
        gradient = design @ (prob - target)
        if np.abs(gradient).max() <= 1e-11 * num:
            break
        hessian = (design * np.maximum(prob * (1 - prob), 1e-12)) @ design.T
        step = np.linalg.solve(hessian + _RIDGE, gradient)
    slope, offset = line.tolist()
    return slope / spread, offset - slope * mean / spread


@dataclass(frozen=True, slots=True)
class Temperature:
    """The calibrator prob = sigmoid(logit / t), which keeps the order of the images; probabilities above .5 stay above .5."""

    t: float

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        return sigmoid(np.asarray(logit, np.float64) / self.t)


def fit_temperature(label: Label, logit: Score) -> Temperature:
    """Fit the temperature with the highest likelihood, between exp(-5) and exp(5); NaN when a class is absent.

    In two cases, the likelihood has no maximum, and the result is an end of this range: exp(-5) if all positive images
    have logits above 0 and all negative images logits below 0; exp(5) if logits and labels are anticorrelated. If all
    logits are 0, the result is 1.
    Source: Guo et al. 2017, arXiv:1706.04599, equation 9, with two classes.
    """
    from scipy.optimize import brentq

    require_finite(logit, "logits")
    target, raw = (np.asarray(column, np.float64) for column in (label == 1, logit))
    if not 0 < target.sum() < len(target):
        return Temperature(float("nan"))

    def slope(log_t: float) -> float:
        """Compute the derivative of the loss with respect to 1 / t; this derivative falls as t grows."""
        return float(raw @ (expit(np.exp(-log_t) * raw) - target))

    if not raw.any():
        return Temperature(1.0)
    if slope(LOG_T_LIMIT) >= 0:
        return Temperature(float(np.exp(LOG_T_LIMIT)))
    if slope(-LOG_T_LIMIT) <= 0:
        return Temperature(float(np.exp(-LOG_T_LIMIT)))
    return Temperature(float(np.exp(brentq(slope, -LOG_T_LIMIT, LOG_T_LIMIT, xtol=1e-12))))


@dataclass(frozen=True, slots=True, eq=False)
class Isotonic:
    """The calibrator that interpolates linearly between points: x [P] are logits, y [P] are probabilities.

    The probability is constant below the first point and above the last point. Without points, all probabilities are
    NaN.
    """

    x: Array
    y: Array

    def apply(self, logit: Score) -> Array:
        """Return calibrated probabilities [N]."""
        if not len(self.x):
            return np.full(len(logit), np.nan)
        return np.interp(np.asarray(logit, np.float64), self.x, self.y)


def fit_isotonic(label: Label, logit: Score) -> Isotonic:
    """Fit isotonic regression to validation logits; the result has no points when a class is absent.

    The lowest probability may be 0 and the highest 1. The log loss is finite all the same, because it clips
    probabilities to [1e-7, 1 - 1e-7].
    Source: Zadrozny and Elkan 2002; equal to scikit-learn's IsotonicRegression(out_of_bounds="clip").
    """
    from scipy.optimize import isotonic_regression

    require_finite(logit, "logits")
    positive = label == 1
    if not 0 < positive.sum() < len(positive):
        return Isotonic(np.empty(0), np.empty(0))
    x, point_of_image = np.unique(np.asarray(logit, np.float64), return_inverse=True)
    count = np.bincount(point_of_image).astype(np.float64)
    y = np.asarray(isotonic_regression(np.bincount(point_of_image, positive) / count, weights=count).x, np.float64)
    # keep only the two ends of each step; interpolation does not need the points between them
    inner = np.append(True, y[1:] != y[:-1]) | np.append(y[1:] != y[:-1], True)
    return Isotonic(x[inner], y[inner])


FITS: Mapping[str, Callable[[Label, Score], Calibrator]] = MappingProxyType(
    {"platt": fit_platt, "temperature": fit_temperature, "isotonic": fit_isotonic}
)
