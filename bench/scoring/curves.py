"""ROC, precision-recall and threshold curves of a run at 30 points, enough for a figure.

The curves use the sorted scores of `SplitMetrics`.
Shapes: n scored images, P points, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.column import Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC, SplitMetrics

Array = NDArray[np.float64]
POINTS = 30
FALSE_POSITIVE_RATES = np.linspace(0, 1, POINTS) ** 2  # more points at low rates, where the ROC curve bends
RECALLS = np.linspace(0, 1, POINTS)
THRESHOLDS = np.linspace(0.01, 0.995, POINTS) ** 2  # probabilities, more of them near 0: most findings are rare
KINDS = {"roc": FALSE_POSITIVE_RATES, "pr": RECALLS, **dict.fromkeys(("f1", "sensitivity", "specificity"), THRESHOLDS)}


def heights(column: Column) -> dict[str, Array]:
    """Compute the curves of a finding: kind -> height [P]; NaN when a class is absent.

    KINDS has the x values of each kind of curve. roc: sensitivity at each false positive rate, interpolated linearly
    between thresholds. pr: for each recall, the precision at the highest threshold whose recall is at least this recall;
    for recall 0, the precision at the highest threshold with a true positive. The AUPRC uses all thresholds, so the
    area under these P points is only close to the AUPRC. f1, sensitivity, specificity: values of the calls at each threshold.
    """
    num_positive = int(np.count_nonzero(column.positive))
    num_negative = len(column.rows) - num_positive
    if not num_positive or not num_negative:
        return {kind: np.full(POINTS, np.nan) for kind in KINDS}
    hit = np.cumsum(column.positive)[column.last]
    called = np.flatnonzero(column.last) + 1
    false_rate, recall = np.append(0.0, (called - hit) / num_negative), np.append(0.0, hit / num_positive)
    above = np.searchsorted(false_rate[:-1], FALSE_POSITIVE_RATES, side="right")  # the next threshold, or the last one
    step = (FALSE_POSITIVE_RATES - false_rate[above - 1]) / np.maximum(
        false_rate[above] - false_rate[above - 1], 1e-300
    )
    roc = recall[above - 1] + step * (recall[above] - recall[above - 1])
    roc[false_rate[-1] <= FALSE_POSITIVE_RATES] = recall[-1]
    # 1e-9 is subtracted because of rounding errors: ceil(.1 * 30) must be 3
    hits_needed = np.maximum(np.ceil(RECALLS * num_positive - 1e-9), 1)
    reached = np.searchsorted(hit, hits_needed)
    calls = column.reaching(np.log(THRESHOLDS / (1 - THRESHOLDS)))
    hits = np.append(0, np.cumsum(column.positive))[calls]
    return {
        "roc": roc,
        "pr": hit[reached] / called[reached],
        "f1": 2 * hits / (calls + num_positive),
        "sensitivity": hits / num_positive,
        "specificity": 1 - (calls - hits) / num_negative,
    }


def rows(run_id: str, findings: Sequence[str], measured: SplitMetrics) -> list[tuple[Any, ...]]:
    """Build rows of the `curves` table: the curves of each finding with an AUROC, and their mean heights as "macro"."""
    available = [k for k in range(len(findings)) if np.isfinite(measured.value[AUROC][k])]
    if not available:
        return []
    heights_of_finding = {findings[k]: heights(measured.columns[k]) for k in available}
    heights_of_finding[MACRO] = {
        kind: np.mean([of_finding[kind] for of_finding in heights_of_finding.values()], axis=0) for kind in KINDS
    }
    return [
        (
            run_id,
            measured.scored.dataset,
            finding,
            kind,
            np.round(abscissa, 4).tolist(),
            np.round(heights_of_kind[kind], 4).tolist(),
        )
        for finding, heights_of_kind in heights_of_finding.items()
        for kind, abscissa in KINDS.items()
    ]
