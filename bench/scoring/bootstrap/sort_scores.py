"""Functions that sort images from the highest score to the lowest.

Shapes: N images (rows), n images with a label of 0 or 1.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.metrics import require_finite

Rows = NDArray[np.intp]


def labeled_rows(label: NDArray[np.integer]) -> Rows:
    """Return the indices [n] of the rows whose label is 0 or 1."""
    return np.flatnonzero((label == 0) | (label == 1))


def labeled_falling(label: NDArray[np.int8], score: NDArray[np.floating]) -> Rows:
    """Return the indices [n] of the rows whose label is 0 or 1, from the highest score to the lowest.

    Equal scores keep their order. Raises ValueError if the score of a labeled row is not finite.
    """
    labeled = labeled_rows(label)
    require_finite(score[labeled], "scores")
    return labeled[np.argsort(-score[labeled], kind="stable")]


def falling(score: NDArray[np.floating]) -> Rows:
    """Return the indices [N] of all rows from the highest score to the lowest; equal scores keep their order."""
    return np.argsort(-score, kind="stable")


@compiled
def area(label: NDArray[np.int8], score: NDArray[np.floating]) -> float:
    """Compute the AUROC of images [N] sorted by falling score. Labels other than 0 and 1 are ignored.

    AUROC is NaN if a class is absent.
    """
    negatives, positives, tied_positives, tied_negatives, twice_discordant = 0, 0, 0, 0, 0
    for i in range(label.shape[0]):
        if label[i] == 1:
            tied_positives += 1
        elif label[i] == 0:
            tied_negatives += 1
        if i + 1 == label.shape[0] or score[i] != score[i + 1]:
            twice_discordant += tied_positives * (2 * negatives + tied_negatives)
            positives += tied_positives
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    twice_pairs = 2 * positives * negatives
    return (twice_pairs - twice_discordant) / twice_pairs if twice_pairs else np.nan
