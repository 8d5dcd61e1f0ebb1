"""Calibration errors: distances between predicted probabilities and observed frequencies.

Shapes: N or n images, P patients, G bins; label [N] of 0 and 1, prob [N] in [0, 1]. prob is the probability that the
finding is present, not the probability of the more likely class. Every error is NaN without images. A NaN or infinite
probability raises ValueError.
"""

import math
from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from bench.scoring.influence import error_of
from bench.scoring.intervals import EQUAL
from bench.scoring.metrics import Label, Score, require_finite

Array = NDArray[np.float64]

FEWEST = 5  # patients in each bin of an ACE with an interval
LEAST = 1e-7  # probabilities are clipped to [LEAST, 1 - LEAST] before a logarithm


def bin_of(prob: Score, bins: int = 15) -> NDArray[np.int32]:
    """Return the index [N] of each probability's equal-width bin; indices start at 0.

    A probability on an edge belongs to the bin above the edge, as in netcal.
    """
    found = np.searchsorted(np.linspace(0.0, 1.0, bins + 1), np.asarray(prob, np.float64), side="right") - 1
    return np.clip(found, 0, bins - 1).astype(np.int32)


def ece(outcome: Array | NDArray[np.integer[Any]], prob: Score, bins: int = 15) -> float:
    """Compute the ECE of probabilities [N] with equal-width bins; NaN without images.

    outcome [N]: labels of 0 and 1, or the probability that the label is 1, which gives an expected ECE. With labels, it is
    equal to the ECE of the package netcal.
    """
    excess = np.bincount(bin_of(prob, bins), outcome - prob, minlength=bins)
    return float(np.abs(excess).sum() / len(prob)) if len(prob) else float("nan")


def equal_mass_bin_of(prob: Score, bins: int = 15) -> NDArray[np.int32]:
    """Compute the index [N] of each probability's equal-mass bin; indices start at 0.

    The index is G x (number of images with a lower probability) / N, rounded down. Equal probabilities share a bin. So
    the bins do not depend on the order of the images, and an increasing transform of the probabilities leaves the bins
    unchanged. Without ties, bin sizes differ by at most 1.
    """
    value = np.asarray(prob, np.float64)
    lower = np.searchsorted(np.sort(value), value, side="left")
    return (lower * bins // max(len(value), 1)).astype(np.int32)


class BinnedProbabilities(NamedTuple):
    """Probabilities of images [n] with their equal-width bins."""

    prob: Array
    bin: NDArray[np.int32]
    fitted: bool  # False if all probabilities are NaN, because the calibrator could not be fitted

    @classmethod
    def of(cls, prob: Array, bins: int) -> Self:
        """Assign each probability to one of `bins` equal-width bins."""
        return cls(prob, bin_of(prob, bins), not bool(np.isnan(prob).any()))


def log_likelihood(positive: NDArray[np.bool_], prob: Array) -> Array:
    """Compute the log likelihood [N] of the labels, with probabilities clipped to [1e-7, 1 - 1e-7]."""
    clipped = np.clip(prob, LEAST, 1 - LEAST)
    return np.log(np.where(positive, clipped, 1 - clipped))


ERRORS = ("brier", "ece", "mce", "ace", "nll", "brier_reliability", "brier_resolution", "brier_uncertainty")
# Errors that sampling noise makes larger: they add absolute or squared differences, in which noise does not cancel out.
BIASED = ("ece", "mce", "ace", "brier_reliability", "brier_resolution")
NUM_DRAWS = 200  # number of draws of normal numbers for the excess of the mce


class _Bins(NamedTuple):
    """The bins [G] of images."""

    images: NDArray[np.int64]  # [P, G]: images of each patient
    sums: Array  # [P, G]: sums of label - probability
    num: Array  # images
    excess: Array  # sum of label - probability
    rate: Array  # its mean; 0 without images
    deviation: Array  # standard error of `excess` over patients
    of_rate: Array  # [P, G]: influence of each patient on `rate`; 0 without images

    @classmethod
    def of(
        cls, index: NDArray[np.int32], excess: Array, bins: int, group: NDArray[np.integer], num_groups: int
    ) -> Self:
        cell = np.asarray(group, np.int64) * bins + index
        images = np.bincount(cell, minlength=num_groups * bins).reshape(-1, bins)
        sums = np.bincount(cell, excess, num_groups * bins).reshape(-1, bins).astype(np.float64, copy=False)
        num, total = images.sum(0).astype(np.float64), np.bincount(index, excess, bins).astype(np.float64, copy=False)
        used = np.maximum(num, 1)
        rate = total / used
        return cls(images, sums, num, total, rate, error_of(sums.T), (sums - rate * images) / used)

    @property
    def error(self) -> Array:
        """Return the standard errors of `rate`."""
        return error_of(self.of_rate.T)


def _folded(mean: Array, deviation: Array) -> Array:
    """Return the mean of the absolute values of normal numbers."""
    z = np.divide(mean, deviation, out=np.full(mean.shape, np.inf), where=deviation > 0)
    return np.asarray(
        deviation * math.sqrt(2 / math.pi) * np.exp(-(z**2) / 2) + np.abs(mean) * (1 - 2 * ndtr(-np.abs(z)))
    )


def _sign(rate: Array) -> Array:
    """Return the signs of mean excesses; 0 for a mean that is 0 up to rounding, so that the order of the images changes nothing."""
    return np.asarray(np.sign(np.where(np.abs(rate) > EQUAL, rate, 0.0)))


@cache
def _normal(bins: int) -> Array:
    return np.asarray(np.random.default_rng(0).standard_normal((NUM_DRAWS, bins)))


def weighted_ece(
    positive: NDArray[np.bool_],
    prob: BinnedProbabilities,
    weight: Array,
    bins: int,
    group: NDArray[np.integer],
    num_groups: int,
) -> tuple[float, Array, float]:
    """Compute the ECE of images [n] whose weights sum to 1, its derivative with respect to each weight [n], and its excess."""
    excess = positive - prob.prob
    of = _Bins.of(prob.bin, weight * excess, bins, group, num_groups)
    distance = np.abs(of.excess)
    added = (_folded(of.excess, of.deviation) - distance).sum()
    return float(distance.sum()), _sign(of.excess)[prob.bin] * excess, float(added)


class Measured(NamedTuple):
    """Calibration errors of one sample, in the order of ERRORS: value [8], influence of each group of patients [8, P], excess [8].

    The excess is how much larger the error is on average if the noise of the sample is added to it once more; 0 for an error that
    is not in BIASED.
    """

    value: Array
    influence: Array
    excess: Array


def measured(
    positive: NDArray[np.bool_], prob: Array, bins: int, group: NDArray[np.integer], num_groups: int
) -> Measured:
    """Compute all calibration errors of images [n] with the influences of their patients; all NaN without images.

    group [n]: the patient of each image, below num_groups (`Sample.group`).

    A bin's distance is the absolute difference between its mean probability and its observed frequency.
    ece: mean distance over equal-width bins, weighted by the images per bin (netcal's ECE, within 1e-12).
    mce: largest distance over equal-width bins (netcal's MCE). Its influences are NaN if all images of its bin have the same label
    or are of one patient: then their variance is unknown.
    ace: unweighted mean distance over equal-mass bins with images (Nixon et al. 2019, arXiv:1904.01685; netcal's ACE
    with `equal_intervals=False`). Its influences are NaN if a bin has images of fewer than FEWEST patients: the intervals contained a
    true error of 0 in 0 to 80 % of cases.
    nll: mean log loss, as in scikit-learn with probabilities clipped to [1e-7, 1 - 1e-7].
    brier = brier_reliability - brier_resolution + brier_uncertainty. Reliability is the miscalibration over equal-width bins.
    Resolution is the separation of the classes by the probabilities. Uncertainty is prevalence x (1 - prevalence). Variation
    inside a bin counts as resolution, so that the three terms give exactly the Brier score. The terms are Murphy's if all
    probabilities in a bin are equal.
    The excess of a distance is that of the absolute value of a normal number (folded normal distribution), with the
    variance over patients of its bin.
    Source: Murphy 1973, J. Appl. Meteorol. 12, 595; generalized resolution of Stephenson et al. 2008,
    doi:10.1175/2007WAF2006116.1; folded normal: Leone, Nelson and Nottingham 1961.
    """
    num = len(prob)
    if not num:
        return Measured(*(np.full(shape, np.nan) for shape in ((8,), (8, num_groups), (8,))))
    excess = positive - prob
    bins_of_images = bin_of(prob, bins)
    wide = _Bins.of(bins_of_images, excess, bins, group, num_groups)
    mass = _Bins.of(equal_mass_bin_of(prob, bins), excess, bins, group, num_groups)
    squares, loss = excess**2, -log_likelihood(positive, prob)
    distance = np.abs(wide.excess)
    largest = int(np.argmax(np.abs(wide.rate)))
    squared = wide.rate * wide.excess  # a bin's sum of excesses, squared, per image of the bin
    reliability, share = squared.sum() / num, np.count_nonzero(positive) / num
    brier, uncertainty = squares.mean(), share * (1 - share)
    value = np.array(
        [
            brier,
            distance.sum() / num,
            abs(wide.rate[largest]),
            np.abs(mass.rate[mass.num > 0]).mean(),
            loss.mean(),
            reliability,
            reliability + uncertainty - brier,
            uncertainty,
        ]
    )
    of_patients = wide.images.sum(1)

    def of_mean(sums: NDArray[Any], mean: float) -> Array:
        return np.asarray((sums - mean * of_patients) / num)

    influence = np.array(
        [
            of_mean(np.bincount(group, squares, num_groups), brier),
            of_mean(wide.sums @ _sign(wide.rate), value[1]),
            _sign(wide.rate[largest]) * wide.of_rate[:, largest],
            mass.of_rate @ _sign(mass.rate) / np.count_nonzero(mass.num),
            of_mean(np.bincount(group, loss, num_groups), value[4]),
            of_mean(2 * (wide.sums @ wide.rate) - wide.images @ wide.rate**2, reliability),
            np.zeros(num_groups),
            (1 - 2 * share) * of_mean(np.bincount(group[positive], minlength=num_groups), share),
        ]
    )
    influence[6] = influence[5] + influence[7] - influence[0]
    alike = len(np.unique(positive[bins_of_images == largest])) < 2
    if alike or np.count_nonzero(wide.images[:, largest]) < 2:
        influence[2] = np.nan
    if np.count_nonzero(mass.images, axis=0)[mass.num > 0].min() < FEWEST:
        influence[3] = np.nan
    added = np.zeros(8)
    error = wide.error
    added[1] = (_folded(wide.excess, wide.deviation) - distance).sum() / num
    added[2] = np.abs(wide.rate + error * _normal(bins)).max(1).mean() - value[2]
    added[3] = (_folded(mass.rate, mass.error) - np.abs(mass.rate))[mass.num > 0].mean()
    added[5] = (error**2 * wide.num).sum() / num
    added[6] = added[5] - float((influence[7] ** 2).sum())
    return Measured(value, influence, added)


def errors(label: Label, prob: Score, bins: int = 15) -> dict[str, float]:
    """Compute all calibration errors of images [N]: name -> error; `measured` defines the errors.

    Raises ValueError for a NaN or infinite probability.
    """
    require_finite(prob, "probabilities")
    value = np.asarray(prob, np.float64)
    found = measured(np.asarray(label == 1), value, bins, np.zeros(len(value), np.intp), 1)
    return dict(zip(ERRORS, found.value.tolist(), strict=True))


def mce(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the maximum calibration error over equal-width bins; see `measured`. Range: 0 to 1; NaN without images.

    One bin with a single image can determine it, so read it together with the number of images in each bin.
    """
    return errors(label, prob, bins)["mce"]


def ace(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the adaptive calibration error, over equal-mass bins; range 0 to 1."""
    return errors(label, prob, bins)["ace"]


def nll(label: Label, prob: Score) -> float:
    """Compute the mean negative log likelihood of the labels; range 0 to 16.1, because probabilities are clipped."""
    return errors(label, prob)["nll"]


def brier_reliability(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the reliability term of the Brier score: how much a recalibration of each bin would reduce the Brier score."""
    return errors(label, prob, bins)["brier_reliability"]


def brier_resolution(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the resolution term: the Brier score if every probability were the prevalence, minus the recalibrated Brier score.

    The recalibrated Brier score is the Brier score minus its reliability term.
    """
    return errors(label, prob, bins)["brier_resolution"]


def brier_uncertainty(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the uncertainty term: the Brier score if every image's predicted probability were the prevalence."""
    return errors(label, prob, bins)["brier_uncertainty"]
