"""Random-effects meta-analysis by restricted maximum likelihood: the usual fit, with which `bayes` of the extension is compared.

The mean has the interval of Hartung, Knapp, Sidik and Jonkman (t quantile with H - 1 degrees of freedom), the prediction interval
has a t quantile with H - 2 degrees (Higgins, Thompson and Spiegelhalter 2009). The interval of tau is the Q-profile interval.
Sources: Viechtbauer 2005, doi:10.3102/10769986030003261 (REML); Viechtbauer 2007, doi:10.1002/sim.2514 (Q-profile); IntHout et
al. 2014, doi:10.1186/1471-2288-14-25 (HKSJ); Higgins et al. 2009, doi:10.1111/j.1467-985X.2008.00552.x (prediction interval).
Shapes: P panels, H hospitals (NaN: the panel has no value there), S variances.
"""

import numpy as np
from scipy.special import chdtri, stdtr, stdtrit

from bench.extensions.next_hospital.random_effects import (
    HIGH,
    LEAST_HOSPITALS,
    LEAST_VARIANCE,
    LOW,
    NUM_HALVINGS,
    NUM_STEPS,
    Array,
    Fit,
    Panels,
)

BEYOND = 1e300  # standard errors; a finite stand-in for infinity


def reml(panels: Panels) -> Fit:
    """Fit by restricted maximum likelihood, with the intervals of HKSJ and of Higgins."""
    if not panels.enough.all():
        raise ValueError(f"a panel has fewer than {LEAST_HOSPITALS} hospitals")
    num = panels.num_hospitals
    tau = np.sqrt(_reml_variance(panels))
    weight = panels.weights(tau)
    mean, deviation = panels.centered(weight)
    error = np.sqrt((weight * deviation**2).sum(1) / (num - 1) / weight.sum(1) + panels.common)
    new_error = np.hypot(tau, error)
    half, new_half = error * stdtrit(num - 1, HIGH), new_error * stdtrit(num - 2, HIGH)

    def below(threshold: Array, variance: Array | float = 0.0) -> Array:
        distance, whole = threshold - mean, np.sqrt(new_error**2 + variance)
        # if tau and the error are 0, the new hospital has the mean
        ratio = np.divide(distance, whole, out=np.sign(distance) * BEYOND, where=whole > 0)
        return np.asarray(stdtr(num - 2, ratio))

    return Fit(mean, mean - half, mean + half, mean - new_half, mean + new_half, tau, *_q_profile(panels), below)


def _reml_variance(panels: Panels) -> Array:
    """Return tau² with the largest restricted likelihood: the best of a grid, made exact by bisection."""
    # the estimate is below the squared range of the values: even two values have a smaller variance
    known = np.isfinite(panels.value)
    largest = np.where(known, panels.value, -np.inf).max(1) - np.where(known, panels.value, np.inf).min(1)
    share = np.concatenate([[0.0], np.geomspace(1e-8, 1.0, NUM_STEPS)])
    grid = largest[:, None] ** 2 * share
    best = _restricted_likelihood(panels, grid).argmax(1)
    rows = np.arange(len(grid))
    low, high = grid[rows, np.maximum(best - 1, 0)], grid[rows, np.minimum(best + 1, len(share) - 1)]
    for _ in range(NUM_HALVINGS):
        middle = (low + high) / 2
        rises = _slope(panels, middle) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    at_zero = (best == 0) & (_slope(panels, np.zeros(len(grid))) <= 0)
    return np.where(at_zero, 0.0, (low + high) / 2)


def _restricted_likelihood(panels: Panels, variance: Array) -> Array:
    """Return the restricted log likelihood [P, S], up to a constant, at each variance between hospitals [P, S]."""
    weight = panels.weights(np.sqrt(variance))
    log_weight = np.log(np.where(weight > 0, weight, 1.0)).sum(-1)
    return np.asarray(log_weight - np.log(weight.sum(-1)) - (weight * panels.centered(weight)[1] ** 2).sum(-1)) / 2


def _slope(panels: Panels, variance: Array) -> Array:
    """Return twice the derivative of the restricted log likelihood by the variance between hospitals [P]."""
    weight = panels.weights(np.sqrt(variance))
    deviation = panels.centered(weight)[1]
    return np.asarray((weight**2 * deviation**2).sum(1) - weight.sum(1) + (weight**2).sum(1) / weight.sum(1))


def _q_profile(panels: Panels) -> tuple[Array, Array]:
    """Return the Q-profile interval of tau: the generalized Q statistic of each bound is a quantile of chi squared."""
    degrees = panels.num_hospitals - 1.0

    def q(variance: Array) -> Array:
        weight = panels.weights(np.sqrt(variance))
        return np.asarray((weight * panels.centered(weight)[1] ** 2).sum(1))

    bounds = []
    for share in (HIGH, LOW):  # the largest Q belongs to the lower bound
        goal = chdtri(degrees, 1 - share)
        low, high = np.zeros(len(degrees)), np.full(len(degrees), LEAST_VARIANCE)
        for _ in range(NUM_HALVINGS):
            high = np.where(q(high) > goal, high * 4, high)
        for _ in range(NUM_HALVINGS + 40):
            middle = (low + high) / 2
            above = q(middle) > goal
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        bounds.append(np.where(q(np.zeros(len(degrees))) > goal, np.sqrt((low + high) / 2), 0.0))
    return bounds[0], bounds[1]
