"""All metrics of one part, per finding, with their replicates.

Shapes: N images, K findings, B replicates, R operating points.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from bench.scoring import bootstrap, calibration, further, metrics
from bench.scoring.calibration import Platt, fit_platt
from bench.scoring.parts import DROPPED, Counts, Part, Settings, count
from bench.scoring.resamples import Resamples
from bench.scoring.thresholds import RULES

Array = NDArray[np.float64]


class Key(NamedTuple):
    """Names one metric of a finding."""

    metric: str
    calibrator: str = "none"  # none, platt
    operating_point: str = ""  # "" for threshold-free metrics


AUROC = Key("auroc")


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoints:
    """What the validation split fixed: threshold [R, K] on the logit (R as in RULES), one Platt line per finding."""

    threshold: Array
    platt: Sequence[Platt]

    @classmethod
    def choose(cls, part: Part | None, num_findings: int) -> Self:
        """Return what this part gives; NaN for all without a part, and for a finding that lacks a class."""
        if part is None:
            nothing = Platt(float("nan"), float("nan"))
            return cls(np.full((len(RULES), num_findings), np.nan), (nothing,) * num_findings)
        threshold, platt = np.full((len(RULES), num_findings), np.nan), []
        for k, label in enumerate(part.labels().T):
            known = label != DROPPED
            threshold[:, k] = [rule(label[known], part.logit[known, k]) for rule in RULES.values()]
            platt.append(fit_platt(label[known], part.logit[known, k]))
        return cls(threshold, tuple(platt))

    def frame(self, run_id: str, findings: Sequence[str]) -> pd.DataFrame:
        """Return one row per finding and rule: threshold (logit), probability (its sigmoid), platt_a and platt_b."""
        rows = [
            (
                run_id,
                finding,
                rule,
                self.threshold[r, k],
                float(expit(self.threshold[r, k])),
                self.platt[k].a,
                self.platt[k].b,
            )
            for k, finding in enumerate(findings)
            for r, rule in enumerate(RULES)
        ]
        return pd.DataFrame(
            rows, columns=["run_id", "finding", "rule", "threshold", "probability", "platt_a", "platt_b"]
        )


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


def measure(part: Part, points: OperatingPoints | None, settings: Settings, num_threads: int = 1) -> Measured:
    """Measure a part; without operating points (on the split they come from) only what needs neither them nor Platt."""
    resamples = Resamples.draw(part.patient_id, settings.num_resamples, part.name, settings.seed)
    label = part.labels()
    counts = count(label, resamples.patient, settings.min_count)
    label[:, ~counts.available] = DROPPED
    value: dict[Key, Array] = {}
    replicates: dict[Key, Array] = {}
    prob = {"none": np.asarray(expit(part.logit.astype(np.float64)), np.float64)}
    for entry in settings.further:
        found = further.measure(
            entry, label, part.logit if entry.facts["given"] == "logit" else prob["none"], resamples
        )
        value[Key(entry.name)], replicates[Key(entry.name)] = found

    replicates[AUROC], replicates[Key("auprc")] = bootstrap.rank_metrics(resamples, label, part.logit, num_threads)
    value[AUROC] = _per_finding(metrics.auroc, label, part.logit)
    value[Key("auprc")] = _per_finding(metrics.auprc, label, part.logit)
    if points is not None:
        platt = [line.apply(part.logit[:, k]) for k, line in enumerate(points.platt)]
        prob["platt"] = np.stack(platt, axis=1) if platt else np.empty(part.logit.shape)
        _measure_calls(value, replicates, part, label, resamples, points.threshold, num_threads)
    for calibrator, each in prob.items():
        fitted = np.where(np.isnan(each).any(0), np.int8(DROPPED), label)  # no Platt line, no value
        ece, brier = bootstrap.calibration_metrics(resamples, fitted, each, settings.bins, num_threads)
        replicates[Key("brier", calibrator)], replicates[Key("ece", calibrator)] = brier, ece
        value[Key("brier", calibrator)] = _per_finding(metrics.brier, fitted, each)
        value[Key("ece", calibrator)] = _per_finding(calibration.ece, fitted, each, settings.bins)
    return Measured(part, label, resamples, counts, value, replicates, prob)


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


def _per_finding(
    metric: Callable[..., float], label_NK: NDArray[np.int8], score_NK: NDArray[Any], *settings: int
) -> Array:
    """Return the metric of each finding over the images that take part; NaN where none does."""
    out = np.full(label_NK.shape[1], np.nan)
    for k in range(len(out)):
        rows = bootstrap.taking_part(label_NK, k)
        if len(rows):
            out[k] = metric(label_NK[rows, k], score_NK[rows, k], *settings)
    return out
