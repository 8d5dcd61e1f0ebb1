"""Calibration errors: distances between predicted probabilities and observed frequencies.

Shapes: N or n images, B replicates, G bins; label [N] of 0 and 1, prob [N] in [0, 1]. prob is the probability that the
finding is present, not the probability of the more likely class. Every error is NaN without images. A NaN or infinite
probability raises ValueError.
"""

from functools import cache
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.metrics import Label, Score, require_finite

Array = NDArray[np.float64]

LEAST = 1e-7  # probabilities are clipped to [LEAST, 1 - LEAST] before a logarithm


def bin_of(prob: Score, bins: int = 15) -> NDArray[np.int32]:
    """Return the index [N] of each probability's equal-width bin; indices start at 0.

    A probability on an edge belongs to the bin above the edge, as in netcal.
    """
    return np.asarray(_binned(np.ascontiguousarray(prob, np.float64), _edges(bins))[0])


def ece(outcome: Array | NDArray[np.integer[Any]], prob: Score, bins: int = 15) -> float:
    """Compute the ECE of probabilities [N] with equal-width bins; NaN without images.

    outcome [N]: labels of 0 and 1, or the probability that the label is 1, which gives an expected ECE. With labels, it is
    equal to the ECE of the package netcal.
    """
    excess = np.bincount(bin_of(prob, bins), outcome - prob, minlength=bins)
    return float(np.abs(excess).sum() / len(prob)) if len(prob) else float("nan")


@cache
def _edges(bins: int) -> Array:
    """Compute the edges [G + 1] of G equal-width bins between 0 and 1."""
    return np.linspace(0.0, 1.0, bins + 1)


@compiled
def _binned(prob: Array, edge: Array) -> tuple[NDArray[np.int32], bool]:
    """Return the bin index of each probability (NaN: the last bin), and a flag that is True if no probability is NaN.

    The search starts at the bin of the previous image, because in images sorted by score, most neighbors share a bin.
    edge [G + 1]: edges of the bins.
    """
    bins = edge.shape[0] - 1
    bin_N = np.empty(prob.shape[0], np.int32)
    no_nan, b, low, high = True, 0, np.inf, -np.inf
    for i in range(prob.shape[0]):
        x = prob[i]
        if not low <= x < high:
            if x != x:
                no_nan, b = False, bins - 1
            while b > 0 and x < edge[b]:
                b -= 1
            while b < bins - 1 and x >= edge[b + 1]:
                b += 1
            low, high = edge[b] if b > 0 else -np.inf, edge[b + 1] if b < bins - 1 else np.inf
        bin_N[i] = b
    return bin_N, no_nan


def equal_mass_bin_of(prob: Score, bins: int = 15) -> NDArray[np.int32]:
    """Compute the index [N] of each probability's equal-mass bin; indices start at 0.

    The index is G x (number of images with a lower probability) / N, rounded down. Equal probabilities share a bin. So
    the bins do not depend on the order of the images, and an increasing transform of the probabilities leaves the bins
    unchanged. Without ties, bin sizes differ by at most 1.
    """
    value = np.ascontiguousarray(prob, np.float64)
    out = np.empty(len(value), np.int32)
    if _mass_along(value, bins, out):
        return out
    order = np.argsort(value)
    rising = np.empty(len(value), np.int32)
    _mass_along(value[order], bins, rising)
    out[order] = rising
    return out


@compiled
def _rise_and_fall(value: Array) -> tuple[bool, bool]:
    """Return two flags for the numbers [n]: whether they never fall, and whether they never rise."""
    falls, rises = 0, 0  # this loop is compiled to vector instructions, so it is faster than a loop that stops early
    for i in range(1, value.shape[0]):
        falls += 1 if value[i] < value[i - 1] else 0
        rises += 1 if value[i] > value[i - 1] else 0
    return falls == 0, rises == 0


@compiled
def _mass_along(value: Array, bins: int, out: NDArray[np.int32]) -> bool:
    """Write the equal-mass bins of sorted values to `out` and return True; the order may be rising or falling.

    If the values are not sorted, return False; then the content of `out` is wrong.
    """
    num = value.shape[0]
    rises, falls = _rise_and_fall(value)
    rising_value, bin_N = (value, out) if rises else (value[::-1], out[::-1])
    i, b = 0, 0
    while i < num:
        while (b + 1) * num <= i * bins:
            b += 1
        end = min(-(-(b + 1) * num // bins), num)
        bin_N[i:end] = b
        i = end
        while 0 < i < num and rising_value[i] == rising_value[i - 1]:  # ties share a bin
            bin_N[i] = b
            i += 1
    return rises or falls


class BinnedProbabilities(NamedTuple):
    """Probabilities of images [n] with their equal-width bins."""

    prob: Array
    bin: NDArray[np.int32]
    fitted: bool  # False if all probabilities are NaN, because the calibrator could not be fitted

    @classmethod
    def of(cls, prob: Array, bins: int) -> Self:
        """Assign each probability to one of `bins` equal-width bins."""
        return cls(prob, *_binned(prob, _edges(bins)))


class Sums(NamedTuple):
    """Sums over images from which all calibration errors are computed.

    The last axis is B replicates; B is 1 for one sample.
    wide [G, 2, B]: per equal-width bin, the number of images, then the sum of (label - probability).
    mass [G, 2, B]: the same two sums per equal-mass bin.
    total [3, B]: the number of positive images, the sum of (label - probability)^2 over all images, the sum of the log
    loss.
    """

    wide: Array
    mass: Array
    total: Array


def log_likelihood(positive: NDArray[np.bool_], prob: Array) -> Array:
    """Compute the log likelihood [N] of the labels, with probabilities clipped to [1e-7, 1 - 1e-7]."""
    likelihood = _likelihood(positive, prob)
    return np.log(likelihood, out=likelihood)


@compiled
def _likelihood(positive: NDArray[np.bool_], prob: Array) -> Array:
    """Compute the likelihood [N] of the labels, with probabilities clipped to [1e-7, 1 - 1e-7]."""
    out = np.empty(prob.shape[0])
    for i in range(prob.shape[0]):
        clipped = min(max(prob[i], LEAST), 1 - LEAST)
        out[i] = clipped if positive[i] else 1 - clipped
    return out


def errors_of(sums: Sums) -> dict[str, Array]:
    """Compute all calibration errors: name -> error [B], NaN in a replicate without images.

    A bin's distance is the absolute difference between its mean probability and its observed frequency.
    ece: mean distance over equal-width bins, weighted by the images per bin (netcal's ECE, within 1e-12).
    mce: largest distance over equal-width bins (netcal's MCE).
    ace: unweighted mean distance over equal-mass bins with images (Nixon et al. 2019, arXiv:1904.01685). netcal's ACE is the
    same mean over equal-WIDTH bins.
    nll: mean log loss, as in scikit-learn with probabilities clipped to [1e-7, 1 - 1e-7].
    brier = brier_reliability - brier_resolution + brier_uncertainty. Reliability is the miscalibration over equal-width bins.
    Resolution is the separation of the classes by the probabilities. Uncertainty is prevalence x (1 - prevalence). Variation
    inside a bin counts as resolution, so that the three terms give exactly the Brier score. The terms are Murphy's if all
    probabilities in a bin are equal.
    Source: Murphy 1973, J. Appl. Meteorol. 12, 595; generalized resolution of Stephenson et al. 2008,
    doi:10.1175/2007WAF2006116.1.
    """
    out = np.empty((len(ERRORS), sums.total.shape[-1]))
    fill_errors(sums.wide, sums.mass, sums.total, out)
    return dict(zip(ERRORS, out, strict=True))


@compiled
def fill_errors(wide: Array, mass: Array, total: Array, out: Array) -> None:
    """Compute the errors from the arrays of `Sums`, and write them to `out` [len(ERRORS), B] in the order of ERRORS."""
    for j in range(total.shape[1]):
        num, distances, largest, squared = 0.0, 0.0, 0.0, 0.0
        at_mass, used = 0.0, 0
        for g in range(wide.shape[0]):
            images, excess = wide[g, 0, j], abs(wide[g, 1, j])
            num += images
            distances += excess
            if images > 0:
                largest = max(largest, excess / images)
                squared += excess / images * excess
            if mass[g, 0, j] > 0:
                at_mass += abs(mass[g, 1, j]) / mass[g, 0, j]
                used += 1
        if num == 0:
            out[:, j] = np.nan
            continue
        share = total[0, j] / num
        brier, reliability, uncertainty = total[1, j] / num, squared / num, share * (1 - share)
        out[0, j], out[1, j], out[2, j] = brier, distances / num, largest
        out[3, j], out[4, j] = at_mass / used, total[2, j] / num
        out[5, j], out[6, j], out[7, j] = reliability, reliability + uncertainty - brier, uncertainty


ERRORS = ("brier", "ece", "mce", "ace", "nll", "brier_reliability", "brier_resolution", "brier_uncertainty")
HEADLINES = ("brier", "ece")
# Errors that sampling noise makes larger: they add absolute or squared differences, in which noise does not cancel out.
BIASED = ("ece", "mce", "ace", "brier_reliability", "brier_resolution")


def errors(label: Label, prob: Score, bins: int = 15) -> dict[str, float]:
    """Compute all calibration errors of one sample: name -> error; `errors_of` defines the errors."""
    require_finite(prob, "probabilities")
    value = np.asarray(prob, np.float64)
    excess = label - value
    wide, mass = (
        np.stack([np.bincount(bin_N, minlength=bins), np.bincount(bin_N, excess, minlength=bins)], 1, dtype=np.float64)
        for bin_N in (bin_of(value, bins), equal_mass_bin_of(value, bins))
    )
    squared, loss = (label - value) ** 2, -log_likelihood(label == 1, value)
    total = np.array([(label == 1).sum(), squared.sum(), loss.sum()])
    errors_by_name = errors_of(Sums(wide[..., None], mass[..., None], total[:, None]))
    return {name: float(error[0]) for name, error in errors_by_name.items()}


def mce(label: Label, prob: Score, bins: int = 15) -> float:
    """Compute the maximum calibration error over equal-width bins; see `errors_of`. Range: 0 to 1; NaN without images.

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
