"""`Column`: the images of one finding in the order of decreasing score, sorted once for all metrics.

A cut is a number of images: the images before the cut are those with the highest scores, such as all positive calls.
Shapes: N images, n labeled images, Q cuts.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring import influence
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Rows = NDArray[np.intp]


def falling(score: NDArray[np.floating]) -> Rows:
    """Return the indices [N] of all rows from the highest score to the lowest; equal scores keep their order."""
    return np.argsort(-score, kind="stable")


def labeled_rows(label: NDArray[np.integer]) -> Rows:
    """Return the indices [n] of the rows whose label is 0 or 1."""
    return np.flatnonzero((label == 0) | (label == 1))


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The labeled images of one finding, sorted by decreasing score; all arrays are [n]."""

    rows: Rows  # index of each image in the split
    patient: NDArray[np.int32]
    score: NDArray[np.floating]
    positive: NDArray[np.bool_]
    last: NDArray[np.bool_]  # whether the next image has a lower score

    @classmethod
    def of(cls, patient: NDArray[np.int32], label: NDArray[np.int8], score: NDArray[np.floating]) -> Self:
        """Return the images whose label is 0 or 1, sorted by decreasing score; equal scores keep their order.

        Raises ValueError if the score of one of these images is not finite.
        """
        rows = labeled_rows(label)
        require_finite(score[rows], "scores")
        rows = rows[falling(score[rows])]
        return cls(rows, patient[rows], score[rows], label[rows] == 1, _last(score[rows]))

    def within(self, kept: NDArray[np.bool_] | Rows) -> "Column":
        """Return the column with only the images in the mask [n], or with these rising indices."""
        score = self.score[kept]
        return Column(self.rows[kept], self.patient[kept], score, self.positive[kept], _last(score))

    def auroc(self, weight: Array | None = None) -> tuple[float, Array]:
        """Compute the AUROC and the influence of each image on it [n]; see `influence.auroc`."""
        return influence.auroc(self.positive, self.last, weight)

    def average_precision(self, weight: Array | None = None) -> tuple[float, Array]:
        """Compute the AUPRC and the influence of each image on it [n]; see `influence.average_precision`."""
        return influence.average_precision(self.positive, self.last, weight)

    def reaching(self, threshold: Any) -> NDArray[np.int64]:
        """Count for each threshold [Q] the images with score >= threshold, which are the first images of the column; NaN: 0."""
        limits = np.asarray(threshold, np.float64)
        reached = np.searchsorted(-self.score.astype(np.float64), -limits, side="right")
        return np.where(np.isnan(limits), 0, reached).astype(np.int64)

    def counted(self, cut_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count negatives and positives [Q, 2] among the first images, for each number of images in cut_Q."""
        positives = np.append(0, np.cumsum(self.positive, dtype=np.int64))[cut_Q]
        return np.stack([cut_Q - positives, positives], 1)


def _last(score: NDArray[np.floating]) -> NDArray[np.bool_]:
    last = np.ones(len(score), bool)
    last[:-1] = score[1:] != score[:-1]
    return last
