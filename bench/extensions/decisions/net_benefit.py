"""Net benefit: what calls at a threshold are worth, in found cases per image after the deduction of false alarms.

A reader who acts at a probability t accepts (1 - t) / t false alarms for one found case. So a false alarm costs t / (1 - t).
The alternatives need no network: to treat all images as positive, or to treat none. The net benefit of treating none is 0.
Source: Vickers and Elkin 2006, doi:10.1177/0272989X06295361.
Shapes: N images, K findings, M measures, D thresholds, H hospitals, B replicates. Index 0 of an axis 1 + B is the value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import CURVE, DecisionCounts
from bench.scoring.bootstrap.bootstrap import divide
from bench.scoring.bootstrap.intervals import (
    deviation,
    independent,
    interval_of_difference,
    mean_over,
    normal_interval,
    share_interval,
)
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metrics import Label, Score, require_finite
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.score_rows import Sizes, least_sizes
from bench.scoring.score_run import RunMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# over_all: net benefit minus the net benefit of treating all images as positive
MEASURES = ("net_benefit", "standardized", "over_all")
NET_BENEFIT, STANDARDIZED, OVER_ALL = range(len(MEASURES))
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


def net_benefit(label: Label, prob: Score, threshold: float) -> float:
    """Compute the net benefit TP / N - FP / N x t / (1 - t) of calls at probabilities >= t, the threshold.

    Range: below the prevalence; below 0 if treating none is better. NaN without images. Raises ValueError for a threshold
    that is not between 0 and 1, and for a probability that is not finite.

    >>> round(net_benefit(np.array([1, 0, 0, 1], np.int8), np.array([0.9, 0.4, 0.1, 0.2]), 0.2), 4)
    0.4375
    """
    require_finite(prob, "probabilities")
    cost = odds(threshold)
    called = prob >= threshold
    if not len(label):
        return float("nan")
    return float((np.sum(called & (label == 1)) - np.sum(called & (label != 1)) * cost) / len(label))


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


@dataclass(frozen=True, slots=True, eq=False)
class SparedAndMissed:
    """The two shares of which `over_all` consists, at a threshold: cost x spared - missed, for K findings or thresholds.

    Spared images are negative and not called; treating all would call them. Missed images are positive and not called.
    shares [2, K, 1 + B]: spared, missed. num_images, num_patients [K]: numbers of images and of patients that they are shares of.
    """

    shares: Array
    num_images: Array
    num_patients: Array

    def interval(self, threshold: Array) -> tuple[Array, Array]:
        """Compute the intervals of `over_all` [K] at the thresholds [K]; NaN where a number is NaN.

        At a small threshold few images are missed, and the distribution of the measure is then skewed. So its interval comes from
        those of the two shares (`interval_of_difference`).
        """
        cost = threshold / (1 - threshold)
        value, replicates = self.shares[..., 0], self.shares[..., 1:]
        low, high = share_interval(value, replicates, self.num_images, self.num_patients)
        spared, missed = cost * deviation(replicates[0]), deviation(replicates[1])
        together = deviation(cost[:, None] * replicates[0] - replicates[1])
        correlation = np.nan_to_num(divide(spared**2 + missed**2 - together**2, 2 * spared * missed))
        scale = np.array([cost, np.ones(len(cost))])
        return interval_of_difference(scale * value, scale * low, scale * high, correlation)


@dataclass(frozen=True, slots=True, eq=False)
class Benefits:
    """The measures of one cohort or of the mean over hospitals, with replicates, for each finding and for the macro.

    measures: finding or "macro" -> [M, D, 1 + B]; the thresholds D are CURVE, then the stated threshold of the finding.
    threshold: finding or "macro" -> stated threshold, NaN for the macro. spared_and_missed: shares of each finding at its stated
    threshold.
    """

    dataset: str
    measures: Mapping[str, Array]
    threshold: Mapping[str, float]
    sizes: Mapping[str, Sizes]
    spared_and_missed: SparedAndMissed

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
        measures = {
            finding: measures_of(counts.called[: STATED + 1], counts.total, np.append(CURVE, stated[k]))
            for k, (finding, counts) in enumerate(zip(findings, decisions, strict=True))
        }
        finite = np.array([np.isfinite(measures[finding][NET_BENEFIT, :, 0]).any() for finding in findings])
        in_macro = finite if used is None else finite & used
        sizes = {finding: least_sizes(split.counts, np.array([k]), 1) for k, finding in enumerate(findings)}
        sizes[MACRO] = least_sizes(split.counts, in_macro, int(in_macro.sum())) if in_macro.any() else Sizes()
        averaged = [measures[finding] for finding, counts in zip(findings, in_macro, strict=True) if counts]
        threshold = dict(zip(findings, stated.tolist(), strict=True)) | {MACRO: float("nan")}
        macro = mean_over(np.stack(averaged)) if averaged else np.full_like(measures[findings[0]], np.nan)
        shares = np.stack(
            [divide(counts.total - counts.called[STATED], counts.total.sum(0)[None]) for counts in decisions], 1
        )
        effective = np.array([split.counts.n, split.counts.num_patients], np.float64)
        spared_and_missed = SparedAndMissed(shares, *effective)
        return cls(split.scored.dataset, measures | {MACRO: macro}, threshold, sizes, spared_and_missed)

    @classmethod
    def mean(cls, hospitals: Sequence[Self]) -> Self:
        """Return the unweighted mean over hospitals, for each finding and for the macro; a hospital without a value is left out."""
        measures, sizes = {}, {}
        for finding, empty in hospitals[0].measures.items():
            known = [h for h in hospitals if np.isfinite(h.measures[finding][NET_BENEFIT, :, 0]).any()]
            measures[finding] = (
                mean_over(np.stack([h.measures[finding] for h in known])) if known else np.full_like(empty, np.nan)
            )
            numbers = [h.sizes[finding] for h in known]
            if numbers:
                n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*numbers, strict=True))
                fewest_findings = min(size.num_findings for size in numbers)
                sizes[finding] = Sizes(n, num_positive, num_negative, num_patients, fewest_findings)
            else:
                sizes[finding] = Sizes()
        parts = [h.spared_and_missed for h in hospitals]
        shares = mean_over(np.stack([part.shares for part in parts]))
        counted = [
            np.where(np.isfinite(part.shares[0, :, 0]), [part.num_images, part.num_patients], 0.0) for part in parts
        ]
        spared_and_missed = SparedAndMissed(shares, *independent(np.stack(counted)))
        return cls(EXTERNAL, measures, hospitals[0].threshold, sizes, spared_and_missed)


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
        stacked = np.stack(list(cohort.measures.values()))
        value = stacked[..., 0]
        low, high = normal_interval(value, stacked[..., 1:])
        findings = [finding for finding in cohort.measures if finding != MACRO]
        at_stated = np.array([cohort.threshold[finding] for finding in findings])
        of_findings = np.flatnonzero([finding != MACRO for finding in cohort.measures]), OVER_ALL, STATED
        low[of_findings], high[of_findings] = cohort.spared_and_missed.interval(at_stated)
        for f, finding in enumerate(cohort.measures):
            prefix, size = (run_id, cohort.dataset, finding), cohort.sizes[finding]
            numbers = np.stack([value[f], low[f], high[f]], -1)  # [M, D, 3]
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
