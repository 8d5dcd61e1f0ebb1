"""Net benefit: what calls at a threshold are worth, in found cases per image after the deduction of false alarms.

A reader who acts at a probability t accepts (1 - t) / t false alarms for one found case. So a false alarm costs t / (1 - t).
The alternatives need no network: to treat all images as positive, or to treat none. The net benefit of treating none is 0.
Source: Vickers and Elkin 2006, doi:10.1177/0272989X06295361.
Shapes: K findings, M measures, D thresholds, S findings or hospitals of a mean, P patients (or groups of patients, see `Sample`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.calls import CURVE, DecisionCounts, divide
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.gaps.hospital_means import complete, weights
from bench.scoring.influence import Estimate, Influence, correlations, error_of, mean_of, ratio
from bench.scoring.intervals import EQUAL, interval_of_difference, share_bounds
from bench.scoring.means import Sizes, least_sizes
from bench.scoring.metrics_of_split import AUROC, SplitMetrics
from bench.scoring.rates import sizes_of
from bench.scoring.score_run import RunMetrics

Array = NDArray[np.float64]
Row = tuple[Any, ...]

# over_all: net benefit minus the net benefit of treating all images as positive
MEASURES = ("net_benefit", "standardized", "over_all")
NET_BENEFIT, STANDARDIZED, OVER_ALL = range(len(MEASURES))
FEW = 1.2  # enlarges the variance of a share that few patients decide (`_Term.share`); chosen by simulation
ROUNDING = 1e-12  # standard error of numbers that differ by rounding only
STATED = len(CURVE)  # index of the stated threshold of a finding, behind the thresholds CURVE


def measures_of(called: Array, total: Array, threshold: Array) -> Array:
    """Compute the MEASURES [M, D] from counts of calls [D, 2] and of all images [2].

    A threshold [D] is NaN if it is unknown. A measure is NaN without images, and `standardized` (net benefit divided by the
    prevalence) without positive images.
    """
    cost = threshold / (1 - threshold)
    false, found = called[:, 0], called[:, 1]
    num = total.sum(0)
    benefit, of_all = divide(found - cost * false, num), divide(total[1] - cost * total[0], num)
    standardized = divide(found - cost * false, total[1])
    return np.stack([benefit, standardized, benefit - of_all])


class _Term(NamedTuple):
    """A term of a measure at D thresholds: value, low, high [..., D], and the influences of the patients [..., D, P]."""

    value: Array
    low: Array
    high: Array
    influence: Array

    @classmethod
    def share(cls, events: Array, images: Array, num_images: Array, num_patients: Array) -> Self:
        """Return shares of images with their intervals, from the events and images of each patient [..., D, P]; sizes: `share_interval`.

        The interval is that of `share_interval`, but a variance that differs from that of independent images comes from patients.
        If few patients have an event, it is often too small, and is enlarged: by about half of what a t distribution with one
        degree of freedom for each of these patients would need. `benchmarks/benefits.py` shows the coverage.
        """
        value, influence = ratio(events, images)
        num = np.maximum(num_images, 1.0)
        patients = np.minimum(np.maximum(num_patients, 1.0), num)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = error_of(influence) ** 2 / (1 - 1 / patients)
            variance *= 1 + FEW * (1 - patients / num) / (value * (1 - value) * patients)
        return cls(value, *share_bounds(value, variance, num, patients), influence)

    def times(self, factor: Array) -> "_Term":
        """Return the term times factor [..., D], which may be negative."""
        low, high = np.sort(factor * np.stack([self.low, self.high]), axis=0)
        return _Term(factor * self.value, low, high, factor[..., None] * self.influence)

    def minus(self, other: "_Term") -> "_Term":
        """Return the difference, with the interval of `interval_of_difference`.

        The correlation is between the influences, 0 if no patient has an influence on a term.
        """
        errors = np.stack([error_of(self.influence), error_of(other.influence)])
        covariance = np.einsum("...p,...p->...", self.influence, other.influence)
        product = np.where(errors.min(0) > ROUNDING, errors.prod(0), 0.0)
        correlation = np.clip(np.nan_to_num(divide(covariance, product)), -1.0, 1.0)
        values, lows, highs = (np.stack(pair) for pair in zip(self[:3], other[:3], strict=True))
        bounds = interval_of_difference(values, lows, highs, correlation)
        return _Term(self.value - other.value, *bounds, self.influence - other.influence)


def intervals_of(called: Array, total: Array, threshold: Array, sizes: Array) -> tuple[Array, Array]:
    """Compute low and high [2, M, ..., D] of the MEASURES, and the influences of the patients [M, ..., D, P]; NaN where unknown.

    called [..., D, 2, P], total [..., 2, P]: numbers of images of each patient, else as in `measures_of`. threshold [..., D].
    sizes [2, ...]: number of images, and effective number of patients (`bench.scoring.rates.sizes_of`).
    A measure is a difference of shares of the images: net benefit = TP - cost x FP, over_all = cost x TN - FN. Few images
    decide some of the shares, and then their distributions are skewed and no patient may have an influence. So the interval
    combines those of the shares (`interval_of_difference`), and its width is never 0. The error of standardized is that of
    net benefit minus standardized x prevalence, (1 - standardized) x TP - standardized x FN - cost x FP, divided by the
    prevalence (the linear approximation of a ratio); the upper bound is at most 1.
    """
    num = total.sum(-2)[..., None, :]
    of_row = np.asarray(sizes)[..., None]
    (fp, tp), (tn, fn) = (
        [
            _Term.share(counts[..., label, :], np.broadcast_to(num, counts[..., label, :].shape), *of_row)
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
    of_standardized = divide(error.influence, prevalence[..., None])
    return np.stack(bounds, axis=1), np.stack([benefit.influence, of_standardized, over_all.influence])


class _Cells(NamedTuple):
    """The measures of the findings at one split, from which a macro is made.

    value [K, M, D] with its bounds [K, 2, M, D], the correlations of the findings [M, D, K, K], and the influence [K, P] of the patients
    on the net benefit at the stated thresholds.
    """

    sample: Any
    value: Array
    bounds: Array
    matrix: Array
    of_stated: Array

    def at(self, weight: Array) -> tuple[Array, Array, Array, Array]:
        """Return the arguments of `_sum`. weight [K, 2]: weights of the findings on the curve, and at the stated thresholds."""
        return self.value, self.bounds, self.matrix, np.repeat(weight, (STATED, 1), axis=1)[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Benefits:
    """The measures of one cohort or of the mean over hospitals, for each finding and for the macro.

    measures: finding or "macro" -> [M, D]; the thresholds D are CURVE, then the stated threshold of the finding.
    bounds: finding or "macro" -> intervals [2, M, D]. influence: finding or "macro" -> of the patients on the net benefit at the
    stated threshold. threshold: finding or "macro" -> stated threshold, NaN for the macro.
    """

    dataset: str
    measures: Mapping[str, Array]
    bounds: Mapping[str, Array]
    influence: Mapping[str, Influence]
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
    ) -> tuple[Self, _Cells]:
        """Return the benefits of one split. stated [K]: stated thresholds. used [K]: mask of the findings of the macro (None: all)."""
        at = np.stack([np.append(CURVE, threshold) for threshold in stated])
        called = np.stack([counts.called[: STATED + 1] for counts in decisions])
        total = np.stack([counts.total for counts in decisions])
        of_all = [
            sizes_of(column, np.ones(len(column.rows), bool), split.sample.num_patients) for column in split.columns
        ]
        value = np.stack([measures_of(*of) for of in zip(called.sum(-1), total.sum(-1), at, strict=True)])
        # as one array of all findings: the many small steps take longer than their numbers
        low_and_high, influence = intervals_of(called, total, at, np.stack(of_all, 1))
        measures = dict(zip(findings, value, strict=True))
        bounds = dict(zip(findings, np.moveaxis(low_and_high, 2, 0), strict=True))
        of_stated = influence[NET_BENEFIT, :, STATED]
        influences = {
            finding: Influence({split.sample.key: of}) for finding, of in zip(findings, of_stated, strict=True)
        }
        finite = np.array([np.isfinite(measures[finding][NET_BENEFIT]).any() for finding in findings])
        in_macro = finite if used is None else finite & used
        sizes = {finding: least_sizes(split.counts, np.array([k]), 1) for k, finding in enumerate(findings)}
        sizes[MACRO] = least_sizes(split.counts, in_macro, int(in_macro.sum())) if in_macro.any() else Sizes()
        threshold = dict(zip(findings, stated.tolist(), strict=True)) | {MACRO: float("nan")}
        averaged = np.flatnonzero(in_macro)
        matrix = correlations(np.einsum("msdp,mtdp->mdst", influence, influence, optimize=True))
        cells = _Cells(split.sample.key, value, np.moveaxis(low_and_high, 2, 0), matrix, of_stated)
        measures[MACRO], bounds[MACRO] = _mean(
            value[averaged], cells.bounds[averaged], matrix[..., averaged[:, None], averaged]
        )
        of_macro = mean_of(value[averaged, NET_BENEFIT, STATED], of_stated[averaged])[1]
        influences[MACRO] = Influence({split.sample.key: of_macro})
        return cls(split.scored.dataset, measures, bounds, influences, threshold, sizes), cells

    def with_macro(self, cells: Sequence[_Cells], weight: Array) -> "Benefits":
        """Return the benefits with a macro that is a weighted sum of the cells of all hospitals; weight [H, K, 2]: see `_Cells.at`."""
        value, bounds = _sum([of.at(own) for of, own in zip(cells, weight, strict=True)])
        used = [own[:, 1] != 0 for own in weight]
        parts = {
            of.sample: own[in_sum, 1] @ of.of_stated[in_sum]
            for of, own, in_sum in zip(cells, weight, used, strict=True)
        }
        return replace(
            self,
            measures={**self.measures, MACRO: value},
            bounds={**self.bounds, MACRO: bounds},
            influence={**self.influence, MACRO: Influence(parts)},
        )

    @classmethod
    def mean(cls, hospitals: Sequence[Self], has_macro: bool) -> Self:
        """Return the unweighted mean over hospitals, for each finding and for the macro; a hospital without a value is left out.

        has_macro: whether the hospitals have findings of a mean in common; else the macro is unknown.
        """
        measures, bounds, influences, sizes = {}, {}, {}, {}
        for finding in hospitals[0].measures:
            averaged = hospitals if has_macro or finding != MACRO else ()
            known = [h for h in averaged if np.isfinite(h.measures[finding][NET_BENEFIT]).any()]
            value, ends = (np.array([getattr(h, name)[finding] for h in known]) for name in ("measures", "bounds"))
            measures[finding], bounds[finding] = _mean(value, ends, np.eye(len(known)))
            influences[finding] = Influence.mean(
                [h.influence[finding] for h in known if np.isfinite(h.measures[finding][NET_BENEFIT, STATED])]
            )
            numbers = [h.sizes[finding] for h in known]
            if numbers:
                n, num_positive, num_negative, num_patients, _ = (sum(column) for column in zip(*numbers, strict=True))
                fewest_findings = min(size.num_findings for size in numbers)
                sizes[finding] = Sizes(n, num_positive, num_negative, num_patients, fewest_findings)
            else:
                sizes[finding] = Sizes()
        return cls(EXTERNAL, measures, bounds, influences, hospitals[0].threshold, sizes)


def _mean(value: Array, bounds: Array, matrix: Array) -> tuple[Array, Array]:
    """Return the means [M, D] of the finite numbers in value [S, M, D], and their intervals [2, M, D] from bounds [S, 2, M, D].

    matrix [..., S, S]: correlations of the numbers. The interval of a mean combines the intervals of the S numbers (`mean_interval`).
    """
    if not len(value):
        unknown = np.full((len(MEASURES), STATED + 1), np.nan)
        return unknown, np.stack([unknown, unknown])
    known = np.isfinite(value)
    return _sum([(value, bounds, matrix, divide(known.astype(np.float64), known.sum(0)))])


def _sum(parts: Sequence[tuple[Array, Array, Array, Array]]) -> tuple[Array, Array]:
    """Return weighted sums [M, D] of numbers of independent parts, with their intervals [2, M, D]; NaN if a weight is NaN.

    A part has value, bounds and matrix as in `_mean`, and weights [S, 1 or M, D]; a number with weight 0 may be NaN.
    """
    mean, (squares, alone) = np.zeros(parts[0][0].shape[1:]), np.zeros((2, 2, *parts[0][0].shape[1:]))
    for value, bounds, matrix, weight in parts:
        share = np.broadcast_to(weight, value.shape)
        mean += np.where(share == 0, 0.0, share * value).sum(0)
        distances = np.where(share[:, None] == 0, 0.0, np.abs(share[:, None] * (bounds - value[:, None])))
        distances = np.where(share[:, None] < 0, distances[:, ::-1], distances)
        whole = np.broadcast_to(matrix, (*mean.shape, len(value), len(value)))
        squares += np.einsum("semd,mdst,temd->emd", distances, whole, distances, optimize=True)
        alone += (distances**2).sum(0)
    # errors that cancel exactly count as independent, as in `mean_interval`
    below, above = np.sqrt(np.where(squares > EQUAL * alone, squares, alone))
    return mean, np.stack([mean - below, mean + above])


def benefits_of(run: RunMetrics, stated: Array, decisions: Sequence[Sequence[DecisionCounts]]) -> list[Benefits]:
    """Return the benefits of each headline split, then of the mean over external hospitals.

    stated [K]: stated thresholds. decisions: calls of each finding for each headline split.
    """
    used = run.used if run.used is not None and run.used.any() else None
    found = [
        Benefits.of(run.findings, split, counts, stated, None if split is run.test else used)
        for split, counts in zip(run.headline, decisions, strict=True)
    ]
    benefits = [of for of, _ in found]
    cells = [of for _, of in found][-len(run.external) :]
    if not run.external:
        return benefits
    start, has_threshold = len(benefits) - len(run.external), np.isfinite(stated)
    if used is not None:
        scored = used & np.isfinite(np.stack([split.value[AUROC] for split in run.external]))
        weight = np.stack([weights(scored), weights(scored & has_threshold)], -1)
        for h in np.flatnonzero(~complete(scored)):
            benefits[start + h] = benefits[start + h].with_macro(cells, weight[h])
    return [*benefits, Benefits.mean(benefits[start:], has_macro=used is not None)]


def rows(run_id: str, benefits: Sequence[Benefits]) -> tuple[list[Row], list[Row]]:
    """Return the rows of the tables `net_benefit` and `decision_curves`; a curve without a value has no rows."""
    stated_rows: list[Row] = []
    curve_rows: list[Row] = []
    for cohort in benefits:
        for finding, measures in cohort.measures.items():
            prefix = (run_id, cohort.dataset, finding)
            numbers = np.stack([measures, *cohort.bounds[finding]], -1)  # [M, D, 3]
            for m, measure in enumerate(MEASURES):
                at = cohort.threshold[finding]
                stated_rows.append((*prefix, measure, at, *numbers[m, STATED].tolist(), *cohort.sizes[finding]))
            for d, threshold in enumerate(CURVE.tolist()):
                benefit, standardized = numbers[NET_BENEFIT, d].tolist(), numbers[STANDARDIZED, d].tolist()
                if np.isfinite(benefit[0]):
                    of_all = benefit[0] - float(numbers[OVER_ALL, d, 0])
                    curve_rows.append((*prefix, threshold, *benefit, *standardized, of_all))
    return stated_rows, curve_rows


def estimates_of(benefits: Sequence[Benefits]) -> dict[str, Estimate]:
    """Return the net benefits at the stated thresholds, which comparisons between runs need.

    "net_benefit/<dataset>": the macro. "net_benefit/external/<finding>": a finding, mean over hospitals. Without a value,
    there is no entry.
    """
    estimates = {}
    for cohort in benefits:
        for finding, measures in cohort.measures.items():
            name = f"net_benefit/{cohort.dataset}" + ("" if finding == MACRO else f"/{finding}")
            value = float(measures[NET_BENEFIT, STATED])
            if (finding == MACRO or cohort.dataset == EXTERNAL) and np.isfinite(value):
                estimates[name] = Estimate(value, cohort.influence[finding])
    return estimates
