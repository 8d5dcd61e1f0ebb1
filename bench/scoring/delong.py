"""Analytic variance of AUROC (DeLong, Obuchowski), as a check of other intervals.

DeLong's variance assumes independent images, so its intervals are too narrow if patients have several images.
Obuchowski's variance first sums over the images of each patient. The two variances are equal if every patient has one
image.
Shapes: N images, S columns of scores, one for each run. label [N] of 0 and 1, score [N, S], patient [N] codes from 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, ndtr, ndtri

from bench.scoring.column import Column
from bench.scoring.influence import LEVEL
from bench.scoring.metrics import Label, Score, require_finite

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
        difference = abs(float(step @ self.value[:2]))
        variance = float(step @ self.covariance[:2, :2] @ step)
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
    positive, no_patients = label == 1, np.zeros(len(label), np.int32)
    value, placement = np.empty(score.shape[1]), np.empty(score.shape)
    for s, of_run in enumerate(score.T):
        column = Column.of(no_patients, positive.astype(np.int8), of_run)
        value[s], placement[column.rows, s] = _placements(column)
    return _of_placements(positive, value, placement, patient)


def of_column(column: Column) -> tuple[Areas, Areas]:
    """Return the AUROC of one finding twice: first with DeLong's variance, then with Obuchowski's variance."""
    value, placement = _placements(column)
    of_finding = column.positive, np.array([value]), placement[:, None]
    return _of_placements(*of_finding, None), _of_placements(*of_finding, column.patient)


def _placements(column: Column) -> tuple[float, Array]:
    """Return the AUROC and the placement of each image [n]: the share of the images of the other class on its right side.

    That is below a positive image, and above a negative image; ties count half.
    """
    value, influence = column.auroc()
    return value, value + influence * np.where(column.positive, column.positive.sum(), (~column.positive).sum())


def _of_placements(
    positive: NDArray[np.bool_], value: Array, placement: Array, patient: NDArray[np.integer] | None
) -> Areas:
    """Compute the covariance of AUROCs [S] (Obuchowski's if `patient` is given, otherwise DeLong's) from placements [N, S]."""
    unknown = Areas(value, np.full((len(value), len(value)), np.nan))
    if np.isnan(value).any():
        return unknown
    codes = np.arange(len(positive)) if patient is None else patient
    num = int(codes.max()) + 1
    has_class = [np.bincount(codes[of], minlength=num) > 0 for of in (positive, ~positive)]
    num_with_positive, num_with_negative = (has.sum() for has in has_class)
    if min(num_with_positive, num_with_negative) < 2:
        return unknown
    of_positives, of_negatives = (_totals(codes[of], placement[of] - value, num) for of in (positive, ~positive))
    num_patients = (has_class[0] | has_class[1]).sum()
    within_positives = num_with_positive / (num_with_positive - 1) * _products(of_positives, of_positives)
    within_negatives = num_with_negative / (num_with_negative - 1) * _products(of_negatives, of_negatives)
    cross = num_patients / (num_patients - 1) * _products(of_positives, of_negatives)
    num_positive, num_negative = positive.sum(), (~positive).sum()
    # with independent images, positives and negatives are independent, so they have no shared variance
    shared = (cross + cross.T) / (num_positive * num_negative) if patient is not None else 0.0
    return Areas(value, within_positives / num_positive**2 + within_negatives / num_negative**2 + shared)


def _products(first: Array, second: Array) -> Array:
    """Compute the matrix product first.T @ second without a matrix library, which would start threads."""
    return np.array([[np.einsum("i,i", column, other_column) for other_column in second.T] for column in first.T])


def _totals(codes: NDArray[np.integer], value: Array, num: int) -> Array:
    """Compute the sum of `value` [n, S] over the images of each of `num` patients: [num, S]; codes [n]: patients."""
    return np.stack([np.bincount(codes, column, minlength=num) for column in value.T], axis=1)
