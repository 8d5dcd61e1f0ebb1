"""Computation of all metrics of one split: a value per finding, with bootstrap replicates.

A column has the scored images of one finding, from the highest logit to the lowest. A tile is a group of LANES (64)
replicates.
Shapes: N images, K findings, B replicates, R operating points, Q cuts. A cut is a number of images with the highest logits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring import calibration_metrics as calibration
from bench.scoring import custom_metrics, rates
from bench.scoring.bootstrap import bootstrap, calibration_errors
from bench.scoring.bootstrap.area_intervals import ClassSizes, area_interval, images_of_patients
from bench.scoring.bootstrap.resamples import FOR_DETAIL, LANES, Resamples
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.calibration_metrics import BinnedProbabilities
from bench.scoring.calibrators import FITS, Calibrator, Platt, Temperature, sigmoid
from bench.scoring.scored_split import DROPPED, Counts, ScoredSplit, Settings, count
from bench.scoring.thresholds import RULES
from reports import extensions, hooks
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]


class Key(NamedTuple):
    """The name of a metric, with its calibrator and operating point."""

    metric: str
    calibrator: str = "none"  # none, platt, temperature, isotonic
    operating_point: str = ""  # name of the threshold rule; "" for metrics without a threshold


AUROC = Key("auroc")
RANKED = (AUROC, Key("auprc"))
AS_GIVEN = "none"  # the calibrator of unchanged probabilities
DECIDING = "platt"  # the calibrator whose probabilities are compared with thresholds of the probability
HEADLINES = tuple(Key(name, AS_GIVEN) for name in calibration.HEADLINES)
# (column of a finding, its probabilities by calibrator, index of the finding) -> cuts at which an extension counts calls
CutsOf = Callable[[Column, Mapping[str, BinnedProbabilities], int], NDArray[np.int64]]


class MetricNeeds(NamedTuple):
    """The inputs that a metric needs in addition to labels and logits, as flags."""

    operating_point: bool = False  # whether the metric needs positive calls at a threshold
    calibrator: bool = False  # whether the metric needs probabilities, calibrated or not


BUILT_IN: Mapping[str, MetricNeeds] = MappingProxyType(
    {key.metric: MetricNeeds() for key in RANKED}
    | dict.fromkeys(bootstrap.CALL_METRICS, MetricNeeds(operating_point=True))
    | dict.fromkeys(calibration.ERRORS, MetricNeeds(calibrator=True))
)


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """Thresholds and calibrators of each finding, chosen on the validation split.

    threshold [R, K]: a threshold for the logit by rule (in the order of RULES) and finding. fits: name of the
    calibrator -> fitted calibrator of each finding. num_patients [2, K]: row 0 has the number of validation patients
    with a positive image, row 1 the number of validation patients with a negative image. further: what extensions choose
    (their hook `Scores`).
    """

    threshold: Array
    fits: Mapping[str, Sequence[Calibrator]]
    num_patients: NDArray[np.int64]
    further: Sequence[CutsOf] = ()

    @classmethod
    def choose(cls, scored: ScoredSplit | None, num_findings: int, min_count: int = 1) -> Self:
        """Choose thresholds and calibrators on a split; if `scored` is None, all of them are NaN.

        If a class is absent for a finding, its thresholds and calibrated probabilities are NaN. A threshold is the
        score of one image, so a threshold is also NaN with fewer than `min_count` patients in a class. Calibrators need
        no minimum number of patients: a calibrator uses all images, and Platt's targets regularize small samples.
        """
        threshold = np.full((len(RULES), num_findings), np.nan)
        fits: dict[str, list[Calibrator]] = {name: [] for name in FITS}
        no_patients = np.zeros((2, num_findings), np.int64)
        num_patients = scored.cached("patients by class", partial(_by_class, scored)) if scored else no_patients
        enough = num_patients.min(0) >= min_count
        for k in range(num_findings):
            label = scored.labels()[:, k] if scored else np.empty(0, np.int8)
            logit = scored.logit[:, k] if scored else np.empty(0, np.float32)
            labeled = label != DROPPED
            if enough[k]:
                threshold[:, k] = [rule(label[labeled], logit[labeled]) for rule in RULES.values()]
            for name, fit in FITS.items():
                fits[name].append(fit(label[labeled], logit[labeled]))
        further = [cuts for module in extensions.modules(hooks.Scores) if (cuts := module.cuts(scored, enough))]
        return cls(threshold, fits, num_patients, further)

    def frame(self, run_id: str, findings: Sequence[str]) -> pd.DataFrame:
        """Build the table `operating_points`: one row per finding and rule, with platt_a, platt_b and temperature.

        Isotonic curves are not stored; code that needs an isotonic curve fits the curve again to the stored logits.
        """
        rows = []
        for k, finding in enumerate(findings):
            platt, temperature = self.fits["platt"][k], self.fits["temperature"][k]
            assert isinstance(platt, Platt)
            assert isinstance(temperature, Temperature)
            for r, rule in enumerate(RULES):
                threshold = self.threshold[r, k]
                counts = self.num_patients[:, k].tolist()
                rows.append(
                    (
                        run_id,
                        finding,
                        rule,
                        threshold,
                        float(expit(threshold)),
                        platt.a,
                        platt.b,
                        temperature.t,
                        *counts,
                    )
                )
        return pd.DataFrame(rows, columns=list(SCHEMAS["operating_points"]))


def _by_class(scored: ScoredSplit) -> NDArray[np.int64]:
    """Count patients for each finding [2, K]: row 0, patients with a positive image; row 1, with a negative image."""
    return np.array(
        [[len(set(scored.patient_id[labels == sign])) for labels in scored.labels().T] for sign in (1, 0)], np.int64
    )


class CallCounts(NamedTuple):
    """Numbers of negative and positive images of one finding before cuts [Q, 2, 1 + B]: in the data, then in each replicate.

    cut [Q]: rising; the last one has all images.
    """

    cut: NDArray[np.int64]
    reached: Array

    def at(self, cut: NDArray[np.int64]) -> Array:
        """Return the numbers before some of the cuts."""
        numbers: Array = self.reached[np.searchsorted(self.cut, cut)]
        return numbers


@dataclass(frozen=True, slots=True, eq=False)
class SplitMetrics:
    """Metrics of one split, with counts.

    Each metric has a value [K] for the K findings, and B replicates of each value [K, B]; NaN where not available.
    Calibration errors have only the first FOR_DETAIL replicates, except HEADLINES (brier and ece without calibration),
    which have all replicates. A result of `measure` for only one metric has all replicates.
    """

    scored: ScoredSplit
    label: NDArray[np.int8]  # [N, K]; all labels of a finding with too few patients are DROPPED
    resamples: Resamples
    counts: Counts
    value: dict[Key, Array]
    replicates: dict[Key, Array]
    bounds: dict[Key, Array]  # low and high [2, K] of RANKED and of metrics of calls; other intervals need no counts
    threshold: Array  # [R, K] on the logit; NaN where no threshold was chosen, and on the split that chooses thresholds
    columns: tuple[Column, ...]  # one per finding: its scored images, from the highest logit to the lowest
    # one per finding: calibrator -> probabilities of the images in the finding's column, in the same order
    probabilities: tuple[Mapping[str, BinnedProbabilities], ...]
    calls: tuple[CallCounts, ...]  # one per finding: images before the cuts of the thresholds, and of extensions
    # of a pool, whose values are means over hospitals: counts of the hospitals that have a value; else None
    counts_of_means: Counts | None = None

    @property
    def counts_of_values(self) -> Counts:
        """Return the numbers of images and patients behind each value."""
        return self.counts_of_means or self.counts

    @property
    def calibrators(self) -> tuple[str, ...]:
        """Return the names of the calibrators; the first name is "none"."""
        return tuple(self.probabilities[0]) if self.probabilities else ()

    @property
    def images_of_patients(self) -> NDArray[np.int64]:
        """Return the numbers of positive (row 0) and negative images of each finding and patient [2, K, P]."""
        return self.scored.cached(
            "images of patients", lambda: images_of_patients(self.label, self.resamples.patient), self.counts
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """The metrics to compute."""

    ranked: Sequence[Key]  # ranking metrics to compute: none, AUROC, or AUROC and AUPRC
    calls: bool  # whether to compute the metrics of positive calls
    calibrators: Sequence[str]  # calibrators whose calibration errors are computed
    further: Sequence[CutsOf]  # further cuts at which calls are counted
    detail: int  # number of replicates of calibration errors that are not in HEADLINES; 0 means all

    def num(self, key: Key, resamples: Resamples) -> int:
        """Return the number of replicates of a metric."""
        limited = self.detail and key.metric in calibration.ERRORS and key not in HEADLINES
        return self.num_detailed(resamples) if limited else resamples.num

    def names(self) -> list[Key]:
        """Return the metrics in the order of their rows in the table `scores`."""
        keys = list(self.ranked)
        keys += [Key(name, operating_point=rule) for rule in RULES for name in bootstrap.CALL_METRICS if self.calls]
        return keys + [Key(name, calibrator) for calibrator in self.calibrators for name in calibration.ERRORS]

    def num_detailed(self, resamples: Resamples) -> int:
        """Return the number of replicates that calibration errors other than HEADLINES have."""
        return min(self.detail or resamples.num, resamples.num)

    def start(
        self,
        column: Column,
        threshold_R: Array,
        probabilities: Mapping[str, BinnedProbabilities],
        resamples: Resamples,
        bins: int,
        k: int,
    ) -> "_Pass":
        """Return a `_Pass` for finding k: its method `fill` computes the metrics, its method `numbers` returns them."""
        rules, cut_of_rule = bootstrap.cuts_of(column, threshold_R if self.calls else np.empty(0))
        further = [cuts(column, probabilities, k) for cuts in self.further]
        cut, row = np.unique(np.concatenate([cut_of_rule, *further]), return_inverse=True)
        fitted = {name: binned for name, binned in probabilities.items() if binned.fitted}
        errors = None
        if fitted:
            num_detailed = -(-self.num_detailed(resamples) // LANES)
            num_tiles = len(resamples.weight) if AS_GIVEN in fitted else num_detailed
            images = (column.patient, column.positive, list(fitted.values()))
            errors = calibration_errors.Errors.of(*images, bins, num_tiles, num_detailed)
        walk = bootstrap.Walk.empty(resamples, column, cut, with_auprc=RANKED[1] in self.ranked)
        return _Pass(
            self,
            tuple(list(RULES)[rule] for rule in rules),
            row[: len(rules)],
            tuple(fitted),
            walk,
            errors,
            resamples.num,
            self.num_detailed(resamples),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """The computation of all metrics of one finding, one tile (a group of LANES replicates) after another."""

    request: _Request
    rules: tuple[str, ...]
    row_of_rule: NDArray[np.intp]  # index of each rule's cut among the cuts of `walk`; the last cut has all images
    calibrators: tuple[str, ...]
    walk: bootstrap.Walk
    errors: calibration_errors.Errors | None  # None if no calibration errors are computed
    num: int  # number of replicates
    num_detailed: int  # number of replicates for calibration errors that are not in HEADLINES

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Compute one tile (a group of replicates) from the weights of its images, in one pass over the images."""
        self.walk.fill(tile, weight)
        if self.errors:
            self.errors.fill(tile, weight, self.walk.reached[tile, -1])

    def numbers(self) -> tuple[dict[Key, Array], CallCounts]:
        """Return {metric: array [1 + B]} for each metric that could be computed, and the images before each cut.

        An array has first the value, then the replicates.
        """
        numbers: dict[Key, Array] = {}
        walked = self.walk.results(self.num)
        counts = np.concatenate([self.walk.column.counted(self.walk.cut)[..., None], walked.reached], 2)
        areas = zip(self.request.ranked, self.walk.column.areas(), walked[:2], strict=False)
        numbers |= {key: np.append(area, replicates) for key, area, replicates in areas}
        if self.request.calls:
            call_metrics = bootstrap.call_metrics(counts[self.row_of_rule].transpose(1, 0, 2), counts[-1][:, None])
            numbers |= {
                Key(name, operating_point=rule): metric[r]
                for name, metric in call_metrics.items()
                for r, rule in enumerate(self.rules)
            }
        if self.errors:
            for calibrator, errors in zip(self.calibrators, self.errors.results(self.num_detailed), strict=True):
                numbers |= {Key(name, calibrator): error for name, error in errors.items()}
            if self.errors.headlines.size:  # HEADLINES have more replicates than the other errors
                further = self.errors.later_headlines(self.num - self.num_detailed)
                numbers |= {key: np.append(numbers[key], further[key.metric]) for key in HEADLINES}
        return numbers, CallCounts(self.walk.cut, counts)

    def bounds(self, numbers: Mapping[Key, Array], num_patients: int) -> dict[Key, Array]:
        """Return low and high [2] of each metric of calls in the result of `numbers`."""
        if not (self.request.calls and self.rules):
            return {}
        keys = [[Key(name, operating_point=rule) for rule in self.rules] for name in bootstrap.CALL_METRICS]
        numbers_MQB = np.array([[numbers[key] for key in of_metric] for of_metric in keys])
        of_rates = rates.sizes(self.walk.column, self.walk.cut[self.row_of_rule], num_patients)
        low_and_high = rates.intervals(numbers_MQB[..., 0], numbers_MQB[..., 1:], of_rates)
        return {key: low_and_high[:, m, q] for m, of_metric in enumerate(keys) for q, key in enumerate(of_metric)}


def labels_and_counts(scored: ScoredSplit, resamples: Resamples, min_count: int) -> tuple[NDArray[np.int8], Counts]:
    """Return the labels [N, K], DROPPED for findings with too few patients, and the counts of all findings."""
    counts = count(scored.labels(), resamples.patient, min_count)
    # The metrics read labels column by column, so a column must be contiguous in memory.
    label = np.asfortranarray(np.where(counts.available, scored.labels(), np.int8(DROPPED)))
    label.flags.writeable = False
    return label, counts


def measure(
    scored: ScoredSplit,
    points: OperatingPoints | None,
    settings: Settings,
    only: Key | None = None,
    most: int | None = None,
) -> SplitMetrics:
    """Compute all metrics of a split.

    On the split that chooses the operating points, `points` is None, and no metric uses a threshold or a fitted
    calibrator. `only` limits the work to one metric and the metrics that are computed together with this metric. `most`: only the
    first replicates, at most so many. Raises KeyError if `only` is an unknown metric.
    """
    resamples = Resamples.draw(scored.patient_id, settings.num_resamples, scored.name, settings.seed)
    resamples = resamples.first(most or resamples.num)
    label, counts = scored.cached(
        ("counts", settings.min_count), lambda: labels_and_counts(scored, resamples, settings.min_count)
    )
    threshold = points.threshold if points else np.full((len(RULES), label.shape[1]), np.nan)
    calibrators = (AS_GIVEN, *(points.fits if points else ()))
    request = _Request(
        ranked=RANKED if only is None or only == RANKED[1] else (AUROC,) if only == AUROC else (),
        calls=points is not None and (only is None or bool(only.operating_point)),
        calibrators=[
            name
            for name in calibrators
            if only is None or (only.calibrator == name and only.metric in calibration.ERRORS)
        ],
        further=points.further if points and only is None else (),
        detail=FOR_DETAIL if only is None else 0,
    )
    num_findings = label.shape[1]
    value = {key: np.full(num_findings, np.nan) for key in request.names()}
    replicates = {key: np.empty((num_findings, request.num(key, resamples))) for key in value}
    logit = np.asfortranarray(scored.logit)
    columns = [Column.of(resamples.patient, label[:, k], logit[:, k]) for k in range(num_findings)]
    probabilities = [
        {
            name: BinnedProbabilities.of(_probability(column, name, points, k), settings.bins)
            for name in request.calibrators
        }
        for k, column in enumerate(columns)
    ]
    passes = [
        request.start(column, threshold[:, k], probabilities[k], resamples, settings.bins, k)
        for k, column in enumerate(columns)
    ]
    for tile in range(len(resamples.weight)):
        weight = resamples.tile(tile)
        # all findings, while the weights of this tile (64 replicates) are in the processor's cache
        for one in passes:
            one.fill(tile, weight)
    calls: list[CallCounts] = []
    bounds = {key: np.full((2, num_findings), np.nan) for key in value if key.operating_point}
    for k, one in enumerate(passes):
        numbers, of_finding = one.numbers()
        calls.append(of_finding)
        for key, low_and_high in one.bounds(numbers, resamples.num_patients).items():
            bounds[key][:, k] = low_and_high
        for key, replicates_KB in replicates.items():
            if key in numbers:
                value[key][k], replicates_KB[k] = numbers[key][0], numbers[key][1:]
            else:
                value[key][k], replicates_KB[k] = np.nan, np.nan
    for entry in (e for e in settings.custom_metrics if only in {None, Key(e.name)}):
        outputs = scored.logit if entry.facts["given"] == "logit" else sigmoid(scored.logit)
        value[Key(entry.name)], replicates[Key(entry.name)] = custom_metrics.measure(entry, label, outputs, resamples)
    class_sizes = scored.cached("class sizes", lambda: ClassSizes.of_labels(label, resamples.patient), counts)
    for key in request.ranked:
        bounds[key] = np.stack(area_interval(key.metric, value[key], replicates[key], class_sizes))
    if only is not None and only not in value:
        raise KeyError(f"no metric {only}")
    return SplitMetrics(
        scored,
        label,
        resamples,
        counts,
        value,
        replicates,
        bounds,
        threshold,
        tuple(columns),
        tuple(probabilities),
        tuple(calls),
    )


def _probability(column: Column, calibrator: str, points: OperatingPoints | None, k: int) -> Array:
    """Return the probabilities of finding k's images in the order of its column; AS_GIVEN means without calibration."""
    if points is None or calibrator == AS_GIVEN:
        return sigmoid(column.score)
    return points.fits[calibrator][k].apply(column.score)
