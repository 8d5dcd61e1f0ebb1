"""ROC and precision-recall curves of a run at 30 points, enough for a figure.

The curves use the sorted scores of `SplitMetrics`.
Shapes: n scored images, P points, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE, Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC, SplitMetrics

Array = NDArray[np.float64]
POINTS = 30
FALSE_POSITIVE_RATES = np.linspace(0, 1, POINTS) ** 2  # more points at low rates, where the ROC curve bends
RECALLS = np.linspace(0, 1, POINTS)
KINDS = {"roc": FALSE_POSITIVE_RATES, "pr": RECALLS}


def heights(column: Column) -> dict[str, Array]:
    """Compute the ROC and precision-recall curves of a finding: kind -> height [P]; NaN when a class is absent.

    KINDS has the x values of each kind of curve. roc: sensitivity at each false positive rate, interpolated linearly
    between thresholds. pr: for each recall, the precision at the highest threshold whose recall is at least this recall;
    for recall 0, the precision at the highest threshold with a true positive. The AUPRC uses all thresholds, so the
    area under these P points is only close to the AUPRC.
    """
    num_positive = int(np.count_nonzero(column.positive))
    # 1e-9 is subtracted because of rounding errors: ceil(.1 * 30) must be 3
    hits_needed = np.maximum(np.ceil(RECALLS * num_positive - 1e-9), 1)
    height_KP = np.full((len(KINDS), POINTS), np.nan)
    _heights(column.kind, num_positive, FALSE_POSITIVE_RATES, hits_needed, height_KP)
    return dict(zip(KINDS, height_KP, strict=True))


@compiled
def _heights(kind: NDArray[np.uint8], num_positive: int, rates: Array, hits_needed: Array, height_KP: Array) -> None:
    """Write the heights of both curves to `height_KP` [2, P]: ROC, then precision-recall.

    Nothing is written if a class is absent. kind [n]: flags POSITIVE (the label is 1) and LAST_OF_TIE (the next image
    has a lower score) of images by falling score. rates [P]: rising false positive rates. hits_needed [P]: rising
    numbers of true positives.
    """
    num_negative = kind.shape[0] - num_positive
    if num_positive == 0 or num_negative == 0:
        return
    # false positive rate and recall at the previous threshold; number of positive images so far
    before, recall, hit = (0.0, 0.0, 0)
    roc, pr = 0, 0
    for i in range(kind.shape[0]):
        hit += kind[i] & POSITIVE
        if not kind[i] & LAST_OF_TIE:
            continue
        after, next_recall = (i + 1 - hit) / num_negative, hit / num_positive
        while roc < rates.shape[0] and rates[roc] < after:
            height_KP[0, roc] = recall + (rates[roc] - before) / (after - before) * (next_recall - recall)
            roc += 1
        while pr < hits_needed.shape[0] and hits_needed[pr] <= hit:
            height_KP[1, pr] = hit / (i + 1)
            pr += 1
        before, recall = after, next_recall
    height_KP[0, roc:] = recall


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
