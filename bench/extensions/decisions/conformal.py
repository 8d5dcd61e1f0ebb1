"""Conformal thresholds: release, flag or defer an image, with a stated rate of errors for exchangeable patients.

An image is *released* (called negative) below one threshold, *flagged* (called positive) above another, and *deferred* to a
radiologist in between. Each threshold comes from the scores of one class only (class-conditional or Mondrian conformal
prediction: Vovk et al. 2005, doi:10.1007/b106715; Angelopoulos and Bates 2021, arXiv:2107.07511):

- release: the positive images of n patients have the scores. A positive image of a further patient is released with a
  probability of at most `level`, the stated miss rate.
- flag: the same with the negative images, from the highest score down; `level` is then the stated false positive rate.

The guarantee needs only that the n patients and the further patient are exchangeable (of the same population, in random order).
It is marginal: it holds on average over the n patients and the further patient, not for each set of n patients. Images of
one patient are alike, so patients are exchanged, not images: each patient has weight 1, which their images of the class share
(Lee, Barber and Willett 2023, arXiv:2306.06342). So the rate is for a random image of a random patient.
With fewer than 1 / level - 1 patients no threshold has the guarantee.
Shapes: n images, P patients.

>>> score = np.arange(20.0)  # of positive images, one of each patient
>>> release_threshold(score, np.arange(20), 0.05), release_threshold(score[:18], np.arange(18), 0.05)
(0.0, -inf)
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from bench.scoring.metrics import Score, require_finite

Array = NDArray[np.float64]
LEVELS = (0.05, 0.10)  # stated rates: each is the miss rate and the false positive rate of one triage
ROUNDING = 1e-9  # rounding error of sums of weights: an integer level * (P + 1) may be inexact


def release_threshold(score: Score, patient: NDArray[np.integer], level: float) -> float:
    """Return the threshold below which at most `level` of the positive images of further patients have their score.

    score [n]: scores of positive images. patient [n]: codes of their patients, from 0. -inf (no image can be released) with
    fewer than 1 / level - 1 patients. Raises ValueError for a score that is not finite.
    """
    require_finite(score, "scores")
    images_of = np.bincount(patient)
    room = level * (np.count_nonzero(images_of) + 1) - 1
    if room < -ROUNDING:
        return float("-inf")
    order = np.argsort(score, kind="stable")
    weight = np.cumsum(1 / images_of[patient[order]])
    # tied scores are below the same thresholds; the first score whose sum exceeds `room` is the lowest of its tie
    return float(score[order][np.argmax(weight > room + ROUNDING)])


def flag_threshold(score: Score, patient: NDArray[np.integer], level: float) -> float:
    """Return the threshold above which at most `level` of the negative images of further patients have their score.

    As `release_threshold`, for the scores of negative images; inf if no image can be flagged.
    """
    return -release_threshold(-score, patient, level)


def highest_by_chance(num_patients: int, level: float) -> float:
    """Return the 97.5 % quantile of the true error rate of a threshold from this number of exchangeable patients.

    The rate has a beta distribution, because the threshold is an order statistic (Vovk 2012, arXiv:1209.2673). NaN if there are too
    few patients for a threshold.

    >>> round(highest_by_chance(50, 0.1), 3), highest_by_chance(5, 0.1)
    (0.192, nan)
    """
    rank = int(np.floor(level * (num_patients + 1) + ROUNDING))
    return float(betaincinv(rank, num_patients + 1 - rank, 0.975)) if rank else float("nan")


def thresholds(
    label: NDArray[np.int8], score: Score, patient: NDArray[np.integer], levels: Sequence[float] = LEVELS
) -> Array:
    """Return the thresholds [levels, 2] of one finding: release, then flag; label [n] of 0 and 1 (others are left out)."""
    positive, negative = label == 1, label == 0
    return np.array(
        [
            (
                release_threshold(score[positive], patient[positive], level),
                flag_threshold(score[negative], patient[negative], level),
            )
            for level in levels
        ]
    )
