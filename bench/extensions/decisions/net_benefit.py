"""Net benefit: what calls at a threshold are worth, in found cases per image after the deduction of false alarms.

A reader who acts at a probability t accepts (1 - t) / t false alarms for one found case. So a false alarm costs t / (1 - t).
The alternatives need no network: to treat all images as positive, or to treat none. The net benefit of treating none is 0.
Source: Vickers and Elkin 2006, doi:10.1177/0272989X06295361.
Shapes: N images, K findings, M measures, D thresholds, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import CURVE, DecisionCounts
from bench.scoring.bootstrap.area_intervals import mean_intervals
from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import deviation, enough, interval_of_difference, mean_over, share_bounds
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.rates import sizes_of_all
from bench.scoring.means import Sizes, least_sizes
from bench.scoring.score_run import RunMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# over_all: net benefit minus the net benefit of treating all images as positive
MEASURES = ("net_benefit", "standardized", "over_all")
NET_BENEFIT, STANDARDIZED, OVER_ALL = range(len(MEASURES))
FEW = 1.2  # enlarges the variance of a share that few patients decide (`_Term.share`); chosen by simulation
ROUNDING = 1e-12  # standard deviation of replicates that differ by rounding only
STATED = len(CURVE)  # index of the stated threshold of a finding, behind the thresholds CURVE


def odds(threshold: float) -> float:
    """Return the cost of a false alarm, threshold / (1 - threshold), in found cases.

    Raises ValueError if the threshold is not between 0 and 1: at 0 a false alarm costs nothing, and at 1 infinitely much.

    >>> odds(0.2)
    0.25
    """
    if not 0 < threshold < 1:
        raise ValueError(f"a threshold of net benefit must be above 0 and below 1, not {threshold:g}")
    return threshold / (1 - threshold)


def measures_of(called: Array, total: Array, threshold: Array) -> Array:
    """Compute the MEASURES [M, D, 1 + B] from counts of calls [D, 2, 1 + B] and of all images [2, 1 + B].

    A threshold [D] is NaN if it is unknown. A measure is NaN in a replicate without images, and `standardized` (net benefit
    divided by the prevalence) without positive images.
    """
    cost = (threshold / (1 - threshold))[:, None]
    false, found = called[:, 0], called[:, 1]
    num = total.sum(0)
    benefit, of_all = divide(found - cost * false, num[None]), divide(total[1] - cost * total[0], num[None])
    standardized = divide(found - cost * false, np.broadcast_to(total[1], false.shape))
    return np.stack([benefit, standardized, benefit - of_all])


class _Term(NamedTuple):
    """A term of a measure at D thresholds: value, low, high and the standard deviation of replicates [..., D], replicates [..., D, B]."""

    value: Array
    low: Array
    high: Array
    replicates: Array
    deviation: Array

    @classmethod
    def share(cls, share: Array, num_images: Array, num_patients: Array) -> Self:
        """Return shares [..., D, 1 + B] of images with their intervals; the sizes are those of `share_interval`.

        The interval is that of `share_interval`, but a variance that differs from that of independent images comes from patients.
        If few patients have an event, it is often too small, and is enlarged: by about half of what a t distribution with one
        degree of freedom for each of these patients would need. `benchmarks/benefits.py` shows the coverage.
        """
        value, replicates = share[..., 0], share[..., 1:]
        images = np.maximum(num_images, 1.0)
        patients = np.minimum(np.maximum(num_patients, 1.0), images)
        with np.errstate(divide="ignore", invalid="ignore"):
            of_replicates = deviation(replicates)
            variance = of_replicates**2 / (1 - 1 / patients)
            variance *= 1 + FEW * (1 - patients / images) / (value * (1 - value) * patients)
        known = np.where(enough(replicates), variance, np.nan)
        return cls(value, *share_bounds(value, known, images, patients), replicates, of_replicates)

    def times(self, factor: Array) -> "_Term":
        """Return the term times factor [..., D], which may be negative."""
        low, high = np.sort(factor * np.stack([self.low, self.high]), axis=0)
        of_replicates = np.abs(factor) * self.deviation
        return _Term(factor * self.value, low, high, factor[..., None] * self.replicates, of_replicates)

    def minus(self, other: "_Term") -> "_Term":
        """Return the difference, with the interval of `interval_of_difference`.

        The correlation is that of the replicates, 0 if a term does not vary.
        """
        replicates = self.replicates - other.replicates
        first, second, both = self.deviation, other.deviation, deviation(replicates)
        product = np.where(np.minimum(first, second) > ROUNDING, 2 * first * second, 0.0)
        correlation = np.clip(np.nan_to_num(divide(first**2 + second**2 - both**2, product)), -1.0, 1.0)
        values, lows, highs = (np.stack(pair) for pair in zip(self[:3], other[:3], strict=True))
        bounds = interval_of_difference(values, lows, highs, correlation)
        return _Term(self.value - other.value, *bounds, replicates, both)


def intervals_of(called: Array, total: Array, threshold: Array, sizes: Array) -> Array:
    """Compute low and high [2, M, ..., D] of the MEASURES from the arguments of `measures_of`; NaN where a measure is NaN.

    The arguments may have further axes, such as findings: called [..., D, 2, 1 + B], total [..., 2, 1 + B], threshold [..., D].
    sizes [2, ...]: number of images, and effective number of patients (`bench.scoring.rates.sizes_of_all`).
    A measure is a difference of shares of the images: net benefit = TP - cost x FP, over_all = cost x TN - FN. Few images
    decide some of the shares, and then their distributions are skewed and resamples may not vary at all. So the interval
    combines those of the shares (`interval_of_difference`), and its width is never 0. The error of standardized is that of
    net benefit minus standardized x prevalence, (1 - standardized) x TP - standardized x FN - cost x FP, divided by the
    prevalence (the linear approximation of a ratio); the upper bound is at most 1.
    """
    num = total.sum(-2)[..., None, :]
    of_row = np.asarray(sizes)[..., None]
    (fp, tp), (tn, fn) = (
        [
            _Term.share(divide(counts[..., label, :], np.broadcast_to(num, counts[..., label, :].shape)), *of_row)
            for label in (0, 1)
        ]
        for counts in (called, total[..., None, :, :] - called)
    )
    cost = threshold / (1 - threshold)
    costs = fp.times(cost)
    benefit, over_all = tp.minus(costs), tn.times(cost).minus(fn)
    prevalence = tp.value + fn.value
    standardized = divide(benefit.value, prevalence)
    error = tp.times(1 - standardized).minus(fn.times(standardized)).minus(costs)
    ends = [standardized + divide(end, prevalence) for end in (error.low, error.high)]
    bounds = [(benefit.low, benefit.high), (ends[0], np.minimum(ends[1], 1.0)), (over_all.low, over_all.high)]
    return np.stack(bounds, axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Benefits:
    """The measures of one cohort or of the mean over hospitals, with replicates, for each finding and for the macro.

    measures: finding or "macro" -> [M, D, 1 + B]; the thresholds D are CURVE, then the stated threshold of the finding.
    bounds: finding or "macro" -> intervals [2, M, D]. threshold: finding or "macro" -> stated threshold, NaN for the macro.
    """

    dataset: str
    measures: Mapping[str, Array]
    bounds: Mapping[str, Array]
    threshold: Mapping[str, float]
    sizes: Mapping[str, Sizes]

    @classmethod
    def of(
        cls,
        findings: Sequence[str],
        split: SplitMetrics,
        decisions: Sequence[DecisionCounts],
        stated: Array,
        used: NDArray[np.bool_] | None,
    ) -> Self:
        """Return the benefits of one split. stated [K]: stated thresholds. used [K]: mask of the findings of the macro."""
        at = np.stack([np.append(CURVE, threshold) for threshold in stated])
        called = np.stack([counts.called[: STATED + 1] for counts in decisions])
        total = np.stack([counts.total for counts in decisions])
        of_all = np.stack([sizes_of_all(column, split.resamples.num_patients) for column in split.columns], 1)
        measures = {
            finding: measures_of(*of_finding) for finding, *of_finding in zip(findings, called, total, at, strict=True)
        }
        # as one array of all findings: the many small steps take longer than their numbers
        low_and_high = np.moveaxis(intervals_of(called, total, at, of_all), 2, 0)
        bounds = dict(zip(findings, low_and_high, strict=True))
        finite = np.array([np.isfinite(measures[finding][NET_BENEFIT, :, 0]).any() for finding in findings])
        in_macro = finite if used is None else finite & used
        sizes = {finding: least_sizes(split.counts, np.array([k]), 1) for k, finding in enumerate(findings)}
        sizes[MACRO] = least_sizes(split.counts, in_macro, int(in_macro.sum())) if in_macro.any() else Sizes()
        averaged = [finding for finding, counts in zip(findings, in_macro, strict=True) if counts]
        threshold = dict(zip(findings, stated.tolist(), strict=True)) | {MACRO: float("nan")}
        measures[MACRO], bounds[MACRO] = _mean(
            [measures[finding] for finding in averaged],
            [bounds[finding] for finding in averaged],
            measures[findings[0]],
        )
        return cls(split.scored.dataset, measures, bounds, threshold, sizes)

    @classmethod
    def mean(cls, hospitals: Sequence[Self]) -> Self:
        """Return the unweighted mean over hospitals, for each finding and for the macro; a hospital without a value is left out."""
        measures, bounds, sizes = {}, {}, {}
        for finding, empty in hospitals[0].measures.items():
            known = [h for h in hospitals if np.isfinite(h.measures[finding][NET_BENEFIT, :, 0]).any()]
            of_known = [h.measures[finding] for h in known], [h.bounds[finding] for h in known]
            measures[finding], bounds[finding] = _mean(*of_known, empty)
            numbers = [h.sizes[finding] for h in known]
            if numbers:
                n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*numbers, strict=True))
                fewest_findings = min(size.num_findings for size in numbers)
                sizes[finding] = Sizes(n, num_positive, num_negative, num_patients, fewest_findings)
            else:
                sizes[finding] = Sizes()
        return cls(EXTERNAL, measures, bounds, hospitals[0].threshold, sizes)


def _mean(measures: Sequence[Array], bounds: Sequence[Array], empty: Array) -> tuple[Array, Array]:
    """Return the mean over S findings or hospitals [M, D, 1 + B] and its intervals [2, M, D]; NaN, shaped as `empty`, for none.

    The interval of a mean combines those of the S numbers (`mean_interval`). No table has that of over_all at the thresholds CURVE,
    so it is NaN.
    """
    if not measures:
        return np.full_like(empty, np.nan), np.full((2, *empty.shape[:2]), np.nan)
    numbers, ends = np.stack(measures), np.stack(bounds)
    ends[:, :, OVER_ALL, np.arange(ends.shape[-1]) != STATED] = np.nan
    flat = numbers.reshape(len(numbers), -1, numbers.shape[-1])
    low, high = np.moveaxis(ends.reshape(len(ends), 2, -1), 1, 0)
    of_means = mean_intervals(flat[..., 0], low, high, flat[..., 1:], 0.0)
    return mean_over(numbers), np.stack(of_means).reshape(ends.shape[1:])


def benefits_of(run: RunMetrics, stated: Array, decisions: Sequence[Sequence[DecisionCounts]]) -> list[Benefits]:
    """Return the benefits of each headline split, then of the mean over external hospitals.

    stated [K]: stated thresholds. decisions: calls of each finding for each headline split.
    """
    benefits = [
        Benefits.of(run.findings, split, counts, stated, None if split is run.test else run.used)
        for split, counts in zip(run.headline, decisions, strict=True)
    ]
    num_internal = len(benefits) - len(run.external)
    return [*benefits, *([Benefits.mean(benefits[num_internal:])] if run.external else [])]


def rows(run_id: str, benefits: Sequence[Benefits]) -> tuple[list[Row], list[Row]]:
    """Return the rows of the tables `net_benefit` and `decision_curves`; a curve without a value has no rows."""
    stated_rows: list[Row] = []
    curve_rows: list[Row] = []
    for cohort in benefits:
        for finding, measures in cohort.measures.items():
            prefix, size = (run_id, cohort.dataset, finding), cohort.sizes[finding]
            numbers = np.stack([measures[..., 0], *cohort.bounds[finding]], -1)  # [M, D, 3]
            for m, measure in enumerate(MEASURES):
                at = cohort.threshold[finding]
                stated_rows.append((*prefix, measure, at, *numbers[m, STATED].tolist(), *size))
            for d, threshold in enumerate(CURVE.tolist()):
                benefit, standardized = numbers[NET_BENEFIT, d].tolist(), numbers[STANDARDIZED, d].tolist()
                if np.isfinite(benefit[0]):
                    of_all = benefit[0] - float(numbers[OVER_ALL, d, 0])
                    curve_rows.append((*prefix, threshold, *benefit, *standardized, of_all))
    return stated_rows, curve_rows


def replicates_of(benefits: Sequence[Benefits]) -> dict[str, NDArray[np.float32]]:
    """Return the replicates of net benefit at the stated thresholds, which comparisons between runs need.

    "net_benefit/<dataset>": the macro. "net_benefit/external/<finding>": a finding, mean over hospitals. Without a value,
    there is no entry.
    """
    replicates = {}
    for cohort in benefits:
        for finding, measures in cohort.measures.items():
            name = f"net_benefit/{cohort.dataset}" + ("" if finding == MACRO else f"/{finding}")
            numbers = measures[NET_BENEFIT, STATED]
            if (finding == MACRO or cohort.dataset == EXTERNAL) and np.isfinite(numbers[0]):
                replicates[name] = numbers[1:].astype(np.float32)
    return replicates
