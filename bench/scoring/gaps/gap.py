"""The generalization gap: a metric (usually AUROC) on the internal test split minus the metric at an external hospital.

Calibration drift is the external calibration error minus the internal one. Both macros of a difference are over the same findings
(`hospital_means.findings_of_means`). Internal and external patients are independent.
Shapes: K findings, P patients, H hospitals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.gaps.hospital_means import findings_of_means, hospital_macros
from bench.scoring.influence import Estimate, Influence, correlations, half_width
from bench.scoring.intervals import distance_difference, interval_of_difference, plain_interval
from bench.scoring.means import UNKNOWN, Macro, macro
from bench.scoring.metrics_of_split import AUROC, Key, SplitMetrics
from reports.schemas.common_findings import Mask

Array = NDArray[np.float64]

# metrics whose drift is computed; the Brier score and its drift also depend on the prevalence
DRIFTING = ("ece", "brier")
EXTERNAL, MACRO = "external", "macro"


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
    influence: Influence
    excess: tuple[float, float] = (0.0, 0.0)  # excess of the internal and of the external calibration error


def gaps(
    findings: Sequence[str],
    internal: SplitMetrics,
    external: Sequence[SplitMetrics],
    key: Key = AUROC,
    used: Mask | None = None,
) -> list[Gap]:
    """Compute the gaps of each hospital (macro, then each finding), then their unweighted means as dataset "external".

    used [K]: the findings of the macros; by default `findings_of_means` of these splits. If there are none, the macro of each
    hospital is over the findings that it and the internal split score, and the mean of the macros is NaN.
    A finding without a value at the internal or external hospital has a NaN gap. The counts of "external" are sums over the
    hospitals with a gap, but num_findings is the minimum over these hospitals.
    The interval of a gap in AUROC or AUPRC combines the intervals of both scores, so two perfect separations have a gap of 0
    with an interval. Gaps in other metrics have no interval yet: low and high are NaN (see `bounded`).
    """
    if not external:
        return []
    used = findings_of_means(internal, external, key) if used is None else used
    rows, step, known = list[Gap](), 1 + len(findings), np.isfinite(internal.value[key])
    has_mean = used is not None and bool(used.any())
    for hospital, at_hospital in zip(external, hospital_macros(key, external, used, known), strict=True):
        of_macro = used if has_mean else known & np.isfinite(hospital.value[key])
        rows += _of_hospital(findings, internal, hospital, key, (macro(internal, key, of_macro), at_hospital))
    of_means = [rows[i : len(external) * step : step] for i in range(step)]
    if not has_mean:
        of_means[0] = [gap._replace(value=np.nan) for gap in of_means[0]]
    return rows + [_mean(of_hospitals) for of_hospitals in of_means]


def bounded(gaps: Sequence[Gap], distances: bool = False) -> list[Gap]:
    """Return gaps in metrics other than AUROC and AUPRC with intervals.

    `distances`: whether the gaps are differences of calibration errors. Noise increases calibration errors, and the
    intervals allow for this bias.
    """
    if not gaps:
        return []
    value, half = np.array([gap.value for gap in gaps]), np.array([half_width(gap.influence.all) for gap in gaps])
    excesses = np.array([gap.excess for gap in gaps]).T
    low, high = distance_difference(value, half, *excesses) if distances else plain_interval(value, half)
    return [gap._replace(low=float(low[i]), high=float(high[i])) for i, gap in enumerate(gaps)]


def _of_hospital(
    findings: Sequence[str], internal: SplitMetrics, hospital: SplitMetrics, key: Key, macros: tuple[Macro, Macro]
) -> list[Gap]:
    """Compute the gaps of one hospital: the macro gap, then the gap of each finding. macros: those of the internal and of this hospital."""
    counts, splits = hospital.counts, (internal, hospital)
    common = np.isfinite(internal.value[key]) & np.isfinite(hospital.value[key])
    sizes = np.stack([counts.n, counts.num_positive, counts.num_negative, counts.num_patients], 1)
    dataset, inside, outside = hospital.scored.dataset, *macros
    # the patients of both hospitals are independent
    bounds = _difference(inside.value, outside.value, inside.bounds or UNKNOWN, outside.bounds or UNKNOWN)
    size, excess = outside.sizes, (inside.excess, outside.excess)
    influence = inside.influence - outside.influence
    rows = [_gap(dataset, MACRO, inside.value, outside.value, size.num_findings, size[:4], influence, excess, bounds)]
    for k, finding in enumerate(findings):
        values = [float(split.value[key][k]) for split in splits]
        of_internal, of_hospital = (Influence({split.sample.key: split.influence[key][k]}) for split in splits)
        excesses = [float(split.excess[key][k]) if key in split.excess else 0.0 for split in splits]
        ends = [split.bounds[key][:, k] if key in split.bounds else np.array(UNKNOWN) for split in splits]
        of_gap = _difference(values[0], values[1], *ends)
        facts = (int(common[k]), sizes[k].tolist(), of_internal - of_hospital, (excesses[0], excesses[1]), of_gap)
        rows.append(_gap(dataset, finding, values[0], values[1], *facts))
    return rows


def _difference(
    inside: float, outside: float, of_inside: Sequence[float] | Array, of_outside: Sequence[float] | Array
) -> tuple[float, float]:
    """Return the interval of the difference of two independent numbers, from their intervals; NaN if one has none."""
    lows, highs = np.array([of_inside, of_outside], np.float64).T
    low, high = interval_of_difference(np.array([inside, outside]), lows, highs, np.array(0.0))
    return float(low), float(high)


def _mean(gaps: Sequence[Gap]) -> Gap:
    """Compute the mean over hospitals of one finding's gaps, or of the macro gaps."""
    finite = [gap for gap in gaps if np.isfinite(gap.value)]
    value = np.array([gap.value for gap in finite])
    influences = [gap.influence for gap in finite]
    bounds, influence = UNKNOWN, gaps[0].influence
    if finite:
        matrix = correlations(Influence.stack(influences).covariance)
        bounds = mean_interval("", value, np.array([(gap.low, gap.high) for gap in finite]).T, matrix)
        influence = Influence.mean(influences)
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
    return _gap(EXTERNAL, gaps[0].finding, internal, external, num_findings, sizes, influence, excesses, bounds)


def _gap(
    dataset: str,
    finding: str,
    internal: float,
    external: float,
    num_findings: int,
    size: Sequence[int],
    influence: Influence,
    excesses: tuple[float, float],
    bounds: tuple[float, float],
) -> Gap:
    n, num_positive, num_negative, num_patients = size
    counts = (num_findings, n, num_positive, num_negative, num_patients)
    return Gap(dataset, finding, internal - external, *bounds, internal, external, *counts, influence, excesses)


def estimates_by_dataset(gaps: Sequence[Gap]) -> dict[str, Estimate]:
    """Return the macro gaps by name: "gap/<dataset>" and "gap/external"."""
    return {f"gap/{gap.dataset}": Estimate(gap.value, gap.influence) for gap in gaps if gap.finding == MACRO}


def drifts(findings: Sequence[str], internal: SplitMetrics, external: Sequence[SplitMetrics]) -> list[tuple[Key, Gap]]:
    """Compute ece_drift and brier_drift: external minus internal error, for each calibrator.

    Both errors are over the same findings. A positive drift means that the run is worse calibrated at
    external hospitals. There are drifts of each finding and of the macro, at each hospital and as mean over hospitals.
    Noise increases the internal and the external ECE by
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
    return gap._replace(value=-gap.value, influence=-gap.influence, excess=(excess_external, excess_internal))
