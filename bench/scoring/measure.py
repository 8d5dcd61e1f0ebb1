"""All metrics of one part, per finding, with their replicates.

Shapes: N images, K findings, B replicates, R operating points.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring import bootstrap, calibration, further
from bench.scoring.calibrators import FITS, Calibrator, Platt, Temperature
from bench.scoring.parts import DROPPED, Counts, Part, Settings, count
from bench.scoring.ranking import Column
from bench.scoring.resamples import Resamples
from bench.scoring.thresholds import RULES

Array = NDArray[np.float64]


class Key(NamedTuple):
    """Names one metric of a finding."""

    metric: str
    calibrator: str = "none"  # none, platt, temperature, isotonic
    operating_point: str = ""  # "" for threshold-free metrics


AUROC = Key("auroc")
RANKED = (AUROC, Key("auprc"))


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """What the validation split fixed: threshold [R, K] on the logit (R as in RULES), and a fit per finding by FITS."""

    threshold: Array
    fits: Mapping[str, Sequence[Calibrator]]

    @classmethod
    def choose(cls, part: Part | None, num_findings: int) -> Self:
        """Return what this part gives; NaN for all without a part, and for a finding that lacks a class."""
        threshold = np.full((len(RULES), num_findings), np.nan)
        fits: dict[str, list[Calibrator]] = {name: [] for name in FITS}
        for k in range(num_findings):
            label = part.labels()[:, k] if part else np.empty(0, np.int8)
            logit = part.logit[:, k] if part else np.empty(0, np.float32)
            known = label != DROPPED
            threshold[:, k] = [rule(label[known], logit[known]) for rule in RULES.values()]
            for name, fit in FITS.items():
                fits[name].append(fit(label[known], logit[known]))
        return cls(threshold, fits)

    def frame(self, run_id: str, findings: Sequence[str]) -> pd.DataFrame:
        """Return one row per finding and rule: threshold (logit), probability (its sigmoid), and the fits of few numbers.

        These are platt_a, platt_b and temperature; an isotonic curve is fitted again from the stored logits.
        """
        rows = []
        for k, finding in enumerate(findings):
            platt, temperature = self.fits["platt"][k], self.fits["temperature"][k]
            assert isinstance(platt, Platt)
            assert isinstance(temperature, Temperature)
            for r, rule in enumerate(RULES):
                at = self.threshold[r, k]
                rows.append((run_id, finding, rule, at, float(expit(at)), platt.a, platt.b, temperature.t))
        columns = ["run_id", "finding", "rule", "threshold", "probability", "platt_a", "platt_b", "temperature"]
        return pd.DataFrame(rows, columns=columns)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One part with its counts, and per metric the value [K] and replicates [K, B] (NaN where not available)."""

    part: Part
    label: NDArray[np.int8]  # [N, K]; whole columns DROPPED where the finding is not available
    resamples: Resamples
    counts: Counts
    value: dict[Key, Array]
    replicates: dict[Key, Array]
    prob: dict[str, Array]  # calibrator -> [N, K]
    threshold: Array  # [R, K] on the logit; NaN where none was chosen, and on the split that chooses
    columns: tuple[Column, ...]  # each finding by falling logit


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What to measure: AUROC and AUPRC, calls, and the errors of which calibrators."""

    ranked: bool
    called: bool
    judged: Sequence[str]

    def names(self) -> list[Key]:
        """Return the metrics in the order of the table."""
        found = [key for key in RANKED if self.ranked]
        found += [Key(name, operating_point=rule) for rule in RULES for name in bootstrap.CALL_METRICS if self.called]
        return found + [Key(name, calibrator) for calibrator in self.judged for name in calibration.ERRORS]

    def of(
        self, column: Column, threshold_R: Array, probs: Mapping[str, Array], resamples: Resamples, bins: int
    ) -> dict[Key, Array]:
        """Return of each metric that can be had the value, then its replicates: [1 + B]."""
        out: dict[Key, Array] = {}
        rules, cut = bootstrap.cuts_of(column, threshold_R) if self.called else ([], np.empty(0, np.int64))
        if self.ranked or self.called:
            walked = bootstrap.walk(resamples, column, cut)
        if self.ranked:
            areas = zip(RANKED, column.areas(), walked[:2], strict=True)
            out |= {key: np.append(plain, resampled) for key, plain, resampled in areas}
        if self.called:
            counted = np.concatenate([column.counted(cut)[..., None], walked.reached], 2)
            for rule, at in zip(rules, counted[:-1], strict=True):
                found = bootstrap.call_metrics(at, counted[-1])
                out |= {Key(name, operating_point=list(RULES)[rule]): each for name, each in found.items()}
        fitted = {name: each for name, each in probs.items() if not np.isnan(each).any()}  # not fitted, no value
        if fitted:
            label = column.positive.astype(np.int8)
            errors = bootstrap.column_errors(resamples, column.patient, label, list(fitted.values()), bins)
            for calibrator, of in zip(fitted, errors, strict=True):
                out |= {Key(name, calibrator): each for name, each in of.items()}
        return out


def measure(
    part: Part, points: OperatingPoints | None, settings: Settings, num_threads: int = 1, only: Key | None = None
) -> Measured:
    """Measure a part; without operating points (on the split they come from) only what needs no fit.

    `only` measures what shares its work with one metric, and is refused (KeyError) when no metric is named so.
    """
    resamples = Resamples.draw(part.patient_id, settings.num_resamples, part.name, settings.seed)
    label = part.labels()
    counts = count(label, resamples.patient, settings.min_count)
    label[:, ~counts.available] = DROPPED
    prob = {"none": np.asarray(expit(part.logit.astype(np.float64)), np.float64)}
    for name, fits in points.fits.items() if points else ():
        found = [fit.apply(part.logit[:, k]) for k, fit in enumerate(fits)]
        prob[name] = np.stack(found, axis=1) if found else np.empty(part.logit.shape)
    threshold = points.threshold if points else np.full((len(RULES), label.shape[1]), np.nan)
    wanted = _Wanted(
        only is None or only in RANKED,
        points is not None and (only is None or bool(only.operating_point)),
        [name for name in prob if only is None or (only.calibrator == name and only.metric in calibration.ERRORS)],
    )
    shape = (label.shape[1], resamples.num)
    value = {key: np.full(shape[0], np.nan) for key in wanted.names()}
    replicates = {key: np.full(shape, np.nan) for key in value}
    columns: dict[int, Column] = {}

    def work(k: int) -> None:
        """Sort a finding once, and note all that it is measured by."""
        column = columns[k] = Column.of(resamples.patient, label[:, k], part.logit[:, k])
        probs = {name: prob[name][column.rows, k] for name in wanted.judged}
        for key, numbers in wanted.of(column, threshold[:, k], probs, resamples, settings.bins).items():
            value[key][k], replicates[key][k] = numbers[0], numbers[1:]

    bootstrap.each(work, label.shape[1], num_threads)
    for entry in settings.further if only is None else ():
        given = part.logit if entry.facts["given"] == "logit" else prob["none"]
        value[Key(entry.name)], replicates[Key(entry.name)] = further.measure(entry, label, given, resamples)
    if only is not None and only not in value:
        raise KeyError(f"no metric {only}")
    sorted_ = tuple(columns[k] for k in range(label.shape[1]))
    return Measured(part, label, resamples, counts, value, replicates, prob, threshold, sorted_)
