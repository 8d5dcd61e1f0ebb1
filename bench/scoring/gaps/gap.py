"""The generalization gap: a metric (usually AUROC) on the internal test split minus the metric at an external hospital.

Calibration drift is the external calibration error minus the internal one. Both scores of a difference use the findings that both
hospitals score. Internal and external patients are resampled independently.
Shapes: K findings, B replicates, H hospitals.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import mean_interval
from bench.scoring.bootstrap.intervals import (
    distance_difference,
    excess,
    interval_of_difference,
    mean_of,
    normal_interval,
)
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.metrics_of_split import AUROC, RANKED, Key, SplitMetrics

Array = NDArray[np.float64]

# metrics whose drift is computed; the Brier score and its drift also depend on the prevalence
DRIFTING = ("ece", "brier")
EXTERNAL, MACRO, MACRO_ALL, CORE = "external", "macro", "macro_all", "core"
UNKNOWN = (float("nan"), float("nan"))  # bounds


class Gap(NamedTuple):
    """One gap (internal minus external score) with its interval.

    internal and external are the two scores, over the same findings. n and num_* count external images, patients and
    findings.
    """

    dataset: str
    finding: str
    value: float
    low: float
    high: float
    internal: float
    external: float
    num_findings: int
    n: int
    num_positive: int
    num_negative: int
    num_patients: int
    replicates: Array
    # excess (mean of the replicates minus the value) of the internal score, then of the external score
    excess: tuple[float, float] = (0.0, 0.0)


def gaps(
    findings: Sequence[str], internal: SplitMetrics, external: Sequence[SplitMetrics], key: Key = AUROC
) -> list[Gap]:
    """Compute the gaps of each hospital (macro, then each finding), then their unweighted means as dataset "external".

    A finding without a value at the internal or external hospital has a NaN gap and is left out of both macros. The
    counts of "external" are sums over the hospitals with a gap, but num_findings is the minimum over these hospitals.
    The interval of a gap in AUROC or AUPRC combines the intervals of both scores, so two perfect separations have a gap of 0
    with an interval. Gaps in other metrics have no interval yet: low and high are NaN (see `bounded`).
    """
    rows: list[Gap] = []
    for hospital in external:
        rows += _of_hospital(findings, internal, hospital, key)
    if external:
        step = 1 + len(findings)
        rows += [_mean(rows[i : len(external) * step : step]) for i in range(step)]
    return rows


def bounded(gaps: Sequence[Gap], distances: bool = False) -> list[Gap]:
    """Return gaps in metrics other than AUROC and AUPRC with intervals.

    `distances`: whether the gaps are differences of calibration errors. Noise increases calibration errors, and the
    intervals allow for this bias.
    """
    if not gaps:
        return []
    value, replicates = np.array([gap.value for gap in gaps]), np.stack([gap.replicates for gap in gaps])
    excesses = np.array([gap.excess for gap in gaps]).T
    low, high = distance_difference(value, replicates, *excesses) if distances else normal_interval(value, replicates)
    return [gap._replace(low=float(low[i]), high=float(high[i])) for i, gap in enumerate(gaps)]


def _of_hospital(findings: Sequence[str], internal: SplitMetrics, hospital: SplitMetrics, key: Key) -> list[Gap]:
    """Compute the gaps of one hospital: the macro gap, then the gap of each finding."""
    at_internal, at_external, counts = internal.value[key], hospital.value[key], hospital.counts
    scored_by_both = np.isfinite(at_internal) & np.isfinite(at_external)
    value_internal, replicates_internal = mean_of(
        np.where(scored_by_both, at_internal, np.nan), internal.replicates[key]
    )
    value_external, replicates_external = mean_of(
        np.where(scored_by_both, at_external, np.nan), hospital.replicates[key]
    )
    sizes = np.stack([counts.n, counts.num_positive, counts.num_negative, counts.num_patients])
    least_sizes = sizes[:, scored_by_both].min(1).tolist() if scored_by_both.any() else [0] * 4
    dataset = hospital.scored.dataset
    bounds = _bounds(internal, hospital, key, scored_by_both)
    gaps_of_hospital = [
        _gap(
            dataset,
            MACRO,
            value_internal,
            value_external,
            int(scored_by_both.sum()),
            least_sizes,
            replicates_internal - replicates_external,
            (
                float(excess(np.array(value_internal), replicates_internal)),
                float(excess(np.array(value_external), replicates_external)),
            ),
            bounds[0],
        )
    ]
    replicates_KB = internal.replicates[key] - hospital.replicates[key]
    columns = (
        findings,
        at_internal.tolist(),
        at_external.tolist(),
        scored_by_both.tolist(),
        sizes.T.tolist(),
        replicates_KB,
        zip(
            excess(at_internal, internal.replicates[key]).tolist(),
            excess(at_external, hospital.replicates[key]).tolist(),
            strict=True,
        ),
        bounds[1:],
    )
    for finding, value_internal, value_external, common, *numbers in zip(*columns, strict=True):
        gaps_of_hospital.append(_gap(dataset, finding, value_internal, value_external, int(common), *numbers))
    return gaps_of_hospital


def _bounds(
    internal: SplitMetrics, hospital: SplitMetrics, key: Key, common: NDArray[np.bool_]
) -> list[tuple[float, float]]:
    """Return the interval of the macro gap, then of the gap of each finding; NaN for a metric that is not in RANKED.

    The patients of both hospitals are independent. common [K]: mask of the findings that both hospitals score.
    """
    if key not in RANKED:
        return [UNKNOWN] * (1 + len(common))
    sides = []
    for split in (internal, hospital):
        value, bounds = np.where(common, split.value[key], np.nan), split.bounds[key]
        macro = np.array(
            [mean_of(value, split.replicates[key])[0], *mean_interval(key.metric, value, bounds, split.replicates[key])]
        )
        sides.append(np.concatenate([macro[:, None], [value, *bounds]], 1))
    values, lows, highs = np.stack(sides, 1)
    low, high = interval_of_difference(values, lows, highs, np.zeros(1 + len(common)))
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _mean(gaps: Sequence[Gap]) -> Gap:
    """Compute the mean over hospitals of one finding's gaps, or of the macro gaps."""
    finite = [gap for gap in gaps if np.isfinite(gap.value)]
    value = np.array([gap.value for gap in gaps])
    of_hospitals = np.stack([gap.replicates for gap in gaps])
    _, replicates = mean_of(value, of_hospitals)
    bounds = mean_interval("", value, np.array([(gap.low, gap.high) for gap in gaps]).T, of_hospitals)
    internal = float(np.mean([gap.internal for gap in finite])) if finite else float("nan")
    external = float(np.mean([gap.external for gap in finite])) if finite else float("nan")
    size = [
        sum(counts)
        for counts in zip(*((g.n, g.num_positive, g.num_negative, g.num_patients) for g in finite), strict=True)
    ]
    num_findings = min((gap.num_findings for gap in finite), default=0)
    inside, outside = np.mean([gap.excess for gap in finite], axis=0).tolist() if finite else (0.0, 0.0)
    sizes = size or [0] * 4
    excesses = (inside, outside)
    return _gap(EXTERNAL, gaps[0].finding, internal, external, num_findings, sizes, replicates, excesses, bounds)


def _gap(
    dataset: str,
    finding: str,
    internal: float,
    external: float,
    num_findings: int,
    size: Sequence[int],
    replicates: Array,
    excesses: tuple[float, float],
    bounds: tuple[float, float],
) -> Gap:
    n, num_positive, num_negative, num_patients = size
    return Gap(
        dataset,
        finding,
        internal - external,
        *bounds,
        internal,
        external,
        num_findings,
        n,
        num_positive,
        num_negative,
        num_patients,
        replicates,
        excesses,
    )


def replicates_by_dataset(gaps: Sequence[Gap]) -> Mapping[str, Array]:
    """Return the replicates [B] of the macro gaps by name: "gap/<dataset>" and "gap/external"."""
    return {f"gap/{gap.dataset}": gap.replicates for gap in gaps if gap.finding == MACRO}


def drifts(findings: Sequence[str], internal: SplitMetrics, external: Sequence[SplitMetrics]) -> list[tuple[Key, Gap]]:
    """Compute ece_drift and brier_drift: external minus internal error, for each calibrator.

    Both errors use the findings that both hospitals score. A positive drift means that the run is worse calibrated at
    external hospitals. There are drifts of each finding and of the macro, at each hospital and as mean over hospitals.
    Internal and external patients are resampled independently. Noise increases the internal and the external ECE by
    unknown amounts; the interval of ece_drift allows for both amounts.
    """
    rows = []
    for calibrator in internal.calibrators:
        for metric in DRIFTING:
            unbounded_drifts = [_reversed(gap) for gap in gaps(findings, internal, external, Key(metric, calibrator))]
            rows += [(Key(f"{metric}_drift", calibrator), gap) for gap in bounded(unbounded_drifts, metric in BIASED)]
    return rows


def _reversed(gap: Gap) -> Gap:
    """Return the difference external - internal instead of internal - external, without interval."""
    excess_internal, excess_external = gap.excess
    return gap._replace(value=-gap.value, replicates=-gap.replicates, excess=(excess_external, excess_internal))
