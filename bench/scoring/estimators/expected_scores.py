"""Expected scores at a hospital without labels, with intervals, abstentions and a ranking of the runs.

The error of an estimator is measured at hospitals with labels: each is left out in turn, and estimated from the others. The
interval of a new hospital follows from these errors. Where they say too little, there is no number but a reason.
Shapes: R runs, K findings, H labeled hospitals.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.scoring.estimators.from_hospitals import Known
from bench.scoring.estimators.plug_ins import checked_shares, result_of
from bench.scoring.estimators.quantities import Array, finite_mean

LEVEL = 0.90  # of the intervals
LEAST_HOSPITALS = 3  # labeled hospitals that an estimate needs
LEAST_IMAGES = 50  # images of the new hospital that an estimate needs
WIDEST = 0.10  # maximum distance of a bound from the estimate
MARGIN = 0.25  # share of the range of the labeled hospitals by which this range is widened on each side
MANY = 0.3  # share of a run's findings with unlike logits from which on all findings of the run count as unlike
# the quantities of `cbpe` that show whether the logits are like those of the labeled hospitals
_SHOWS_SHIFT = ("prevalence", "auroc")


@dataclass(frozen=True, slots=True, eq=False)
class Expected:
    """Expected values [R, K] of one quantity at a new hospital.

    half [R, K]: half widths of the intervals. reason [R, K]: "", or why the value is not stated. error [H, R, K]: errors
    of the estimator at the labeled hospitals, each left out in turn.
    """

    value: Array
    half: Array
    reason: NDArray[np.object_]
    error: Array

    @property
    def low(self) -> Array:
        """Return the lower bounds, at least 0."""
        return np.asarray((self.value - self.half).clip(0, 1))

    @property
    def high(self) -> Array:
        """Return the upper bounds, at most 1."""
        return np.asarray((self.value + self.half).clip(0, 1))

    @property
    def stated(self) -> NDArray[np.bool_]:
        """Return a mask of the values that are stated [R, K]."""
        return np.asarray(self.reason == "")


def estimate(entry: Entry, known: Known, here: Mapping[str, Array]) -> Array:
    """Return the estimates [R, K] of one estimator; NaN where it has none. `here`: see `from_hospitals`.

    Errors as in `result_of` and `checked_shares`.
    """
    if entry.facts["given"] != "hospitals":
        return here.get(entry.name, np.full(known.internal.shape, np.nan))
    return checked_shares(entry, result_of(entry, known, here), known.internal.shape)


def left_out(entry: Entry, known: Known) -> Array:
    """Return the estimates [H, R, K] at each labeled hospital, learned from the other labeled hospitals."""
    hospitals = range(len(known.truth))
    estimates = [estimate(entry, known.without(h), known.at(h)) for h in hospitals]
    return np.stack(estimates) if estimates else np.empty((0, *known.internal.shape))


def half_widths(error_HRK: Array) -> Array:
    """Compute the half width [K] of the interval of a new hospital from the errors at labeled hospitals that were left out.

    The mean square error of a finding is averaged with that of all findings, each with the same weight, because a
    finding has errors at few hospitals. The quantile is that of Student's t with 2 (H - 1) degrees of freedom: errors
    of several findings at one hospital are neither independent nor equal. NaN with fewer than 2 hospitals.
    """
    from scipy.stats import t

    num_hospitals = int(np.isfinite(error_HRK).any((1, 2)).sum())
    if num_hospitals < 2:
        return np.full(error_HRK.shape[2], np.nan)
    square = error_HRK**2
    of_finding = finite_mean(square.reshape(-1, square.shape[2]))
    pooled = np.nanmean(square)
    spread = np.sqrt(np.where(np.isfinite(of_finding), (of_finding + pooled) / 2, np.nan))
    return np.asarray(spread * t.ppf((1 + LEVEL) / 2, 2 * (num_hospitals - 1)))


def expected(
    entry: Entry, known: Known, here: Mapping[str, Array], no_number: NDArray[np.object_], widest: float = WIDEST
) -> Expected:
    """Return the expected values of one quantity at a new hospital.

    no_number [R, K]: reasons that are known already, "" without a reason (see `outside`). There is no number, either,
    if the interval's half width is above `widest`, and without enough labeled hospitals, which replaces other reasons.
    """
    value, error = estimate(entry, known, here), left_out(entry, known) - known.truth
    half = np.broadcast_to(half_widths(error), value.shape)
    num_hospitals = np.isfinite(known.truth).any(1).sum(0)
    reason = no_number.copy()
    for k, num in enumerate(num_hospitals):
        if num < LEAST_HOSPITALS:
            reason[:, k] = f"{num} of {LEAST_HOSPITALS} labeled hospitals needed"
    _state(reason, ~np.isfinite(value) | ~np.isfinite(half), "the estimator has no value")
    wide = np.isfinite(half) & (half > widest)
    for r, k in np.argwhere(wide):
        if not reason[r, k]:
            reason[r, k] = f"too uncertain: interval ±{half[r, k]:.2f}"
    return Expected(value, np.asarray(half), reason, error)


def with_stated(result: Expected, stated: Mapping[int, float]) -> Expected:
    """Return expected values in which some findings (index -> value) are known and not estimated: without any error."""
    value, half = result.value.copy(), result.half.copy()
    reason, error = result.reason.copy(), result.error.copy()
    for k, share in stated.items():
        value[:, k], half[:, k], reason[:, k], error[:, :, k] = share, 0.0, "", 0.0
    return Expected(value, half, reason, error)


def outside(
    known: Mapping[str, Known], here: Mapping[str, Mapping[str, Array]], num_images: int
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
    """Expected means over findings [R] of one quantity, with half widths of their intervals, and ranks.

    findings: indices of the findings in the means. best [R]: whether no other run is clearly better. rank_low, rank_high
    [R]: interval of the rank, from 1; two runs change places unless the interval of their difference excludes 0.
    """

    value: Array
    half: float
    findings: tuple[int, ...]
    rank_low: NDArray[np.int64]
    rank_high: NDArray[np.int64]

    @property
    def low(self) -> Array:
        """Return the lower bounds [R], at least 0."""
        return np.asarray((self.value - self.half).clip(0, 1))

    @property
    def high(self) -> Array:
        """Return the upper bounds [R], at most 1."""
        return np.asarray((self.value + self.half).clip(0, 1))

    @property
    def best(self) -> NDArray[np.bool_]:
        """Return a mask of the runs that may be the best."""
        return np.asarray(self.rank_low == 1)


def macros(known: Known, result: Expected, valid: NDArray[np.bool_], smallest_first: bool = False) -> Macros:
    """Return the expected means over findings, and rank the runs.

    The means are over the findings that have a value for every run, enough labeled hospitals, and logits like those at
    these hospitals (`valid` [R, K]: see `outside`). Single findings may be too uncertain to be stated. The errors of the
    means, and of the differences between two runs, are measured at the labeled hospitals as in `expected`.
    """
    enough = np.isfinite(known.truth).any(1).sum(0) >= LEAST_HOSPITALS
    used = (np.isfinite(result.value) & np.isfinite(result.half) & valid).all(0) & enough
    findings = tuple(int(k) for k in np.flatnonzero(used))
    num_runs = len(result.value)
    if not findings:
        none = np.full(num_runs, np.nan)
        return Macros(none, float("nan"), (), np.ones(num_runs, np.int64), np.full(num_runs, num_runs))
    error_HR = finite_mean(result.error[:, :, used], 2)
    value = result.value[:, used].mean(1)
    half = float(half_widths(error_HR[:, :, None])[0])
    between = _half_of_differences(error_HR)
    sign = -1.0 if smallest_first else 1.0
    lead_RR = sign * (value[:, None] - value[None, :])
    better, worse = (lead_RR > between).sum(1), (lead_RR < -between).sum(1)
    return Macros(value, half, findings, 1 + worse, num_runs - better)


def _half_of_differences(error_HR: Array) -> float:
    """Compute the half width of the interval of a difference between two runs, from the differences of their errors.

    All pairs of runs share it. NaN, with which no run is better, for one run or fewer than 2 hospitals.
    """
    num_runs = error_HR.shape[1]
    first, second = np.triu_indices(num_runs, 1)
    if not len(first):
        return float("nan")
    return float(half_widths((error_HR[:, first] - error_HR[:, second])[:, :, None])[0])


def _state(reason: NDArray[np.object_], where: NDArray[np.bool_], text: str) -> None:
    """Write a reason where there is none yet."""
    reason[where & (reason == "")] = text
