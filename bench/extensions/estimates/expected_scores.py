"""Expected scores at a hospital without labels, with intervals, abstentions and a ranking of the runs.

The error of an estimator is measured at hospitals with labels: each is left out in turn, and estimated from the others. The
interval of a new hospital follows from these errors. It is an interval for the score that labels of the hospital's images
would give, so few images make it wider. The new hospital may resemble the internal hospital more than the labeled ones, so
the interval reaches further on the side of the internal value. Where the errors say too little, there is no number but a
reason.
Shapes: R runs, K findings, H labeled hospitals.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from bench.extensions.estimates.estimators import MEAN_GAP
from bench.extensions.estimates.known_values import KnownValues
from bench.extensions.estimates.quantities import Array, finite_mean

LEVEL = 0.90  # confidence level of the intervals
LEAST_HOSPITALS = 3  # labeled hospitals that an estimate needs
LEAST_IMAGES = 50  # images of the new hospital that an estimate needs
MARGIN = 0.25  # share of the range of the labeled hospitals by which this range is widened on each side
MANY = 0.3  # share of a run's findings with unlike logits from which on all findings of the run count as unlike
LEAST_SHARE = 0.25  # least share of the mean square error that does not count as sampling error
# the quantities of `cbpe` that show whether the logits are like the logits of labeled hospitals
_SHOWS_SHIFT = ("prevalence", "auroc")


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedValues:
    """Expected values [R, K] of one quantity at a new hospital.

    half [R, K]: distance of both bounds from the value. extra [R, K]: the bound on the side of the internal value is this much
    further away (see `toward_internal`); negative if this is the lower bound. reason [R, K]: "", or why the value is not
    stated. error [H, R, K]: errors of the estimator at the labeled hospitals, each left out in turn. at_internal [R, K]: its
    errors at the internal hospital. growth [R, K]: by which factor the intervals are wider than the errors alone imply,
    because of the number of images and of the distance to the labeled hospitals.
    """

    value: Array
    half: Array
    extra: Array
    reason: NDArray[np.object_]
    error: Array
    at_internal: Array
    growth: Array

    @property
    def low(self) -> Array:
        """Return the lower bounds, at least 0."""
        return np.asarray((self.value - self.half + self.extra.clip(max=0)).clip(0, 1))

    @property
    def high(self) -> Array:
        """Return the upper bounds, at most 1."""
        return np.asarray((self.value + self.half + self.extra.clip(min=0)).clip(0, 1))

    @staticmethod
    def toward_internal(
        error_HRK: Array, error_RK: Array, to_internal_RK: Array, growth_RK: Array, alone: bool = False
    ) -> Array:
        """Compute how much further away [R, K] the bound on the side of the internal value is; negative for the lower bound.

        error_HRK, error_RK: errors at the labeled hospitals and at the internal hospital. to_internal_RK: internal minus
        expected value. The internal hospital counts as one more hospital with a known score. The errors at all these
        hospitals determine the distance of this bound, but the bound is never moved beyond the internal value. The result is
        0 if the interval already contains the internal value, or if there are no errors. alone: see `half_widths`.
        """
        known = np.where(np.isfinite(error_HRK).any((0, 1)), error_RK, np.nan)
        distance = half_widths(np.concatenate([error_HRK, known[None]]), alone) * growth_RK
        extra = np.minimum(distance, np.abs(to_internal_RK)) - half_widths(error_HRK, alone) * growth_RK
        return np.asarray(np.where(extra > 0, np.sign(to_internal_RK) * extra, 0.0))

    @property
    def stated(self) -> NDArray[np.bool_]:
        """Return a mask of the values that are stated [R, K]."""
        return np.asarray(self.reason == "")


def estimate(estimator: str, known: KnownValues, here: Mapping[str, Array]) -> Array:
    """Return the estimates [R, K] of one estimator; NaN where it has none. here: name of an estimator in `from_logits` -> [R, K]."""
    if estimator == MEAN_GAP:
        return known.mean_gap()
    return here.get(estimator, np.full(known.internal.shape, np.nan))


def left_out(estimator: str, known: KnownValues) -> Array:
    """Return the estimates [H, R, K] at each labeled hospital, learned from the other labeled hospitals."""
    if estimator != MEAN_GAP:  # nothing is learned
        return known.estimates.get(estimator, np.full(known.truth.shape, np.nan))
    estimates = [known.without(h).mean_gap() for h in range(len(known.truth))]
    return np.stack(estimates) if estimates else np.empty((0, *known.internal.shape))


def half_widths(error_HRK: Array, alone: bool = False) -> Array:
    """Compute the half width [K] of the interval of a new hospital from the errors at labeled hospitals that were left out.

    The square is the pooled mean square error (see `_pooled`). The quantile is from Student's t with 2 (H - 1) degrees
    of freedom: errors of several findings at one hospital are neither independent nor equal. `alone`: the errors of one finding
    have H - 1, also with several runs, whose errors are alike. NaN with fewer than 2 hospitals.
    """
    num_hospitals = int(np.isfinite(error_HRK).any((1, 2)).sum())
    if num_hospitals < 2:
        return np.full(error_HRK.shape[2], np.nan)
    quantile = float(stdtrit((1 if alone else 2) * (num_hospitals - 1), (1 + LEVEL) / 2))
    return np.asarray(np.sqrt(_pooled(error_HRK**2)) * quantile)


def _pooled(square_HRK: Array) -> Array:
    """Return the mean square of each finding [K], averaged with that of all findings; NaN for a finding without values.

    Both have the same weight, because a finding has errors at few hospitals.
    """
    of_finding = finite_mean(square_HRK.reshape(-1, square_HRK.shape[2]))
    return np.asarray((of_finding + finite_mean(square_HRK, (0, 1, 2))) / 2)


@dataclass(frozen=True, slots=True, eq=False)
class ExpectedDifferences:
    """How a new hospital differs from the labeled hospitals, without its labels.

    widening [R, K]: factor of the intervals, at least 1 (see `widening`). labeled_images [H], images: number of images of
    each labeled hospital, and of the new hospital. labeled_prevalence [H, R, K]: measured. prevalence [R, K]: expected.
    """

    widening: Array
    labeled_images: Array
    labeled_prevalence: Array
    images: int
    prevalence: Array

    @classmethod
    def of(
        cls,
        estimator: str,
        known: Mapping[str, KnownValues],
        here: Mapping[str, Mapping[str, Array]],
        labeled_images: Sequence[int],
        images: int,
    ) -> Self:
        """Return how a new hospital differs from the labeled hospitals."""
        prevalence = estimate(estimator, known["prevalence"], here["prevalence"])
        num_labeled = np.asarray(labeled_images, np.float64)
        return cls(widening(known, here), num_labeled, known["prevalence"].truth, images, prevalence)


def widening(known: Mapping[str, KnownValues], here: Mapping[str, Mapping[str, Array]]) -> Array:
    """Compute the factor [R, K] by which intervals are wider at a hospital that differs from the labeled hospitals.

    The logits are described as in `why_not_estimated`. The distance of a description is its difference from the mean of
    the labeled hospitals, divided by their standard deviation. The factor is the root mean square distance of the finding
    and of all findings of the run, and at least 1: errors as large as those at the labeled hospitals are expected within
    one standard deviation, and errors grow in proportion to the distance.
    """
    distances = []
    for quantity in _SHOWS_SHIFT:
        labeled, new = known[quantity].estimates.get("cbpe"), here[quantity].get("cbpe")
        if labeled is None or new is None or len(labeled) < 2:
            continue
        has = np.isfinite(labeled).sum(0)
        center = finite_mean(labeled)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = finite_mean((labeled - center) ** 2) * has / (has - 1)
            distances.append(np.where(variance > 0, (new - center) ** 2 / variance, np.nan))
    if not distances:
        return np.ones(known["auroc"].internal.shape)
    square = finite_mean(np.stack(distances))
    both = finite_mean(np.stack([square, np.broadcast_to(finite_mean(square, 1)[:, None], square.shape)]))
    return np.asarray(np.sqrt(np.fmax(both, 1.0)))


def sampling_variance(quantity: str, value: Array, prevalence: Array, num_images: Array) -> Array:
    """Compute the variance of a measured score that is due to the number of images.

    AUROC: Hanley and McNeil 1982, doi:10.1148/radiology.143.1.7063747. Sensitivity, specificity, accuracy and prevalence:
    binomial. ECE: the variance of the prevalence, because a large ECE is mostly a difference between mean probability and
    prevalence. At least one image of each class is assumed, and a score of at least .01 and at most .99.
    """
    positive = np.maximum(num_images * prevalence, 1.0)
    negative = np.maximum(num_images * (1 - prevalence), 1.0)
    score = np.clip(value, 0.01, 0.99)
    if quantity == "auroc":
        both_positive, both_negative = score / (2 - score), 2 * score**2 / (1 + score)
        pairs = (positive - 1) * (both_positive - score**2) + (negative - 1) * (both_negative - score**2)
        return np.asarray((score * (1 - score) + pairs) / (positive * negative))
    if quantity in ("ece", "prevalence"):
        score = np.clip(prevalence, 0.01, 0.99)
    num = {"sensitivity": positive, "specificity": negative}.get(quantity, positive + negative)
    return np.asarray(score * (1 - score) / num)


def _growth(quantity: str, value: Array, truth: Array, error: Array, differing: ExpectedDifferences) -> Array:
    """Compute by which factor [R, K] intervals are wider than the errors at labeled hospitals imply.

    The mean square error minus the mean sampling variance at the labeled hospitals is the error of the estimator; at least
    LEAST_SHARE of the mean square error is. The sampling variance at the new hospital is added, where it is known.
    """
    num_H = differing.labeled_images[:, None, None]
    of_labeled = sampling_variance(quantity, truth, differing.labeled_prevalence, num_H)
    square = _pooled(error**2)
    sampling = _pooled(np.where(np.isfinite(error), of_labeled, np.nan))
    own = np.fmax(square - sampling, LEAST_SHARE * square)
    here = sampling_variance(quantity, value, differing.prevalence, np.asarray(float(differing.images)))
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.sqrt((own + here) / square)
    return np.asarray(np.where(np.isfinite(factor), factor, 1.0) * differing.widening)


def expected(
    estimator: str,
    known: KnownValues,
    here: Mapping[str, Array],
    no_number: NDArray[np.object_],
    quantity: str = "",
    differing: ExpectedDifferences | None = None,
) -> ExpectedValues:
    """Return the expected values of one quantity at a new hospital.

    no_number [R, K]: reasons that are known already, "" without a reason (see `why_not_estimated`). "Too few labeled hospitals"
    replaces them. quantity, differing: widen the intervals for few images and for a hospital unlike the labeled ones; without
    them, the intervals are for a hospital like the labeled hospitals, with as many images.
    """
    value = estimate(estimator, known, here)
    error = left_out(estimator, known) - known.truth
    growth = np.ones(value.shape) if differing is None else _growth(quantity, value, known.truth, error, differing)
    alone = int(np.isfinite(error).any((0, 1)).sum()) == 1
    half = half_widths(error, alone) * growth
    # estimators from logits are fitted to internal images, so their estimates there are the internal values
    at_internal = estimate(estimator, known, dict.fromkeys(here, known.internal)) - known.internal
    extra = ExpectedValues.toward_internal(error, at_internal, known.internal - value, growth, alone)
    reason = no_number.copy()
    for k, num in enumerate(np.isfinite(known.truth).any(1).sum(0)):
        if num < LEAST_HOSPITALS:
            reason[:, k] = f"{num} of {LEAST_HOSPITALS} labeled hospitals needed"
    _state(reason, ~np.isfinite(value) | ~np.isfinite(half), "the estimator has no value")
    return ExpectedValues(value, np.asarray(half), extra, reason, error, at_internal, growth)


def why_not_estimated(
    known: Mapping[str, KnownValues], here: Mapping[str, Mapping[str, Array]], num_images: int
) -> NDArray[np.object_]:
    """Return why no score can be estimated [R, K], "" where nothing speaks against it.

    The reasons: too few images, or logits that are unlike those at the labeled hospitals. The logits are described by
    the prevalence and the AUROC that `cbpe` estimates. Both must be within the range of the labeled hospitals, which is
    widened on each side by MARGIN of its width. If the share MANY of a run's findings is outside, all are unlike: a new
    device changes the logits of all findings, some of them by less.
    """
    shape = known["auroc"].internal.shape
    reason = np.full(shape, "", object)
    if num_images < LEAST_IMAGES:
        reason[:] = f"{num_images} of {LEAST_IMAGES} images needed"
        return reason
    unlike, described = np.zeros(shape, bool), np.zeros(shape, bool)
    for quantity in _SHOWS_SHIFT:
        labeled, new = known[quantity].estimates.get("cbpe"), here[quantity].get("cbpe")
        if labeled is None or new is None or len(labeled) < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a finding without values has the range NaN
            low, high = np.nanmin(labeled, 0), np.nanmax(labeled, 0)
        margin = MARGIN * (high - low)
        unlike |= (new < low - margin) | (new > high + margin)
        described |= np.isfinite(low) & np.isfinite(new)
    many = unlike.sum(1) >= MANY * np.maximum(described.sum(1), 1)
    _state(reason, unlike | many[:, None] & described, "logits unlike those at the labeled hospitals")
    return reason


@dataclass(frozen=True, slots=True, eq=False)
class Macros:
    """Expected means over findings [R] of one quantity, with their intervals, and ranks.

    low, high [R]: bounds, from 0 to 1. findings: indices of the findings in the means. best [R]: whether no other run is
    clearly better. rank_low, rank_high [R]: interval of the rank, from 1; two runs change places unless the interval of their
    difference excludes 0.
    """

    value: Array
    low: Array
    high: Array
    findings: tuple[int, ...]
    rank_low: NDArray[np.int64]
    rank_high: NDArray[np.int64]

    @property
    def best(self) -> NDArray[np.bool_]:
        """Return a mask of the runs that may be the best."""
        return np.asarray(self.rank_low == 1)


def macros(
    known: KnownValues, result: ExpectedValues, valid: NDArray[np.bool_], smallest_first: bool = False
) -> Macros:
    """Return the expected means over findings, and rank the runs.

    The means are over the findings that have a value for every run, enough labeled hospitals, and logits like those at
    these hospitals (`valid` [R, K]: see `why_not_estimated`). The errors of the
    means, and of the differences between two runs, are measured at the labeled hospitals as in `expected`. They grow as
    the intervals of single findings do, on average over findings (root mean square).
    """
    enough = np.isfinite(known.truth).any(1).sum(0) >= LEAST_HOSPITALS
    used = (np.isfinite(result.value) & np.isfinite(result.half) & valid).all(0) & enough
    findings = tuple(int(k) for k in np.flatnonzero(used))
    num_runs = len(result.value)
    if not findings:
        none = np.full(num_runs, np.nan)
        return Macros(none, none, none, (), np.ones(num_runs, np.int64), np.full(num_runs, num_runs))
    error_HR = finite_mean(result.error[:, :, used], 2)
    value = result.value[:, used].mean(1)
    growth = np.sqrt((result.growth[:, used] ** 2).mean(1))
    half = half_widths(error_HR[:, :, None])[0] * growth
    of_internal = (
        result.at_internal[:, used].mean(1)[:, None],
        known.internal[:, used].mean(1)[:, None] - value[:, None],
    )
    extra = ExpectedValues.toward_internal(error_HR[:, :, None], *of_internal, growth[:, None])[:, 0]
    between = _half_of_differences(error_HR) * np.maximum(growth[:, None], growth[None, :])
    sign = -1.0 if smallest_first else 1.0
    lead_RR = sign * (value[:, None] - value[None, :])
    better, worse = (lead_RR > between).sum(1), (lead_RR < -between).sum(1)
    low, high = value - half + extra.clip(max=0), value + half + extra.clip(min=0)
    return Macros(value, low.clip(0, 1), high.clip(0, 1), findings, 1 + worse, num_runs - better)


def _half_of_differences(error_HR: Array) -> float:
    """Compute the half width of the interval of a difference between two runs, from the differences of their errors.

    All pairs of runs share it. NaN, with which no run is better, for one run or fewer than 2 hospitals.
    """
    first, second = np.triu_indices(error_HR.shape[1], 1)
    if not len(first):
        return float("nan")
    return float(half_widths((error_HR[:, first] - error_HR[:, second])[:, :, None])[0])


def _state(reason: NDArray[np.object_], where: NDArray[np.bool_], text: str) -> None:
    """Write a reason where there is none yet."""
    reason[where & (reason == "")] = text
