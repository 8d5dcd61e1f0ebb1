"""Weights that make the images of one hospital like those of another: in how many have the finding, and in who they are.

Shapes: G groups (cell x label: even groups are negatives, odd ones positives), each function also takes [G, B].
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST = 10.0  # times the average weight


def prevalence_factor(internal: Array, external: Array) -> Array:
    """Return the weight of each group [G, ...] that gives the external images the prevalence at the internal hospital; all weights sum to 1.

    internal and external count the images of each group. Source: Storkey 2009, Dataset Shift in Machine Learning, prior shift.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        with np.errstate(divide="ignore", invalid="ignore"):
            out[sign::2] = internal[sign::2].sum(0) / internal.sum(0) / external[sign::2].sum(0)
    return out


def case_mix_factor(internal: Array, external: Array) -> Array:
    """Return the weight of each group [G, ...] that gives each external label the cells it has at the internal hospital, and the internal prevalence.

    The ratio of the two shares of a cell is held at 10; a cell that is nowhere externally cannot be made up for, and one that
    is nowhere at the internal hospital weighs 0. All weights sum to 1.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        ours, theirs = internal[sign::2], external[sign::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(theirs > 0, (ours / ours.sum(0)) / (theirs / theirs.sum(0)), 0.0)
            ratio = np.minimum(ratio, MOST)
            out[sign::2] = ours.sum(0) / internal.sum(0) * ratio / (theirs * ratio).sum(0)
    return out


def effective_numbers(factor: Array, total: Array) -> tuple[float, float]:
    """Return the effective number of positives and of negatives under the weights.

    Source: Kish 1965, Survey Sampling: (sum of weights)^2 / sum of squared weights.
    """
    found = []
    for sign in (1, 0):
        weight, count = factor[sign::2], total[sign::2]
        squares = float((count * weight**2).sum())
        found.append(float((count * weight).sum()) ** 2 / squares if squares > 0 else 0.0)
    return found[0], found[1]
