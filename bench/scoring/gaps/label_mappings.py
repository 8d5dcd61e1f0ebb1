"""Sensitivity of an external AUROC to the label mapping: AUROC under every mapping, with the same logits and patients.

Shapes: N images, K findings, R runs, P patients.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Settings
from bench.scoring.area_intervals import mean_interval
from bench.scoring.gaps.gap import MACRO
from bench.scoring.influence import correlations, mean_of
from bench.scoring.metrics_of_split import AUROC, SplitMetrics, measure
from bench.scoring.scored_split import ScoredSplit
from harmonize.cohorts.label_mapping import REPORT


class _MappedAuroc(NamedTuple):
    """AUROC [K] with bounds [K], influences [K, P] and numbers of images and of positive images [K], under one mapping."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    influence: NDArray[np.float64]
    num: NDArray[np.int64]
    num_positive: NDArray[np.int64]


def _auroc_of(measured: SplitMetrics) -> _MappedAuroc:
    counts = measured.counts
    (low, high), influence = measured.bounds[AUROC], measured.influence[AUROC]
    return _MappedAuroc(measured.value[AUROC], low, high, influence, counts.n, counts.num_positive)


def _select_columns(scored: ScoredSplit, name: str, state: NDArray[np.int8], columns: NDArray[np.intp]) -> ScoredSplit:
    """Return the split with only the findings in `columns`, with label states under another mapping and logits of 0.

    All runs share the result; each run replaces the logits by its own. name: the name of the mapping. state [N, K]: the
    label states under this mapping.
    """
    return scored.cached(
        ("mapped", name),
        lambda: replace(scored, state=state[:, columns], logit=np.zeros_like(scored.logit[:, columns])),
    )


def sensitivity(
    run_id: str,
    scored: ScoredSplit,
    findings: Sequence[str],
    settings: Settings,
    measured: SplitMetrics | None = None,
) -> list[tuple[object, ...]]:
    """Build rows of the table `mappings`: AUROC under each mapping, for the macro and each finding that a mapping changes.

    `scored.patient_groups.mapped` has the label states under the other mappings. The macro uses the findings with a
    value under every mapping, so that only the mapping differs.
    `measured`: the metrics under the grid's own mapping; with None, they are computed. The result is empty if no
    mapping changes a label.
    """
    mapped = scored.patient_groups.mapped if scored.patient_groups else {}
    mappings = {name: state for name, state in mapped.items() if name != REPORT and (state != scored.state).any()}
    if not mappings:
        return []
    changed = np.any([(state != scored.state).any(0) for state in mappings.values()], axis=0)
    own_auroc = _auroc_of(measured or measure(scored, None, settings, only=AUROC))
    results = {settings.mapping: own_auroc}
    for name, state in mappings.items():
        columns = np.flatnonzero((state != scored.state).any(0))  # findings that the mapping changes
        mapped_split = _select_columns(scored, name, state, columns)
        mapped_auroc = _auroc_of(measure(mapped_split.of_run(scored.logit[:, columns]), None, settings, only=AUROC))
        results[name] = deepcopy(own_auroc)
        for array, changed_columns in zip(results[name], mapped_auroc, strict=True):
            array[columns] = changed_columns
    everywhere = np.all([np.isfinite(result.value) for result in results.values()], axis=0)
    rows: list[tuple[object, ...]] = []
    for name, (value, low, high, influence, n, positive) in results.items():
        for k in np.flatnonzero(changed).tolist():
            numbers = (float(value[k]), float(low[k]), float(high[k]), int(n[k]), int(positive[k]))
            rows.append((run_id, scored.dataset, name, findings[k], *numbers))
        of_macro = np.where(everywhere, value, np.nan)
        matrix = correlations(influence @ influence.T)
        macro = mean_of(of_macro, influence)[0]
        bounds = mean_interval(AUROC.metric, of_macro, (low, high), matrix)
        least_sizes = [int(size[everywhere].min()) if everywhere.any() else 0 for size in (n, positive)]
        rows.append((run_id, scored.dataset, name, MACRO, macro, *bounds, *least_sizes))
    return rows
