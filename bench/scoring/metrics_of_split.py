"""All metrics of one split, per finding, with their replicates.

Shapes: N images, K findings, B replicates, R operating points.
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

from bench.scoring import calibration_metrics as calibration
from bench.scoring import custom_metrics
from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap import calibration_errors as judging
from bench.scoring.bootstrap.resamples import FOR_DETAIL, LANES, Resamples
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.calibration_metrics import Judged
from bench.scoring.calibrators import FITS, Calibrator, Platt, Temperature, sigmoid
from bench.scoring.scored_split import DROPPED, Counts, ScoredSplit, Settings, count
from bench.scoring.thresholds import RULES
from reports.schemas.tables import SCHEMAS

Array = NDArray[np.float64]


class Key(NamedTuple):
    """The name of a metric, with its calibrator and operating point."""

    metric: str
    calibrator: str = "none"  # none, platt, temperature, isotonic
    operating_point: str = ""  # "" for threshold-free metrics


AUROC = Key("auroc")
RANKED = (AUROC, Key("auprc"))
AS_GIVEN = "none"
HEADLINES = tuple(Key(name, AS_GIVEN) for name in calibration.HEADLINES)


class MetricNeeds(NamedTuple):
    """What a metric is computed from besides labels and logits."""

    operating_point: bool = False  # calls at a threshold
    calibrator: bool = False  # probabilities, which may be calibrated first


BUILT_IN: Mapping[str, MetricNeeds] = MappingProxyType(
    {key.metric: MetricNeeds() for key in RANKED}
    | dict.fromkeys(bootstrap.CALL_METRICS, MetricNeeds(operating_point=True))
    | dict.fromkeys(calibration.ERRORS, MetricNeeds(calibrator=True))
)


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """Thresholds and calibrators chosen on validation: threshold [R, K] on the logit (R as in RULES), fits per finding.

    num_patients [2, K]: validation patients with a positive image, and with a negative one.
    """

    threshold: Array
    fits: Mapping[str, Sequence[Calibrator]]
    num_patients: NDArray[np.int64]

    @classmethod
    def choose(cls, scored: ScoredSplit | None, num_findings: int, min_count: int = 1) -> Self:
        """Choose on a split; NaN for all findings without a split, and for a finding without both classes.

        A threshold is the score of one image, too uncertain below `min_count` patients of a class: NaN. Calibrators have few
        parameters and use all images, so they have no such minimum (Platt's targets regularize small samples).
        """
        threshold = np.full((len(RULES), num_findings), np.nan)
        fits: dict[str, list[Calibrator]] = {name: [] for name in FITS}
        none = np.zeros((2, num_findings), np.int64)
        num_patients = scored.once("patients by class", partial(_by_class, scored)) if scored else none
        for k in range(num_findings):
            label = scored.labels()[:, k] if scored else np.empty(0, np.int8)
            logit = scored.logit[:, k] if scored else np.empty(0, np.float32)
            known = label != DROPPED
            if num_patients[:, k].min() >= min_count:
                threshold[:, k] = [rule(label[known], logit[known]) for rule in RULES.values()]
            for name, fit in FITS.items():
                fits[name].append(fit(label[known], logit[known]))
        return cls(threshold, fits, num_patients)

    def frame(self, run_id: str, findings: Sequence[str]) -> pd.DataFrame:
        """Build the rows of `operating_points`: one per finding and rule, with platt_a, platt_b and temperature.

        An isotonic curve is not stored; it is fitted again from the stored logits.
        """
        rows = []
        for k, finding in enumerate(findings):
            platt, temperature = self.fits["platt"][k], self.fits["temperature"][k]
            assert isinstance(platt, Platt)
            assert isinstance(temperature, Temperature)
            for r, rule in enumerate(RULES):
                at = self.threshold[r, k]
                counts = self.num_patients[:, k].tolist()
                rows.append((run_id, finding, rule, at, float(expit(at)), platt.a, platt.b, temperature.t, *counts))
        return pd.DataFrame(rows, columns=list(SCHEMAS["operating_points"]))


def _by_class(scored: ScoredSplit) -> NDArray[np.int64]:
    """Count the patients with a positive image of each finding, and those with a negative one [2, K]."""
    return np.array(
        [[len(set(scored.patient_id[of == sign])) for of in scored.labels().T] for sign in (1, 0)], np.int64
    )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One scored split: counts, and per metric the value [K] and replicates [K, B], NaN where not available.

    Calibration errors have only the first FOR_DETAIL replicates, except Brier score and ECE of uncalibrated outputs.
    """

    scored: ScoredSplit
    label: NDArray[np.int8]  # [N, K]; whole columns DROPPED where the finding is not available
    resamples: Resamples
    counts: Counts
    value: dict[Key, Array]
    replicates: dict[Key, Array]
    threshold: Array  # [R, K] on the logit; NaN where none was chosen, and on the split that chooses
    columns: tuple[Column, ...]  # each finding by falling logit
    judged: tuple[Mapping[str, Judged], ...]  # of each finding: calibrator -> its probabilities along the column

    @property
    def calibrators(self) -> tuple[str, ...]:
        """Return the names of the calibrators, first "none"."""
        return tuple(self.judged[0]) if self.judged else ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to measure: which areas, calls, and the errors of which calibrators."""

    ranked: Sequence[Key]  # AUROC; AUPRC, too, which takes as long again
    called: bool
    judged: Sequence[str]
    detail: int  # replicates of calibration errors but for the HEADLINES; 0: all

    def num(self, key: Key, resamples: Resamples) -> int:
        """Return how many replicates a metric has."""
        brief = self.detail and key.metric in calibration.ERRORS and key not in HEADLINES
        return self.num_detailed(resamples) if brief else resamples.num

    def names(self) -> list[Key]:
        """Return the metrics in the order of the table."""
        found = list(self.ranked)
        found += [Key(name, operating_point=rule) for rule in RULES for name in bootstrap.CALL_METRICS if self.called]
        return found + [Key(name, calibrator) for calibrator in self.judged for name in calibration.ERRORS]

    def num_detailed(self, resamples: Resamples) -> int:
        """Return how many replicates all calibration errors have."""
        return min(self.detail or resamples.num, resamples.num)

    def of(
        self,
        column: Column,
        threshold_R: Array,
        judged: Mapping[str, Judged],
        resamples: Resamples,
        bins: int,
    ) -> "_Pass":
        """Return what measures a finding, before it has seen a resample."""
        rules, cut = bootstrap.cuts_of(column, threshold_R if self.called else np.empty(0))
        fitted = {name: each for name, each in judged.items() if each.known}
        errors = None
        if fitted:
            num_detailed = -(-self.num_detailed(resamples) // LANES)
            num_tiles = len(resamples.weight) if AS_GIVEN in fitted else num_detailed
            images = (column.patient, column.positive, list(fitted.values()))
            errors = judging.Errors.of(*images, bins, num_tiles, num_detailed)
        walk = bootstrap.Walk.empty(resamples, column, cut)
        return _Pass(
            self,
            tuple(list(RULES)[rule] for rule in rules),
            tuple(fitted),
            walk,
            errors,
            resamples.num,
            self.num_detailed(resamples),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Pass:
    """Everything about one finding that is read off the same resamples, filled tile by tile."""

    wanted: _Wanted
    rules: tuple[str, ...]
    calibrators: tuple[str, ...]
    walk: bootstrap.Walk
    errors: judging.Errors | None
    num: int  # replicates
    num_detailed: int

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Go over the images once with the weights of one tile."""
        self.walk.fill(tile, weight)
        if self.errors:
            self.errors.fill(tile, weight)

    def numbers(self) -> dict[Key, Array]:
        """Return the value and the replicates [1 + B] of each metric that could be computed."""
        out: dict[Key, Array] = {}
        walked = self.walk.results(self.num)
        areas = zip(self.wanted.ranked, self.walk.column.areas(), walked[:2], strict=False)
        out |= {key: np.append(plain, resampled) for key, plain, resampled in areas}
        if self.wanted.called:
            counted = np.concatenate([self.walk.column.counted(self.walk.cut)[..., None], walked.reached], 2)
            found = bootstrap.call_metrics(counted[:-1].transpose(1, 0, 2), counted[-1][:, None])
            out |= {
                Key(name, operating_point=rule): each[r]
                for name, each in found.items()
                for r, rule in enumerate(self.rules)
            }
        if self.errors:
            for calibrator, of in zip(self.calibrators, self.errors.results(self.num_detailed), strict=True):
                out |= {Key(name, calibrator): each for name, each in of.items()}
            if self.errors.headlines.size:  # they go on
                more = self.errors.later_headlines(self.num - self.num_detailed)
                out |= {key: np.append(out[key], more[key.metric]) for key in HEADLINES}
        return out


def counted(scored: ScoredSplit, resamples: Resamples, min_count: int) -> tuple[NDArray[np.int8], Counts]:
    """Return the labels [N, K] of the findings that are available, the others DROPPED, and the counts of all."""
    counts = count(scored.labels(), resamples.patient, min_count)
    label = np.asfortranarray(np.where(counts.available, scored.labels(), np.int8(DROPPED)))  # read column by column
    label.flags.writeable = False
    return label, counts


def measure(
    scored: ScoredSplit,
    points: OperatingPoints | None,
    settings: Settings,
    num_threads: int = 1,
    only: Key | None = None,
) -> Measured:
    """Compute all metrics of a split; without operating points (on the split that chooses them) only uncalibrated ones.

    `only` limits the work to one metric and those computed with it. Raises KeyError for an unknown metric.
    """
    resamples = Resamples.draw(scored.patient_id, settings.num_resamples, scored.name, settings.seed)
    label, counts = scored.once(("counts", settings.min_count), lambda: counted(scored, resamples, settings.min_count))
    threshold = points.threshold if points else np.full((len(RULES), label.shape[1]), np.nan)
    calibrators = (AS_GIVEN, *(points.fits if points else ()))
    wanted = _Wanted(
        RANKED if only is None or only == RANKED[1] else (AUROC,) if only == AUROC else (),
        points is not None and (only is None or bool(only.operating_point)),
        [
            name
            for name in calibrators
            if only is None or (only.calibrator == name and only.metric in calibration.ERRORS)
        ],
        FOR_DETAIL if only is None else 0,
    )
    num_findings = label.shape[1]
    value = {key: np.full(num_findings, np.nan) for key in wanted.names()}
    replicates = {key: np.empty((num_findings, wanted.num(key, resamples))) for key in value}
    logit = np.asfortranarray(scored.logit)
    columns: dict[int, Column] = {}
    judged: dict[int, dict[str, Judged]] = {}
    passes: dict[int, _Pass] = {}

    def begin(k: int) -> None:
        """Sort a finding once, and note all that it is measured by."""
        column = columns[k] = Column.of(resamples.patient, label[:, k], logit[:, k])
        judged[k] = {name: Judged.of(_probability(column, name, points, k), settings.bins) for name in wanted.judged}
        passes[k] = wanted.of(column, threshold[:, k], judged[k], resamples, settings.bins)

    def go(tile: int) -> None:
        """Take a tile for all findings, while it lies in the processor's cache."""
        weight = resamples.tile(tile)
        for k in range(num_findings):
            passes[k].fill(tile, weight)

    def end(k: int) -> None:
        found = passes[k].numbers()
        for key, drawn in replicates.items():
            value[key][k], drawn[k] = (found[key][0], found[key][1:]) if key in found else (np.nan, np.nan)

    stages = ((begin, num_findings), (go, len(resamples.weight)), (end, num_findings))
    for work, num in stages:
        bootstrap.run_in_threads(work, num, num_threads)
    for entry in (e for e in settings.custom_metrics if only in {None, Key(e.name)}):
        given = scored.logit if entry.facts["given"] == "logit" else sigmoid(scored.logit)
        value[Key(entry.name)], replicates[Key(entry.name)] = custom_metrics.measure(entry, label, given, resamples)
    if only is not None and only not in value:
        raise KeyError(f"no metric {only}")
    sorted_, along = tuple(columns[k] for k in range(num_findings)), tuple(judged[k] for k in range(num_findings))
    return Measured(scored, label, resamples, counts, value, replicates, threshold, sorted_, along)


def _probability(column: Column, calibrator: str, points: OperatingPoints | None, k: int) -> Array:
    """Return the probabilities [n] of finding k along its column: as given, or by a fit."""
    if points is None or calibrator == AS_GIVEN:
        return sigmoid(column.score)
    return points.fits[calibrator][k].apply(column.score)
