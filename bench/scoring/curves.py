"""ROC and precision-recall curves of a run, thinned to what a figure shows.

Read off the order in which scoring has sorted a finding anyway. Shapes: n images that take part, P points, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.gap import MACRO
from bench.scoring.measure import AUROC, Measured
from bench.scoring.ranking import LAST_OF_TIE, Column

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
    last = np.flatnonzero(column.kind & LAST_OF_TIE)
    hit = np.cumsum(column.positive)[last].astype(np.float64)
    called = last + 1.0
    num_positive = hit[-1] if len(hit) else 0.0
    num_negative = len(column.rows) - num_positive
    if not num_positive or not num_negative:
        return {kind: np.full(POINTS, np.nan) for kind in KINDS}
    alarms = np.append(0.0, (called - hit) / num_negative)
    at = np.searchsorted(alarms, FALSE_ALARMS, side="right") - 1
    after = np.minimum(at + 1, len(alarms) - 1)
    width = alarms[after] - alarms[at]
    found, further = (np.append(0.0, hit)[each] / num_positive for each in (at, after))
    share = np.divide(FALSE_ALARMS - alarms[at], width, out=np.zeros(POINTS), where=width > 0)
    needed = np.maximum(np.ceil(RECALLS * num_positive - 1e-9), 1)  # .1 * 30 must not round up to 4
    reached = np.searchsorted(hit, needed)
    return {"roc": found + share * (further - found), "pr": hit[reached] / called[reached]}


def rows(run_id: str, findings: Sequence[str], measured: Measured) -> list[tuple[Any, ...]]:
    """Return rows of the `curves` table: each finding with an AUROC here, and macro, their mean height over the same places."""
    scored = [k for k in range(len(findings)) if np.isfinite(measured.value[AUROC][k])]
    if not scored:
        return []
    drawn = {findings[k]: heights(measured.columns[k]) for k in scored}
    drawn[MACRO] = {kind: np.mean([each[kind] for each in drawn.values()], axis=0) for kind in KINDS}
    return [
        (run_id, measured.part.dataset, finding, kind, np.round(place, 4).tolist(), np.round(by[kind], 4).tolist())
        for finding, by in drawn.items()
        for kind, place in KINDS.items()
    ]
