"""Random-effects meta-analysis: the expected value at a new hospital and its prediction interval.

A panel has one value for each hospital, with its within-hospital variance. The model of a panel:

    value = true value of the hospital + normal error,  true value ~ normal(mean, tau²)

so that tau is the standard deviation between hospitals. The prediction interval is for the true value of a hospital that was not
measured. The mean has a flat prior, tau a half-normal prior. Given tau, everything is normal, so that all posterior distributions
are mixtures over a one-dimensional quadrature of tau. Intervals have equal tails.
`benchmarks/reml.py` has the usual fit, by restricted maximum likelihood, whose intervals are too narrow.

An error that all hospitals of a panel share, such as that of the internal score in a gap, is no difference between hospitals:
`common` is its variance. It widens the intervals of the mean and of a new hospital.
Source: Röver 2020, doi:10.18637/jss.v093.i06 (half-normal prior, quadrature).
Shapes: P panels, H hospitals (NaN: the panel has no value there), S nodes of tau. All results are [P].
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Array = NDArray[np.float64]

LEVEL = 0.95
LEAST_HOSPITALS = 3  # with two hospitals, a prediction interval has no degree of freedom
# within-hospital variances below it are set to it: an error of 0 would give one hospital all weight
LEAST_VARIANCE = 1e-10
NUM_NODES = 80  # of the quadrature
NEGLIGIBLE = 25.0  # the quadrature leaves out values of tau whose log density is lower than the highest by more
WIDEST = 10.0  # the quadrature ends at this multiple of the scale of the prior
NUM_STEPS = 60  # of the grid on which a likelihood is searched for its range
NUM_HALVINGS = 60  # of a range in which a root is searched
PRECISION = 1e-10  # relative, of quantiles
NODE, QUADRATURE = np.polynomial.legendre.leggauss(NUM_NODES)
FRACTION = np.linspace(0, 1, 2001)  # of the range of the quadrature, at which the distribution of tau is computed
LOW, HIGH = (1 - LEVEL) / 2, (1 + LEVEL) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Panels:
    """Values [P, H] with their within-hospital variances [P, H] and the variance of their common error [P].

    `of` makes panels valid: a value without a finite variance does not count, and a variance is never 0. The fits need panels
    with at least LEAST_HOSPITALS values: `panels.at(panels.enough)`.
    """

    value: Array
    variance: Array
    common: Array

    @classmethod
    def of(cls, value: Array, variance: Array, common: Array | float = 0.0) -> Self:
        """Return panels; `variance` includes the common error, which is subtracted. Negative differences are clamped."""
        value, variance = np.atleast_2d(value).astype(np.float64), np.atleast_2d(variance).astype(np.float64)
        known = np.isfinite(value) & np.isfinite(variance)
        shared = np.nan_to_num(np.broadcast_to(np.asarray(common, np.float64), len(value))).clip(0)
        own = np.maximum(variance - shared[:, None], LEAST_VARIANCE)
        return cls(np.where(known, value, np.nan), np.where(known, own, np.nan), np.array(shared))

    @property
    def num_hospitals(self) -> NDArray[np.int64]:
        """Number of hospitals with a value, of each panel."""
        return np.asarray(np.isfinite(self.value).sum(1))

    @property
    def enough(self) -> NDArray[np.bool_]:
        """Mask of the panels that can be fitted."""
        return self.num_hospitals >= LEAST_HOSPITALS

    @property
    def num_clamped(self) -> NDArray[np.int64]:
        """Number of hospitals whose own variance is set to LEAST_VARIANCE, because the common error is as large as the whole error."""
        return np.asarray((self.variance <= LEAST_VARIANCE).sum(1))

    def at(self, rows: NDArray[np.bool_]) -> "Panels":
        """Return the panels in a mask."""
        return Panels(self.value[rows], self.variance[rows], self.common[rows])

    def weights(self, tau: Array) -> Array:
        """Return the weight 1 / (variance + tau²) of each value, 0 without one; tau [P, ...] gives [P, ..., H]."""
        shape = (len(self.value), *(1,) * (tau.ndim - 1), self.value.shape[1])
        return np.nan_to_num(1 / (self.variance.reshape(shape) + (tau**2)[..., None]))

    def centered(self, weight: Array) -> tuple[Array, Array]:
        """Return the weighted mean [P, ...] and the values minus this mean; weight [P, ..., H]."""
        shape = (len(self.value), *(1,) * (weight.ndim - 2), self.value.shape[1])
        value = np.nan_to_num(self.value).reshape(shape)
        mean = (weight * value).sum(-1) / weight.sum(-1)
        return mean, value - mean[..., None]


class Probability(Protocol):
    """A function that returns the probability [P] that a new hospital has a value below a threshold [P].

    `variance` [P]: that of the error with which this value is measured; 0 for the true value.
    """

    def __call__(self, threshold: Array, variance: Array | float = 0.0) -> Array:
        """Return the probability."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The result of a fit.

    mean, low, high: expected value at a new hospital and its interval. new_low, new_high: the prediction interval. tau,
    tau_low, tau_high: standard deviation between hospitals.
    """

    mean: Array
    low: Array
    high: Array
    new_low: Array
    new_high: Array
    tau: Array
    tau_low: Array
    tau_high: Array
    below: Probability


def inconsistency(panels: Panels) -> Array:
    """Compute I², the share of the variation between values that the within-hospital variances do not explain.

    Source: Higgins and Thompson 2002, doi:10.1002/sim.1186 (from Cochran's Q).
    """
    weight = panels.weights(np.zeros(len(panels.value)))
    degrees = panels.num_hospitals - 1.0
    q = (weight * panels.centered(weight)[1] ** 2).sum(1)
    return np.asarray(np.divide(q - degrees, q, out=np.zeros(len(q)), where=q > 0).clip(0))


def _log_likelihood(weight: Array, deviation: Array) -> Array:
    """Return the restricted log likelihood [P, S], up to a constant, from the result of `weights` and `centered`."""
    log_weight = np.log(np.where(weight > 0, weight, 1.0)).sum(-1)
    return np.asarray(log_weight - np.log(weight.sum(-1)) - (weight * deviation**2).sum(-1)) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Posterior distribution of tau at nodes, and of the mean given tau; all [P, S]."""

    node: Array
    share: Array  # probability of the node
    mean: Array
    error: Array  # standard deviation of the mean
    root: Array  # [P, 2]: lowest and highest square root of tau

    @classmethod
    def of(cls, panels: Panels, scale: float) -> Self:
        """Compute the posterior: first on equal steps, to find the range that matters, then at Gauss-Legendre nodes there.

        The nodes are those of the square root of tau, so that they are densest near 0.
        """
        if not panels.enough.all():
            raise ValueError(f"a panel has fewer than {LEAST_HOSPITALS} hospitals")
        step = np.sqrt(WIDEST * scale) / NUM_STEPS
        center = np.tile(step * (np.arange(NUM_STEPS) + 0.5), (len(panels.value), 1))
        log_density, _, _ = _log_density(panels, center, scale)
        matters = log_density > log_density.max(1, keepdims=True) - NEGLIGIBLE
        first, last = matters.argmax(1), NUM_STEPS - matters[:, ::-1].argmax(1)
        low, high = step * np.maximum(first - 1, 0), step * np.minimum(last + 1, NUM_STEPS)
        root = low[:, None] + np.outer(high - low, (NODE + 1) / 2)
        log_density, weight, mean = _log_density(panels, root, scale)
        share = QUADRATURE * np.exp(log_density - log_density.max(1, keepdims=True))
        error = np.sqrt(1 / weight.sum(-1) + panels.common[:, None])
        return cls(root**2, share / share.sum(1, keepdims=True), mean, error, np.stack([low, high], 1))

    def below(self, threshold: Array, variance: Array | float = 0.0) -> Array:
        """Return the probability that a new hospital has a value below a threshold; see `Fit`."""
        whole = np.sqrt(self.error**2 + self.node**2 + np.reshape(variance, (-1, 1)))
        return np.asarray((self.share * ndtr((threshold[:, None] - self.mean) / whole)).sum(1))

    def tau(self, *levels: float) -> Array:
        """Return quantiles [levels, P] of tau: the polynomial through the densities at the nodes is integrated exactly."""
        polynomial = np.polynomial.legendre.legvander(2 * FRACTION - 1, NUM_NODES)
        # the integral of each polynomial but the first, from the lowest value on
        integral = (polynomial[:, 2:] - polynomial[:, :-2]) / 2
        of_node = FRACTION[:, None] + integral @ np.polynomial.legendre.legvander(NODE, NUM_NODES - 1)[:, 1:].T
        rows = zip(self.share, self.root, strict=True)
        roots = [np.interp(levels, of_node @ share, low + (high - low) * FRACTION) for share, (low, high) in rows]
        return np.reshape(roots, (-1, len(levels))).T ** 2


def _log_density(panels: Panels, root: Array, scale: float) -> tuple[Array, Array, Array]:
    """Return the log density of the square root of tau [P, S], weights [P, S, H] and means [P, S] there."""
    weight = panels.weights(root**2)
    mean, deviation = panels.centered(weight)
    return _log_likelihood(weight, deviation) - 0.5 * (root**2 / scale) ** 2 + np.log(root), weight, mean


def bayes(panels: Panels, scale: float) -> Fit:
    """Fit with a half-normal prior on tau; scale: standard deviation of the normal distribution that is halved.

    mean is the posterior median of the mean, tau that of tau.
    """
    known = Posterior.of(panels, scale)
    new_error = np.hypot(known.error, known.node)
    middle, low, high = (_mixture_quantile(q, known.mean, known.error, known.share) for q in (0.5, LOW, HIGH))
    new_low, new_high = (_mixture_quantile(q, known.mean, new_error, known.share) for q in (LOW, HIGH))
    tau, tau_low, tau_high = known.tau(0.5, LOW, HIGH)
    return Fit(middle, low, high, new_low, new_high, tau, tau_low, tau_high, known.below)


def _mixture_quantile(level: float, mean: Array, error: Array, share: Array) -> Array:
    """Return a quantile [P] of mixtures of normal distributions; mean, error and share [P, S].

    Newton's steps; a step that leaves the range in which the quantile must be is replaced by bisection.
    """
    component = mean + error * ndtri(level)
    low, high = component.min(1), component.max(1)
    at: Array = (share * component).sum(1)
    rows = np.arange(len(at))  # those that still move
    for _ in range(NUM_HALVINGS):
        start, weight, spread = at[rows], share[rows], error[rows]
        distance = (start[:, None] - mean[rows]) / spread
        excess = (weight * ndtr(distance)).sum(1) - level
        low[rows], high[rows] = np.where(excess < 0, start, low[rows]), np.where(excess < 0, high[rows], start)
        density = (weight * np.exp(-0.5 * distance**2) / spread).sum(1) / np.sqrt(2 * np.pi)
        next_at = start - np.divide(excess, density, out=np.full(len(rows), np.inf), where=density > 0)
        inside = (next_at > low[rows]) & (next_at < high[rows])
        at[rows] = np.where(inside, next_at, (low[rows] + high[rows]) / 2)
        rows = rows[np.abs(at[rows] - start) > PRECISION * (1 + np.abs(start))]
        if not len(rows):
            break
    return at
