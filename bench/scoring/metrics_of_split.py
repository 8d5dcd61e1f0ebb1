"""Computation of all metrics of one split: a value per finding, with the influence of each patient on it.

A column has the scored images of one finding, from the highest logit to the lowest.
Shapes: N images, K findings, P patients (or groups of patients, see `Sample`), R operating points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.config.settings import Settings
from bench.scoring import calibration_metrics as calibration
from bench.scoring import custom_metrics
from bench.scoring.area_intervals import ClassSizes, area_interval, images_of_patients
from bench.scoring.calibration_metrics import BinnedProbabilities
from bench.scoring.calibrators import FITS, Calibrator, Platt, Temperature, sigmoid
from bench.scoring.column import Column
from bench.scoring.influence import error_of
from bench.scoring.rates import CALL_METRICS, Rates
from bench.scoring.sample import Sample
from bench.scoring.scored_split import DROPPED, Counts, ScoredSplit, count
from bench.scoring.thresholds import RULES
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


class MetricNeeds(NamedTuple):
    """The inputs that a metric needs in addition to labels and logits, as flags."""

    operating_point: bool = False  # whether the metric needs positive calls at a threshold
    calibrator: bool = False  # whether the metric needs probabilities, calibrated or not


BUILT_IN: Mapping[str, MetricNeeds] = MappingProxyType(
    {key.metric: MetricNeeds() for key in RANKED}
    | dict.fromkeys(CALL_METRICS, MetricNeeds(operating_point=True))
    | dict.fromkeys(calibration.ERRORS, MetricNeeds(calibrator=True))
)


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """Thresholds and calibrators of each finding, chosen on the validation split.

    threshold [R, K]: a threshold for the logit by rule (in the order of RULES) and finding. fits: name of the
    calibrator -> fitted calibrator of each finding. num_patients [2, K]: row 0 has the number of validation patients
    with a positive image, row 1 the number of validation patients with a negative image.
    """

    threshold: Array
    fits: Mapping[str, Sequence[Calibrator]]
    num_patients: NDArray[np.int64]

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
        return cls(threshold, fits, num_patients)

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


@dataclass(frozen=True, slots=True, eq=False)
class SplitMetrics:
    """Metrics of one split, with counts.

    Each metric has a value [K] for the K findings, and the influence of each patient on each value [K, P]; NaN where not available.
    """

    scored: ScoredSplit
    label: NDArray[np.int8]  # [N, K]; all labels of a finding with too few patients are DROPPED
    sample: Sample
    counts: Counts
    value: dict[Key, Array]
    influence: dict[Key, Array]
    bounds: dict[Key, Array]  # low and high [2, K] of RANKED and of metrics of calls; other intervals need no counts
    excess: dict[Key, Array]  # [K] of calibration errors (`calibration_metrics.Measured`)
    threshold: Array  # [R, K] on the logit; NaN where no threshold was chosen, and on the split that chooses thresholds
    columns: tuple[Column, ...]  # one per finding: its scored images, from the highest logit to the lowest
    # one per finding: calibrator -> probabilities of the images in the finding's column, in the same order
    probabilities: tuple[Mapping[str, BinnedProbabilities], ...]
    # for a pool, whose values are means over hospitals: counts of the hospitals that have a value; else None
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
            "images of patients", lambda: images_of_patients(self.label, self.sample.patient), self.counts
        )


def labels_and_counts(scored: ScoredSplit, sample: Sample, min_count: int) -> tuple[NDArray[np.int8], Counts]:
    """Return the labels [N, K], DROPPED for findings with too few patients, and the counts of all findings."""
    counts = count(scored.labels(), sample.patient, min_count)
    # The metrics read labels column by column, so a column must be contiguous in memory.
    label = np.asfortranarray(np.where(counts.available, scored.labels(), np.int8(DROPPED)))
    label.flags.writeable = False
    return label, counts


def measure(
    scored: ScoredSplit, points: OperatingPoints | None, settings: Settings, only: Key | None = None
) -> SplitMetrics:
    """Compute all metrics of a split.

    On the split that chooses the operating points, `points` is None, and no metric uses a threshold or a fitted
    calibrator. `only` limits the work to one metric and the metrics that are computed together with this metric. Raises KeyError
    if `only` is an unknown metric.
    """
    sample = Sample.of(scored.patient_id, scored.name)
    label, counts = scored.cached(
        ("counts", settings.min_count), lambda: labels_and_counts(scored, sample, settings.min_count)
    )
    num_findings = label.shape[1]
    threshold = points.threshold if points else np.full((len(RULES), num_findings), np.nan)
    calibrators = [
        name
        for name in (AS_GIVEN, *(points.fits if points else ()))
        if only is None or (only.calibrator == name and only.metric in calibration.ERRORS)
    ]
    ranked = [key for key in RANKED if only in (None, key, RANKED[1])]  # the AUPRC is computed together with the AUROC
    rules = tuple(RULES) if points is not None and (only is None or only.operating_point) else ()
    keys = [*ranked, *(Key(name, operating_point=rule) for rule in rules for name in CALL_METRICS)]
    keys += [Key(name, calibrator) for calibrator in calibrators for name in calibration.ERRORS]
    logit = np.asfortranarray(scored.logit)
    columns = [Column.of(sample.patient, label[:, k], logit[:, k]) for k in range(num_findings)]
    probabilities = [
        {name: BinnedProbabilities.of(_probability(column, name, points, k), settings.bins) for name in calibrators}
        for k, column in enumerate(columns)
    ]
    numbers = [
        _numbers(
            column, ranked, dict(zip(rules, threshold[:, k], strict=False)), probabilities[k], sample, settings.bins
        )
        for k, column in enumerate(columns)
    ]
    unknown = _Number(np.nan, np.full(sample.num_groups, np.nan))
    found = {key: [of_finding.get(key, unknown) for of_finding in numbers] for key in keys}
    value = {key: np.array([number.value for number in of_key]) for key, of_key in found.items()}
    influence = {
        key: np.array([number.influence for number in of_key]).reshape(num_findings, sample.num_groups)
        for key, of_key in found.items()
    }
    for entry in (e for e in settings.custom_metrics if only in {None, Key(e.name)}):
        outputs = scored.logit if entry.facts["given"] == "logit" else sigmoid(scored.logit)
        value[Key(entry.name)], influence[Key(entry.name)] = custom_metrics.measure(entry, label, outputs, sample)
    class_sizes = scored.cached("class sizes", lambda: ClassSizes.of_labels(label, sample.patient), counts)
    bounds = {
        key: np.stack(area_interval(key.metric, value[key], error_of(influence[key]), class_sizes)) for key in ranked
    }
    for key in (key for key in keys if key.operating_point):
        bounds[key] = np.array([number.bounds for number in found[key]]).reshape(-1, 2).T
    excess = {
        key: np.array([number.excess for number in found[key]]) for key in keys if key.metric in calibration.ERRORS
    }
    if only is not None and only not in value:
        raise KeyError(f"no metric {only}")
    return SplitMetrics(
        scored, label, sample, counts, value, influence, bounds, excess, threshold, tuple(columns), tuple(probabilities)
    )


class _Number(NamedTuple):
    """One metric of one finding."""

    value: float
    influence: Array  # [P]
    bounds: tuple[float, float] = (np.nan, np.nan)  # only for metrics of calls
    excess: float = np.nan  # only for calibration errors


def _numbers(
    column: Column,
    ranked: Sequence[Key],
    thresholds: Mapping[str, float],
    probabilities: Mapping[str, BinnedProbabilities],
    sample: Sample,
    bins: int,
) -> dict[Key, _Number]:
    """Compute the metrics of one finding that are known. thresholds: rule -> threshold on the logit."""
    numbers: dict[Key, _Number] = {}
    for key, area in zip(ranked, (Column.auroc, Column.average_precision), strict=False):
        value, of_image = area(column)
        numbers[key] = _Number(value, sample.sums(of_image, column.rows))
    rules = [rule for rule, threshold in thresholds.items() if not np.isnan(threshold)]
    if rules and len(column.rows):
        rates = Rates.of(column, column.reaching([thresholds[rule] for rule in rules]), sample)
        for m, name in enumerate(CALL_METRICS):
            for q, rule in enumerate(rules):
                low, high = rates.bounds[:, m, q].tolist()
                of_metric = _Number(float(rates.value[m, q]), rates.influence[m, q], (low, high))
                numbers[Key(name, operating_point=rule)] = of_metric
    for calibrator, binned in probabilities.items():
        if binned.fitted:
            group = sample.group[column.rows]
            errors = calibration.measured(column.positive, binned.prob, bins, group, sample.num_groups)
            for name, error, influence, excess in zip(calibration.ERRORS, *errors, strict=True):
                numbers[Key(name, calibrator)] = _Number(float(error), influence, excess=float(excess))
    return numbers


def _probability(column: Column, calibrator: str, points: OperatingPoints | None, k: int) -> Array:
    """Return the probabilities of finding k's images in the order of its column; AS_GIVEN means without calibration."""
    if points is None or calibrator == AS_GIVEN:
        return sigmoid(column.score)
    return points.fits[calibrator][k].apply(column.score)
