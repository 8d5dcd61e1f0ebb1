"""Metrics of a pool of training hospitals: the mean over its hospitals, each of which is scored alone.

A metric of the pooled images would also measure how well a network tells the hospitals apart: a finding that is more
frequent at one hospital can be predicted from the hospital alone. So a pool is scored like the external hospitals: each
hospital alone, then the unweighted mean.
Shapes: N images, K findings, P patients.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.area_intervals import mean_interval
from bench.scoring.metrics_of_split import Key, OperatingPoints, SplitMetrics, measure
from bench.scoring.scored_split import Counts, ScoredSplit
from harmonize.cohorts.pool_names import hospitals_of, is_pool
from harmonize.cohorts.pooled import hospital_of

Array = NDArray[np.float64]


def hospital_parts(scored: ScoredSplit) -> list[ScoredSplit]:
    """Return the images of each hospital of a pool as a split of its own, such as "test:mimic"; nothing for one hospital.

    A hospital without images in the split is left out.
    """
    if not is_pool(scored.dataset) or ":" in scored.split:
        return []
    parts = [_part(scored, name) for name in hospitals_of(scored.dataset)]
    return [part for part in parts if len(part.image_id)]


def _part(scored: ScoredSplit, hospital: str) -> ScoredSplit:
    """Return the images of one hospital, without patient groups; runs with the same images share its cache."""

    def selected() -> tuple[NDArray[np.intp], ScoredSplit]:
        rows = np.flatnonzero(hospital_of(scored.dataset, scored.image_id) == hospital)
        arrays: dict[str, Any] = {
            name: getattr(scored, name)[rows] for name in ("image_id", "patient_id", "logit", "state")
        }
        return rows, replace(scored, split=f"{scored.split}:{hospital}", patient_groups=None, **arrays)

    rows, part = scored.cached(("hospital", hospital), selected)
    return part.of_run(scored.logit[rows])


def measure_hospitals(
    scored: ScoredSplit,
    points: OperatingPoints | None,
    settings: Settings,
    only: Key | None = None,
) -> list[SplitMetrics]:
    """Return the metrics of a split; if the split is of a pool, then also the metrics of each hospital; see `measure`.

    In a pool, values and influences of the split are means over the hospitals that have them, and `counts_of_values` counts
    the images of these hospitals. Other counts, labels, and the images behind curves and tables are of all hospitals.
    """
    parts = hospital_parts(scored)
    measured, *of_hospitals = [measure(split, points, settings, only) for split in (scored, *parts)]
    return [_mean_over_hospitals(measured, of_hospitals), *of_hospitals] if of_hospitals else [measured]


def _mean_over_hospitals(measured: SplitMetrics, of_hospitals: Sequence[SplitMetrics]) -> SplitMetrics:
    """Return `measured` with the means over hospitals as values [K]; NaN where no hospital has one.

    The patients of the result are ordered by hospital; an unknown value of a hospital has no patients.
    """
    value, influence, bounds, excess = {}, {}, {}, {}
    for key in measured.value:
        values = np.stack([hospital.value[key] for hospital in of_hospitals])
        known = np.isfinite(values)
        weight = known / np.maximum(known.sum(0), 1)  # [H, K]
        unknown = np.where(known.any(0), 0.0, np.nan)
        value[key] = (weight * np.nan_to_num(values)).sum(0) + unknown
        parts = [
            np.where(w[:, None] > 0, w[:, None] * hospital.influence[key], 0.0)
            for w, hospital in zip(weight, of_hospitals, strict=True)
        ]
        influence[key] = np.concatenate(parts, 1) + unknown[:, None]
        if key in measured.excess:
            excesses = np.nan_to_num([hospital.excess[key] for hospital in of_hospitals])
            excess[key] = (weight * excesses).sum(0) + unknown
        if key in measured.bounds:
            bounds_H2K = np.stack([hospital.bounds[key] for hospital in of_hospitals])
            alone = np.eye(len(of_hospitals))
            bounds_K2 = [mean_interval(key.metric, v, b, alone) for v, b in zip(values.T, bounds_H2K.T, strict=True)]
            bounds[key] = np.array(bounds_K2).reshape(-1, 2).T
    counts = [hospital.counts for hospital in of_hospitals]
    behind = measured.scored.cached("counts of means", lambda: _with_values(counts, measured.counts), measured.counts)
    return replace(measured, value=value, influence=influence, bounds=bounds, excess=excess, counts_of_means=behind)


def _with_values(counts: Sequence[Counts], whole: Counts) -> Counts:
    """Return the sums of counts over the hospitals with enough patients; `whole` (the counts of the pool) if no hospital has enough."""
    available_HK = np.array([hospital.available for hospital in counts])
    available = np.asarray(available_HK.any(0))
    sums = {}
    for name in ("n", "num_positive", "num_negative", "num_patients"):
        number_HK = np.array([getattr(hospital, name) for hospital in counts])
        sums[name] = np.where(available, (number_HK * available_HK).sum(0), getattr(whole, name))
    return Counts(**sums, available=available)
