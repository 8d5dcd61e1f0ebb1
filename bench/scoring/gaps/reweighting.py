"""Weights that give the images of one hospital the prevalence or the case mix of another hospital.

A cell is one combination of sex, age decade and view. A group has the images of one cell with one label: groups with an
even index are negative, groups with an odd index positive.
Shapes: G groups, B replicates.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
MOST = 10.0  # largest allowed ratio of a cell's internal share to its external share


def prevalence_factor(internal: Array, external: Array) -> Array:
    """Compute weights of the groups, [G] or [G, B], that give the external images the internal prevalence.

    internal and external are the numbers of images of each group, [G] or [G, B]; groups with an even index are
    negative, groups with an odd index positive. The weights of all images sum to 1.
    Source: Storkey 2009, Dataset Shift in Machine Learning, prior shift.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        with np.errstate(divide="ignore", invalid="ignore"):
            out[sign::2] = internal[sign::2].sum(0) / internal.sum(0) / external[sign::2].sum(0)
    return out


def case_mix_factor(internal: Array, external: Array) -> Array:
    """Compute weights of the groups, [G] or [G, B], that give the external images the internal prevalence and case mix.

    internal and external are the numbers of images of each group, [G] or [G, B]: group 2 c has the negative images of
    cell c (a combination of sex, age decade and view), group 2 c + 1 the positive images. Among positives and among
    negatives, each cell gets its internal share. The ratio of a cell's internal share to its external share is limited
    to 10.
    Internal cells without external images cannot be matched. External cells without internal images get the weight 0.
    The weights of all images sum to 1.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        inside, outside = internal[sign::2], external[sign::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(outside > 0, (inside / inside.sum(0)) / (outside / outside.sum(0)), 0.0)
            ratio = np.minimum(ratio, MOST)
            out[sign::2] = inside.sum(0) / internal.sum(0) * ratio / (outside * ratio).sum(0)
    return out


def effective_numbers(factor: Array, total: Array) -> tuple[float, float]:
    """Compute the effective numbers of positives and of negatives if the images of each group have the weight in factor [G].

    The effective number of weighted images is the number of equally weighted images with the same precision. total [G]:
    number of images of each group.
    Source: Kish 1965, Survey Sampling: (sum of weights)^2 / sum of squared weights.
    """
    numbers = []
    for sign in (1, 0):
        weight, count = factor[sign::2], total[sign::2]
        squares = float((count * weight**2).sum())
        numbers.append(float((count * weight).sum()) ** 2 / squares if squares > 0 else 0.0)
    return numbers[0], numbers[1]
