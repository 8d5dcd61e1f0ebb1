"""All metrics of one part, per finding, with their replicates.

Shapes: N images, K findings, B replicates, R operating points.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring import bootstrap, calibration, further, metrics
from bench.scoring.calibrators import FITS, Calibrator, Platt, Temperature
from bench.scoring.parts import DROPPED, Counts, Part, Settings, count
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
    value: dict[Key, Array] = {}
    replicates: dict[Key, Array] = {}
    prob = {"none": np.asarray(expit(part.logit.astype(np.float64)), np.float64)}
    if only is None or only in RANKED:
        found = bootstrap.rank_metrics(resamples, label, part.logit, num_threads)
        for key, plain, resampled in zip(RANKED, (metrics.auroc, metrics.auprc), found, strict=True):
            value[key], replicates[key] = _per_finding(plain, label, part.logit), resampled
    threshold = points.threshold if points else np.full((len(RULES), label.shape[1]), np.nan)
    if points is not None:
        for name, fits in points.fits.items():
            columns = [fit.apply(part.logit[:, k]) for k, fit in enumerate(fits)]
            prob[name] = np.stack(columns, axis=1) if columns else np.empty(part.logit.shape)
        if only is None or only.operating_point:
            _measure_calls(value, replicates, part, label, resamples, threshold, num_threads)
    for calibrator, each in prob.items():
        if only is None or (calibrator == only.calibrator and only.metric in calibration.ERRORS):
            _measure_errors(value, replicates, calibrator, each, label, resamples, settings.bins, num_threads)
    for entry in settings.further if only is None else ():
        given = part.logit if entry.facts["given"] == "logit" else prob["none"]
        value[Key(entry.name)], replicates[Key(entry.name)] = further.measure(entry, label, given, resamples)
    if only is not None and only not in value:
        raise KeyError(f"no metric {only}")
    return Measured(part, label, resamples, counts, value, replicates, prob, threshold)


def _measure_calls(
    value: dict[Key, Array],
    replicates: dict[Key, Array],
    part: Part,
    label: NDArray[np.int8],
    resamples: Resamples,
    threshold_RK: Array,
    num_threads: int,
) -> None:
    """Add the metrics of yes-or-no calls at every operating point."""
    resampled = bootstrap.calls(resamples, label, part.logit, threshold_RK, num_threads)
    for r, rule in enumerate(RULES):
        called = part.logit >= threshold_RK[r]  # NaN: never called, and masked below
        fixed = np.where(np.isnan(threshold_RK[r]), np.int8(DROPPED), label)
        for name in bootstrap.CALL_METRICS:
            key = Key(name, operating_point=rule)
            value[key] = _per_finding(getattr(metrics, name), fixed, called)
            replicates[key] = resampled[name][r]


def _measure_errors(
    value: dict[Key, Array],
    replicates: dict[Key, Array],
    calibrator: str,
    prob_NK: Array,
    label: NDArray[np.int8],
    resamples: Resamples,
    bins: int,
    num_threads: int,
) -> None:
    """Add the calibration errors of the probabilities that one calibrator gives."""
    fitted = np.where(np.isnan(prob_NK).any(0), np.int8(DROPPED), label)  # not fitted, no value
    drawn = bootstrap.calibration_metrics(resamples, fitted, prob_NK, bins, num_threads)
    errors = _errors(fitted, prob_NK, bins)
    for name in calibration.ERRORS:
        value[Key(name, calibrator)], replicates[Key(name, calibrator)] = errors[name], drawn[name]


def _errors(label_NK: NDArray[np.int8], prob_NK: Array, bins: int) -> dict[str, Array]:
    """Return each calibration error of each finding [K]; NaN where no image takes part."""
    out = {name: np.full(label_NK.shape[1], np.nan) for name in calibration.ERRORS}
    for k in range(label_NK.shape[1]):
        rows = bootstrap.taking_part(label_NK, k)
        for name, value in calibration.errors(label_NK[rows, k], prob_NK[rows, k], bins).items():
            out[name][k] = value
    return out


def _per_finding(metric: Callable[..., float], label_NK: NDArray[np.int8], score_NK: NDArray[Any]) -> Array:
    """Return the metric of each finding over the images that take part; NaN where none does."""
    out = np.full(label_NK.shape[1], np.nan)
    for k in range(len(out)):
        rows = bootstrap.taking_part(label_NK, k)
        if len(rows):
            out[k] = metric(label_NK[rows, k], score_NK[rows, k])
    return out
