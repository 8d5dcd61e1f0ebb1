"""Random-effects meta-analysis over hospitals and findings: the expected value at a new hospital and its prediction interval.

A panel has a value for each hospital h and finding k, with the covariance of its errors. The model of a panel:

    value(h, k) = f(k) + u(h) + v(h, k) + normal error,    u ~ normal(0, tau²),  v ~ normal(0, tau_v²)

f(k) is the value of finding k at a typical hospital, u how much easier all findings are at hospital h, and v what hospital h does
to finding k alone. Hospitals may lack findings. With one finding, v cannot be told from u, so the model has no v: then it is the
usual random-effects model. The prediction interval is for the true value of a hospital that was not measured: of one finding,
f(k) + u + v, or of a weighted sum of findings. f has a flat prior, tau and tau_v have half-normal priors of the same scale. Given
both, everything is normal, so that all posterior distributions are mixtures over a quadrature. Intervals have equal tails.

An error that all hospitals of a panel share, such as that of the internal score in a gap, is no difference between hospitals:
`shared` is its covariance. It widens the intervals of f and of a new hospital.
Sources: Röver 2020, doi:10.18637/jss.v093.i06 (half-normal prior, quadrature); Searle, Casella and McCulloch 1992,
doi:10.1002/9780470316856 (crossed effects, restricted likelihood).
Shapes: P panels, H hospitals, K findings (NaN: the hospital does not score the finding), U and V nodes of tau and tau_v, S = U V.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, roots_genlaguerre

Array = NDArray[np.float64]

LEVEL = 0.95
LEAST_HOSPITALS = 3  # with two hospitals, a prediction interval has no degree of freedom
# within-hospital variances below it are set to it: an error of 0 would give one hospital all weight
LEAST_VARIANCE = 1e-10
UNMEASURED = 1e9  # variance of a value that is missing
# for tau and tau_v: equal steps in which the range of the quadrature is searched, and its nodes; with one finding, and with several
STEPS, NODES = (60, 1), (80, 1)
STEPS_OF_BOTH, NODES_OF_BOTH = (20, 20), (16, 16)
NEGLIGIBLE = 25.0  # the quadrature leaves out values of tau whose log density is lower than the highest by more
WIDEST = 10.0  # the quadrature ends at this multiple of the scale of the prior
NUM_HALVINGS = 60  # halvings of a range in which a root is searched
PRECISION = 1e-10  # relative, of quantiles
MOST_AT_ONCE = 2_000_000  # numbers of an array, which limits the panels that are fitted at a time
FRACTION = np.linspace(0, 1, 2001)  # of the range of the quadrature, at which the distribution of tau is computed
LOW, HIGH = (1 - LEVEL) / 2, (1 + LEVEL) / 2
# Student's t with 4 degrees of freedom as a mixture of normal distributions of these standard deviations
_GAMMA, T_WEIGHT = roots_genlaguerre(6, 1)
T_WIDTH = np.sqrt(2 / _GAMMA)


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """Values [P, H, K] with the covariances of their own errors [P, H, K, K] and of their shared errors [P, K, K].

    `of` and `crossed` make panels valid: a value without a finite variance does not count, and a variance is never 0. The fits
    need panels with at least LEAST_HOSPITALS hospitals, and a value for each finding: `panels.at(panels.enough)`.
    """

    value: Array
    covariance: Array
    shared: Array

    @classmethod
    def of(cls, value: Array, variance: Array, common: Array | float = 0.0) -> Self:
        """Return panels of one finding, from values and variances [P, H] and the variance of their shared error [P]."""
        value, variance = np.atleast_2d(value).astype(np.float64), np.atleast_2d(variance).astype(np.float64)
        shared = np.broadcast_to(np.asarray(common, np.float64), len(value))
        return cls.crossed(value[:, :, None], variance[:, :, None, None], shared[:, None, None])

    @classmethod
    def crossed(cls, value: Array, covariance: Array, shared: Array) -> Self:
        """Return panels; `covariance` includes the shared error, which is subtracted. Negative differences are clamped."""
        known = np.isfinite(value) & np.isfinite(np.diagonal(covariance, axis1=-2, axis2=-1))
        both = known[..., None] & known[..., None, :]
        of_shared = _nonnegative(np.nan_to_num(shared), 0.0)
        remaining = np.where(both, covariance - of_shared[:, None], 0.0)
        remaining = np.where(both, _nonnegative(remaining, LEAST_VARIANCE), 0.0)
        remaining[~known, np.nonzero(~known)[-1]] = UNMEASURED
        return cls(np.where(known, value, np.nan), remaining, of_shared)

    @property
    def num_measured(self) -> NDArray[np.int64]:
        """Number of hospitals with a value of each finding [P, K]."""
        return np.asarray(np.isfinite(self.value).sum(1))

    @property
    def num_hospitals(self) -> NDArray[np.int64]:
        """Number of hospitals with a value, of each panel."""
        return np.asarray(np.isfinite(self.value).any(2).sum(1))

    @property
    def enough(self) -> NDArray[np.bool_]:
        """Mask of the panels that can be fitted."""
        return np.asarray((self.num_hospitals >= LEAST_HOSPITALS) & (self.num_measured > 0).all(1))

    def at(self, rows: NDArray[np.bool_ | np.intp] | slice) -> "Panels":
        """Return some of the panels."""
        return Panels(self.value[rows], self.covariance[rows], self.shared[rows])

    def without(self, hospital: int) -> "Panels":
        """Return the panels without the values of one hospital."""
        return Panels(np.delete(self.value, hospital, 1), np.delete(self.covariance, hospital, 1), self.shared)


def _nonnegative(covariance: Array, least: float) -> Array:
    """Return covariances [..., K, K] whose eigenvalues are at least `least`."""
    level, vector = np.linalg.eigh(covariance)
    return np.asarray((vector * np.maximum(level, least)[..., None, :]) @ vector.swapaxes(-1, -2))


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The numbers of a prediction, [P] each.

    mean, low, high: expected value at a new hospital (the posterior median) and its interval. new_low, new_high: the prediction
    interval. tau, tau_low, tau_high: standard deviation between hospitals (the posterior median) and its interval. below: see
    `Prediction`.
    """

    mean: Array
    low: Array
    high: Array
    new_low: Array
    new_high: Array
    tau: Array
    tau_low: Array
    tau_high: Array
    below: Callable[..., Array]


@dataclass(frozen=True, slots=True, eq=False)
class _Conditional:
    """What is known given tau and tau_v: log restricted likelihood [P, U, V], f [P, U, V, K] and its covariance [P, U, V, K, K]."""

    log_likelihood: Array
    mean: Array
    covariance: Array
    squares: Array  # weighted sum of squares that f does not explain [P, U, V]

    @classmethod
    def of(cls, panels: Panels, tau: Array, tau_v: Array) -> Self:
        """Compute it at all pairs of tau [P, U] and tau_v [P, V]; the inverse of V(h) = A + tau² 1 1' is that of a rank-1 update."""
        center = np.nanmean(panels.value, 1)
        value = np.nan_to_num(panels.value - center[:, None])[:, None]
        level, vector = np.linalg.eigh(panels.covariance)
        level = level[:, None] + (tau_v**2)[:, :, None, None]
        inverse = (vector[:, None] / level[..., None, :]) @ vector.swapaxes(-1, -2)[:, None]  # [P, V, H, K, K]
        of_one, of_value = inverse.sum(-1), (inverse @ value[..., None])[..., 0]  # [P, V, H, K]
        one, mixed, square = of_one.sum(-1), of_value.sum(-1), (of_value * value).sum(-1)  # [P, V, H]
        variance = (tau**2)[:, :, None, None]
        factor = variance / (1 + variance * one[:, None])  # [P, U, V, H]
        update = (factor[..., None] * of_one[:, None]).swapaxes(-1, -2) @ of_one[:, None]
        precision = inverse.sum(2)[:, None] - update
        weighted = of_value.sum(2)[:, None] - ((factor * mixed[:, None])[..., None] * of_one[:, None]).sum(3)
        covariance = np.linalg.inv(precision)
        mean = (covariance @ weighted[..., None])[..., 0]
        squares = (square[:, None] - factor * mixed[:, None] ** 2).sum(3) - (weighted * mean).sum(-1)
        log_size = np.log(level).sum((2, 3))[:, None] + np.log1p(variance * one[:, None]).sum(3)
        log_likelihood = -(log_size + np.linalg.slogdet(precision)[1] + squares) / 2
        return cls(log_likelihood, mean + center[:, None, None], covariance, squares)


def inconsistency(panels: Panels) -> Array:
    """Compute I², the share of the variation between hospitals that the within-hospital errors do not explain.

    Source: Higgins and Thompson 2002, doi:10.1002/sim.1186 (from Cochran's Q).
    """
    zero = np.zeros((len(panels.value), 1))
    q = _Conditional.of(panels, zero, zero).squares[:, 0, 0]
    degrees = panels.num_measured.sum(1) - float(panels.value.shape[2])
    return np.asarray(np.divide(q - degrees, q, out=np.zeros(len(q)), where=q > 0).clip(0))


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Posterior distribution of tau and tau_v at nodes, and of f given both."""

    root: Array  # square root of tau [P, U]
    root_v: Array  # square root of tau_v [P, V]
    ends: tuple[Array, Array]  # lowest and highest square root [P, 2] of tau, and of tau_v
    share: Array  # probability of both [P, U, V]
    mean: Array  # [P, S, K]
    covariance: Array  # [P, S, K, K]

    @classmethod
    def of(cls, panels: Panels, scale: float) -> Self:
        """Compute the posterior: first on equal steps, to find the range that matters, then at Gauss-Legendre nodes there.

        The nodes are those of the square roots of tau and tau_v, so that they are densest near 0.
        """
        if not panels.enough.all():
            raise ValueError(f"a panel has fewer than {LEAST_HOSPITALS} hospitals")
        num, _, findings = panels.value.shape
        steps, nodes = (STEPS, NODES) if findings == 1 else (STEPS_OF_BOTH, NODES_OF_BOTH)
        size = panels.covariance[:1].size * max(math.prod(steps), math.prod(nodes))
        at_once = max(1, MOST_AT_ONCE // size)
        starts = range(0, max(num, 1), at_once)
        parts = [cls._of_some(panels.at(slice(k, k + at_once)), scale, steps, nodes) for k in starts]
        root, root_v, ends, ends_v, share, mean, covariance = map(np.concatenate, zip(*parts, strict=True))
        return cls(root, root_v, (ends, ends_v), share, mean, covariance + panels.shared[:, None])

    @staticmethod
    def _of_some(panels: Panels, scale: float, steps: tuple[int, int], nodes: tuple[int, int]) -> tuple[Array, ...]:
        """Return root, root_v, ends of tau, ends of tau_v, share, mean and covariance of some panels, see `Posterior`."""
        widths = [np.sqrt(WIDEST * scale) / num for num in steps]
        grids = [
            np.tile(width * (np.arange(num) + 0.5) if num > 1 else np.zeros(1), (len(panels.value), 1))
            for width, num in zip(widths, steps, strict=True)
        ]
        log_density, _ = _log_density(panels, grids[0], grids[1], scale)
        matters = log_density > log_density.max((1, 2), keepdims=True) - NEGLIGIBLE
        root, weight, ends = _nodes(matters.any(2), widths[0], nodes[0])
        root_v, weight_v, ends_v = _nodes(matters.any(1), widths[1], nodes[1])
        log_density, known = _log_density(panels, root, root_v, scale)
        share = np.outer(weight, weight_v) * np.exp(log_density - log_density.max((1, 2), keepdims=True))
        share /= share.sum((1, 2), keepdims=True)
        mean, covariance = (array.reshape(len(array), -1, *array.shape[3:]) for array in (known.mean, known.covariance))
        return root, root_v, ends, ends_v, share, mean, covariance

    def predict(self, weight: Array | None = None, value: Array | None = None, heavy: str = "") -> "Prediction":
        """Return the prediction of a weighted sum of the findings; weight [P, K]: None for the only finding.

        value [P, S]: the sum at each node, if the sum is not linear and `weight` its derivative. heavy: the side, "low" or
        "high", on which u of the new hospital has the tail of Student's t with 4 degrees of freedom: hospitals that fail are
        more frequent than normal effects have them (Lee and Thompson 2008, doi:10.1002/sim.2897).
        """
        weight = np.ones((len(self.mean), 1)) if weight is None else weight
        mean = (self.mean * weight[:, None]).sum(-1) if value is None else value
        error = np.sqrt(np.einsum("pk,pskl,pl->ps", weight, self.covariance, weight))
        of_u = (self.root**2 * weight.sum(1)[:, None])[:, :, None]
        of_v = (self.root_v**2 * np.hypot.reduce(weight, 1)[:, None])[:, None]
        of_u, of_v = (np.broadcast_to(of, self.share.shape).reshape(error.shape) for of in (of_u, of_v))
        share = self.share.reshape(error.shape)
        normal = _Mixture(share, mean, np.sqrt(error**2 + of_v**2 + of_u**2))
        width = np.hypot(np.hypot(error, of_v)[..., None], of_u[..., None] * T_WIDTH).reshape(len(mean), -1)
        wide = _Mixture((share[..., None] * T_WEIGHT).reshape(width.shape), mean.repeat(len(T_WIDTH), 1), width)
        certain = _Mixture(share, mean, error)
        return Prediction(
            certain, certain.quantile(0.5), *(wide if heavy == side else normal for side in ("low", "high"))
        )

    def tau(self, *levels: float, axis: int = 0) -> Array:
        """Return quantiles [levels, P] of tau (axis 0) or tau_v (1): the polynomial through its densities is integrated exactly."""
        num = self.share.shape[1 + axis]
        node, _ = np.polynomial.legendre.leggauss(num)
        polynomial = np.polynomial.legendre.legvander(2 * FRACTION - 1, num)
        # the integral of each polynomial but the first, from the lowest value on
        integral = (polynomial[:, 2:] - polynomial[:, :-2]) / 2
        of_node = FRACTION[:, None] + integral @ np.polynomial.legendre.legvander(node, num - 1)[:, 1:].T
        rows = zip(self.share.sum(2 - axis), self.ends[axis], strict=True)
        roots = [np.interp(levels, of_node @ share, low + (high - low) * FRACTION) for share, (low, high) in rows]
        return np.reshape(roots, (-1, len(levels))).T ** 2


def _nodes(matters: NDArray[np.bool_], width: float, num: int) -> tuple[Array, Array, Array]:
    """Return Gauss-Legendre nodes [P, num] in the range of the steps that matter, their weights and the range [P, 2]."""
    if num == 1:  # there is no v
        return np.zeros((len(matters), 1)), np.ones(1), np.zeros((len(matters), 2))
    first, last = matters.argmax(1), matters.shape[1] - matters[:, ::-1].argmax(1)
    low, high = width * np.maximum(first - 1, 0), width * np.minimum(last + 1, matters.shape[1])
    node, weight = np.polynomial.legendre.leggauss(num)
    return low[:, None] + np.outer(high - low, (node + 1) / 2), weight, np.stack([low, high], 1)


def _log_density(panels: Panels, root: Array, root_v: Array, scale: float) -> tuple[Array, _Conditional]:
    """Return the log density of the square roots of tau and tau_v [P, U, V], and what is known given both."""
    known = _Conditional.of(panels, root**2, root_v**2)
    prior, prior_v = (np.log(of) - 0.5 * (of**2 / scale) ** 2 if of.shape[1] > 1 else 0 * of for of in (root, root_v))
    return known.log_likelihood + prior[:, :, None] + prior_v[:, None], known


class _Mixture(NamedTuple):
    """Mixtures of normal distributions; share, mean and error of each component [P, S]."""

    share: Array
    mean: Array
    error: Array

    def below(self, threshold: Array, variance: Array) -> Array:
        """Return the probability [P] of a value below a threshold [P]; variance [P, 1]: that of an added normal error."""
        whole = np.sqrt(self.error**2 + variance)
        return np.asarray((self.share * ndtr((threshold[:, None] - self.mean) / whole)).sum(1))

    def quantile(self, level: float) -> Array:
        """Return a quantile [P]; Newton's steps, but bisection if a step leaves the range in which the quantile must be."""
        component = self.mean + self.error * ndtri(level)
        low, high = component.min(1), component.max(1)
        at: Array = (self.share * component).sum(1)
        rows = np.arange(len(at))  # those that still move
        for _ in range(NUM_HALVINGS):
            start, (share, mean, error) = at[rows], (array[rows] for array in self)
            distance = (start[:, None] - mean) / error
            excess = (share * ndtr(distance)).sum(1) - level
            low[rows], high[rows] = np.where(excess < 0, start, low[rows]), np.where(excess < 0, high[rows], start)
            density = (share * np.exp(-0.5 * distance**2) / error).sum(1) / np.sqrt(2 * np.pi)
            next_at = start - np.divide(excess, density, out=np.full(len(rows), np.inf), where=density > 0)
            inside = (next_at > low[rows]) & (next_at < high[rows])
            at[rows] = np.where(inside, next_at, (low[rows] + high[rows]) / 2)
            rows = rows[np.abs(at[rows] - start) > PRECISION * (1 + np.abs(start))]
            if not len(rows):
                break
        return at


class Prediction(NamedTuple):
    """Distributions of the expected value at a new hospital, with its median, and of the true value there, below and above it."""

    certain: _Mixture
    middle: Array
    lower: _Mixture
    upper: _Mixture

    def below(self, threshold: Array, variance: Array | float = 0.0) -> Array:
        """Return the probability [P] that a new hospital has a value below a threshold [P].

        variance [P]: that of the error with which this value is measured; 0 for the true value.
        """
        sides = (side.below(threshold, np.reshape(variance, (-1, 1))) for side in (self.lower, self.upper))
        return np.where(threshold < self.middle, *sides)

    def numbers(self) -> tuple[Array, Array, Array, Array, Array]:
        """Return the expected value, the bounds of its interval, and those of the prediction interval, [P] each."""
        low, high = (self.certain.quantile(level) for level in (LOW, HIGH))
        return self.middle, low, high, self.lower.quantile(LOW), self.upper.quantile(HIGH)


def bayes(panels: Panels, scale: float, heavy: str = "") -> Fit:
    """Fit panels of one finding; scale: standard deviation of the normal distribution that is halved to the prior of tau."""
    known = Posterior.of(panels, scale)
    of_new = known.predict(heavy=heavy)
    tau, tau_low, tau_high = known.tau(0.5, LOW, HIGH)
    return Fit(*of_new.numbers(), tau, tau_low, tau_high, of_new.below)
