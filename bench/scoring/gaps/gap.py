"""The generalization gap: a metric (usually AUROC) on the internal test split minus the metric at an external hospital.

Calibration drift is the external calibration error minus the internal one. Both scores of a difference use the findings that both
hospitals score. Internal and external patients are independent.
Shapes: K findings, P patients, H hospitals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.area_intervals import mean_interval
from bench.scoring.calibration_metrics import BIASED
from bench.scoring.influence import Estimate, Influence, correlations, half_width, mean_of
from bench.scoring.intervals import distance_difference, interval_of_difference, plain_interval
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
    influence: Influence
    excess: tuple[float, float] = (0.0, 0.0)  # of the internal and of the external calibration error


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
    value, half = np.array([gap.value for gap in gaps]), np.array([half_width(gap.influence.all) for gap in gaps])
    excesses = np.array([gap.excess for gap in gaps]).T
    low, high = distance_difference(value, half, *excesses) if distances else plain_interval(value, half)
    return [gap._replace(low=float(low[i]), high=float(high[i])) for i, gap in enumerate(gaps)]


def _of_hospital(findings: Sequence[str], internal: SplitMetrics, hospital: SplitMetrics, key: Key) -> list[Gap]:
    """Compute the gaps of one hospital: the macro gap, then the gap of each finding."""
    counts, splits = hospital.counts, (internal, hospital)
    common = np.isfinite(internal.value[key]) & np.isfinite(hospital.value[key])
    sizes = np.stack([counts.n, counts.num_positive, counts.num_negative, counts.num_patients])
    least_sizes = sizes[:, common].min(1).tolist() if common.any() else [0] * 4
    bounds = _bounds(internal, hospital, key, common)
    means = [mean_of(np.where(common, split.value[key], np.nan), split.influence[key]) for split in splits]
    excesses = [split.excess.get(key, np.zeros(len(common))) for split in splits]
    of_macro = [float(excess[common].mean()) if common.any() else 0.0 for excess in excesses]
    dataset, keys = hospital.scored.dataset, (internal.sample.key, hospital.sample.key)

    def gap(
        finding: str,
        values: Sequence[float],
        influences: Sequence[Array],
        num: int,
        size: Sequence[int],
        excess: Sequence[float],
        of_gap: tuple[float, float],
    ) -> Gap:
        inside, outside = (Influence({name: of}) for name, of in zip(keys, influences, strict=True))
        return _gap(dataset, finding, values[0], values[1], num, size, inside - outside, (excess[0], excess[1]), of_gap)

    values, influences = zip(*means, strict=True)
    rows = [gap(MACRO, values, influences, int(common.sum()), least_sizes, of_macro, bounds[0])]
    for k, finding in enumerate(findings):
        numbers = [float(split.value[key][k]) for split in splits], [split.influence[key][k] for split in splits]
        excess = [float(of[k]) for of in excesses]
        rows.append(gap(finding, *numbers, int(common[k]), sizes[:, k].tolist(), excess, bounds[1 + k]))
    return rows


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
        of_findings = split.influence[key]
        matrix = correlations(of_findings @ of_findings.T)
        macro = np.array([mean_of(value, of_findings)[0], *mean_interval(key.metric, value, bounds, matrix)])
        sides.append(np.concatenate([macro[:, None], [value, *bounds]], 1))
    values, lows, highs = np.stack(sides, 1)
    low, high = interval_of_difference(values, lows, highs, np.zeros(1 + len(common)))
    return list(zip(low.tolist(), high.tolist(), strict=True))


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
        influence,
        excesses,
    )


def estimates_by_dataset(gaps: Sequence[Gap]) -> dict[str, Estimate]:
    """Return the macro gaps by name: "gap/<dataset>" and "gap/external"."""
    return {f"gap/{gap.dataset}": Estimate(gap.value, gap.influence) for gap in gaps if gap.finding == MACRO}


def drifts(findings: Sequence[str], internal: SplitMetrics, external: Sequence[SplitMetrics]) -> list[tuple[Key, Gap]]:
    """Compute ece_drift and brier_drift: external minus internal error, for each calibrator.

    Both errors use the findings that both hospitals score. A positive drift means that the run is worse calibrated at
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
