"""ROC and precision-recall curves of a run, thinned to what a figure shows.

Read off the order in which scoring has sorted a finding anyway. Shapes: n images that take part, P points, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE, Column
from bench.scoring.gaps.gap import MACRO
from bench.scoring.metrics_of_split import AUROC, Measured

Array = NDArray[np.float64]
POINTS = 30
FALSE_ALARMS = np.linspace(0, 1, POINTS) ** 2  # rates of the ROC curve: closer together where it bends
RECALLS = np.linspace(0, 1, POINTS)
KINDS = {"roc": FALSE_ALARMS, "pr": RECALLS}


def heights(column: Column) -> dict[str, Array]:
    """Return by kind the height [P] of the curve over KINDS; NaN without both classes.

    roc: the highest sensitivity at that rate of false alarms, straight between thresholds. pr: the precision at the highest
    threshold that finds that share (at 0: that finds any), a step curve whose area is the AUPRC of the scores.
    """
    num_positive = int(np.count_nonzero(column.positive))
    needed = np.maximum(np.ceil(RECALLS * num_positive - 1e-9), 1)  # .1 * 30 must not round up to 4
    out = np.full((len(KINDS), POINTS), np.nan)
    _heights(column.kind, num_positive, FALSE_ALARMS, needed, out)
    return dict(zip(KINDS, out, strict=True))


@compiled
def _heights(kind: NDArray[np.uint8], num_positive: int, alarms: Array, needed: Array, out: Array) -> None:
    """Fill both curves [2, P] over rising rates of false alarms [P] and numbers of positives to be found [P]."""
    num_negative = kind.shape[0] - num_positive
    if num_positive == 0 or num_negative == 0:
        return
    before, found, hit = 0.0, 0.0, 0  # rate of false alarms and share found at the threshold before; positives so far
    roc, pr = 0, 0
    for i in range(kind.shape[0]):
        hit += kind[i] & POSITIVE
        if not kind[i] & LAST_OF_TIE:
            continue
        after, further = (i + 1 - hit) / num_negative, hit / num_positive
        while roc < alarms.shape[0] and alarms[roc] < after:
            out[0, roc] = found + (alarms[roc] - before) / (after - before) * (further - found)
            roc += 1
        while pr < needed.shape[0] and needed[pr] <= hit:
            out[1, pr] = hit / (i + 1)
            pr += 1
        before, found = after, further
    out[0, roc:] = found


def rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[tuple[Any, ...]]:
    """Return rows of the `curves` table: each finding with an AUROC here, and macro, their mean height over the same places."""
    available = [k for k in range(len(findings)) if np.isfinite(measured.value[AUROC][k])]
    if not available:
        return []
    drawn = {findings[k]: heights(measured.columns[k]) for k in available}
    drawn[MACRO] = {kind: np.mean([each[kind] for each in drawn.values()], axis=0) for kind in KINDS}
    return [
        (run_id, measured.scored.dataset, finding, kind, np.round(place, 4).tolist(), np.round(by[kind], 4).tolist())
        for finding, by in drawn.items()
        for kind, place in KINDS.items()
    ]
