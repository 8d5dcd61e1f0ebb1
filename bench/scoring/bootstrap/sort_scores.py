"""Rows by falling score: images are sorted once, and everything that ranks, cuts or calls reads them in that order."""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.metrics import require_finite

Rows = NDArray[np.intp]


def labeled_rows(label: NDArray[np.integer]) -> Rows:
    """Return the rows [n] whose label is 0 or 1."""
    return np.flatnonzero((label == 0) | (label == 1))


def known_falling(label: NDArray[np.int8], score: NDArray[np.floating]) -> Rows:
    """Return the rows whose label is 0 or 1 from the highest score to the lowest, equal ones in their own order.

    Raises ValueError for a score of these that is not finite.
    """
    every = labeled_rows(label)
    require_finite(score[every], "scores")
    return every[np.argsort(-score[every], kind="stable")]


def falling(score: NDArray[np.floating]) -> Rows:
    """Return the rows [N] from the highest score to the lowest, equal ones in their own order."""
    return np.argsort(-score, kind="stable")


@compiled
def area(label: NDArray[np.int8], score: NDArray[np.floating]) -> float:
    """Return the AUROC of images along falling scores [n], whose labels are 0, 1 or neither; NaN without both classes."""
    negatives, positives, tied_positives, tied_negatives, twice = 0, 0, 0, 0, 0
    for i in range(label.shape[0]):
        if label[i] == 1:
            tied_positives += 1
        elif label[i] == 0:
            tied_negatives += 1
        if i + 1 == label.shape[0] or score[i] != score[i + 1]:
            twice += tied_positives * (2 * negatives + tied_negatives)
            positives += tied_positives
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    pairs = 2 * positives * negatives
    return (pairs - twice) / pairs if pairs else np.nan
