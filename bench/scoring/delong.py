"""Analytic variance of AUROC (DeLong, Obuchowski), as a check of other intervals.

DeLong's variance assumes independent images, so its intervals are too narrow if patients have several images.
Obuchowski's variance first sums over the images of each patient. The two variances are equal if every patient has one
image.
Shapes: N images, S columns of scores, one for each run. label [N] of 0 and 1, score [N, S], patient [N] codes from 0.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from bench.scoring.column import Column
from bench.scoring.influence import LEVEL
from bench.scoring.metrics import Label, Score, average_ranks, require_finite

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Areas:
    """AUROC [S] with covariance [S, S].

    AUROC is NaN when a class is absent. DeLong's covariance is NaN with fewer than two images of a class, Obuchowski's
    covariance with fewer than two patients with images of a class.
    """

    value: Array
    covariance: Array

    def interval(self) -> tuple[Array, Array]:
        """Compute the bounds of each AUROC's 95 % interval, with a normal distribution on the logit scale.

        The delta method converts the standard error to the logit scale. The bounds are NaN for an AUROC of 0 or 1,
        which has no logit.
        Source: Pepe 2003, The Statistical Evaluation of Medical Tests, equation 5.10.
        """
        slope = self.value * (1 - self.value)  # derivative of the area with respect to its logit
        half = np.full(self.value.shape, np.nan)
        error = float(ndtri((1 + LEVEL) / 2)) * np.sqrt(np.diag(self.covariance))
        np.divide(error, slope, out=half, where=slope > 0)
        logit_value = logit(np.where(slope > 0, self.value, np.nan))
        return expit(logit_value - half), expit(logit_value + half)

    def p_of_difference(self) -> float:
        """Compute the two-sided p value of the difference between the first AUROC and the second AUROC.

        If the variance of the difference is 0, p is 1 for equal AUROCs and 0 for different AUROCs. If the variance is
        NaN, p is NaN.
        """
        step = np.array([1.0, -1.0])
        difference, variance = abs(float(step @ self.value[:2])), float(step @ self.covariance[:2, :2] @ step)
        if np.isnan(variance):
            return float("nan")
        if variance <= 1e-15:
            return 1.0 if difference <= 1e-12 else 0.0
        return float(2 * ndtr(-difference / np.sqrt(variance)))


def areas(label: Label, score: Score, patient: NDArray[np.integer] | None = None) -> Areas:
    """Compute AUROCs with their covariance: Obuchowski's if `patient` is given, otherwise DeLong's.

    The time is O(S N log N), because the images are ranked instead of compared in pairs.
    Source: DeLong et al., Biometrics 44 (1988) 837; Sun and Xu 2014 (ranks), doi:10.1109/LSP.2014.2337313; Obuchowski,
    Biometrics 53 (1997) 567, equations 3 to 5.

    >>> result = areas(np.array([0, 1, 0, 1]), np.array([[0.1], [0.4], [0.35], [0.3]]))
    >>> result.value.item(), result.covariance.item()
    (0.75, 0.125)
    """
    require_finite(score, "scores")
    positive = label == 1
    num_positive, num_scores = int(positive.sum()), score.shape[1]
    num_negative = len(label) - num_positive
    if not num_positive or not num_negative:
        return Areas(np.full(num_scores, np.nan), np.full((num_scores, num_scores), np.nan))
    return of_placements(positive, *_placements(positive, score), patient)


def influence(label: Label, score: Score) -> tuple[float, Array]:
    """Compute the AUROC of scores [N] and the influence of each image on it [N].

    The influence is the change of the AUROC, to first order, that the image causes; the sum over all images is 0. The
    sum of the squared influences of the patients (each the sum over the patient's images) is the variance of the AUROC,
    up to the factors n / (n - 1) of Obuchowski's variance. Both results are NaN when a class is absent.

    >>> area, change = influence(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.35, 0.3]))
    >>> area, change.tolist()
    (0.75, [0.125, 0.125, -0.125, -0.125])
    """
    column = Column.of(np.zeros(len(label), np.int32), (label == 1).astype(np.int8), score)
    area, sorted_influence = column.auroc()
    of_image = np.empty(len(label))
    of_image[column.rows] = sorted_influence
    return area, of_image


def of_placements(
    positive: NDArray[np.bool_],
    below_positives: Array,
    above_negatives: Array,
    patient: NDArray[np.integer] | None = None,
) -> Areas:
    """Compute AUROCs with their covariance (Obuchowski's if `patient` is given, otherwise DeLong's) from placements.

    The placement of an image compares its score with all images of the other class; ties count half. positive [N]: True
    if the label is 1.
    below_positives [num_positive, S]: for each positive image, the share of negative images with a lower score.
    above_negatives [num_negative, S]: for each negative image, the share of positive images with a higher score.
    """
    num_positive, num_scores = below_positives.shape
    num_negative = len(above_negatives)
    value = below_positives.mean(0)
    codes = np.arange(len(positive)) if patient is None else patient
    num = int(codes.max()) + 1
    with_positive, with_negative = (
        np.bincount(codes[in_class], minlength=num) > 0 for in_class in (positive, ~positive)
    )
    if min(with_positive.sum(), with_negative.sum()) < 2:
        return Areas(value, np.full((num_scores, num_scores), np.nan))
    of_positives = _totals(codes[positive], below_positives - value, num)
    of_negatives = _totals(codes[~positive], above_negatives - value, num)
    within_positives, within_negatives, cross = (
        has_class.sum() / (has_class.sum() - 1) * _products(first, second)
        for has_class, first, second in (
            (with_positive, of_positives, of_positives),
            (with_negative, of_negatives, of_negatives),
            (with_positive | with_negative, of_positives, of_negatives),
        )
    )
    pairs = num_positive * num_negative
    # with independent images, positives and negatives are independent, so they have no shared variance
    shared = (cross + cross.T) / pairs if patient is not None else 0.0
    return Areas(value, within_positives / num_positive**2 + within_negatives / num_negative**2 + shared)


def of_column(column: Column) -> tuple[Areas, Areas]:
    """Return the AUROC of one finding twice: first with DeLong's variance, then with Obuchowski's variance."""
    value, of_image = column.auroc()
    if np.isnan(value):
        unknown = Areas(np.full(1, np.nan), np.full((1, 1), np.nan))
        return unknown, unknown
    positive = column.positive
    size = np.where(positive, positive.sum(), (~positive).sum())
    placement = (value + of_image * size)[:, None]
    of_classes = positive, placement[positive], placement[~positive]
    over_images, over_patients = (
        replace(of_placements(*of_classes, patient), value=np.array([value])) for patient in (None, column.patient)
    )
    return over_images, over_patients


def _products(first: Array, second: Array) -> Array:
    """Compute the matrix product first.T @ second without a matrix library, which would start threads."""
    return np.array([[np.einsum("i,i", column, other_column) for other_column in second.T] for column in first.T])


def _placements(positive: NDArray[np.bool_], score: Score) -> tuple[Array, Array]:
    """Compute the placements [num_positive, S] of the positive images and [num_negative, S] of the negative images.

    The placement of a positive image is the share of negative images with a lower score. The placement of a negative
    image is the share of positive images with a higher score. Ties count half.
    """
    num_positive = int(positive.sum())
    num_negative = len(positive) - num_positive
    rank = average_ranks(score)
    below_positives = (rank[positive] - average_ranks(score[positive])) / num_negative
    above_negatives = 1 - (rank[~positive] - average_ranks(score[~positive])) / num_positive
    return below_positives, above_negatives


def _totals(codes: NDArray[np.integer], value: Array, num: int) -> Array:
    """Compute the sum of `value` [n, S] over the images of each of `num` patients: [num, S]; codes [n]: patients."""
    return np.stack([np.bincount(codes, column, minlength=num) for column in value.T], axis=1)
