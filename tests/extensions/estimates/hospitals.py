"""Inputs of the tests of estimators: images of one hospital with a known truth, and hospitals with labels.

Shapes: N images, R runs, K findings, H hospitals.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from bench.extensions.estimates.known_values import KnownValues
from bench.extensions.estimates.quantities import InternalFinding
from bench.scoring.calibrators import Platt, fit_platt

Array = NDArray[np.float64]


def calibrated(num: int, seed: int = 0, offset: float = -0.5) -> tuple[NDArray[np.int8], Array]:
    """Return labels and logits [N] whose sigmoid is the probability of the label."""
    draw = np.random.default_rng(seed)
    logit = draw.normal(offset, 1.5, num)
    return (draw.random(num) < expit(logit)).astype(np.int8), logit


def shifted(num: int, share: float, seed: int = 0, distance: float = 1.5) -> tuple[NDArray[np.int8], Array]:
    """Return labels and logits [N] of two normal densities; only the share of positive images differs between calls."""
    draw = np.random.default_rng(seed)
    label = (draw.random(num) < share).astype(np.int8)
    return label, draw.normal(distance * (label - 0.5), 1.0)


def internal(
    label: NDArray[np.int8], logit: Array, threshold: float = 0.0, platt: Platt | None = None, bins: int = 15
) -> InternalFinding:
    """Return what an estimator knows at internal; the calibrator is fitted to the images unless it is given."""
    return InternalFinding(label, logit, threshold, platt or fit_platt(label, logit), bins)


def known(
    num_hospitals: int = 6,
    num_runs: int = 4,
    num_findings: int = 3,
    seed: int = 0,
    told: float = 1.0,
    noise: float = 0.0,
) -> KnownValues:
    """Return hospitals whose scores fall by different amounts.

    told: how much of these amounts the estimator "cbpe" sees; 0: its estimates are noise. noise: standard deviation of
    the true scores around the sum of internal score and fall.
    """
    draw = np.random.default_rng(seed)
    inside = draw.uniform(0.8, 0.9, (num_runs, num_findings))
    fall = draw.uniform(0.0, 0.2, (num_hospitals, 1, num_findings))
    truth = inside - fall + noise * draw.normal(size=(num_hospitals, num_runs, num_findings))
    seen = 0.95 - told * fall + (1 - told) * draw.uniform(-0.1, 0.1, fall.shape)
    return KnownValues(inside, truth, {"cbpe": np.broadcast_to(seen, truth.shape).copy()})
