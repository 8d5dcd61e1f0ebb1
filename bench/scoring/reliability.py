"""Reliability curves: how often the finding was there, among images given about the same probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import taking_part
from bench.scoring.calibration import bin_of
from bench.scoring.intervals import wilson
from bench.scoring.measure import Measured

Array = NDArray[np.float64]
POOLED = "pooled"


Point = tuple[int, float, float, float, float, int]


def curve(label: NDArray[np.integer], prob: Array, patient: NDArray[np.int32], bins: int) -> list[Point]:
    """Return (bin, mean probability, observed share, low, high, count) of each bin that is not empty, lowest first.

    The interval is Wilson's, with the count divided by how much clustering by patient inflates the variance (at least
    1), so that six images of one patient do not count as six; where all or none have the finding, patients are counted.
    Source: Korn and Graubard 1998 (effective sample size); variance of a ratio by patient totals.
    """
    where = bin_of(prob, bins)
    rows = []
    for b in np.flatnonzero(np.bincount(where)).tolist():
        chosen = where == b
        y, num = label[chosen].astype(np.float64), int(chosen.sum())
        share = float(y.mean())
        totals = np.bincount(patient[chosen], y - share)
        if 0 < share < 1:
            effective = num / max(float(totals @ totals) / (num * share * (1 - share)), 1.0)
        else:
            effective = float(np.count_nonzero(np.bincount(patient[chosen])))
        low, high = wilson(np.array(share), np.array(effective))
        rows.append((b, float(prob[chosen].mean()), share, float(low), float(high), num))
    return rows


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
    out: list[tuple[Any, ...]] = []
    for calibrator, prob in measured.prob.items():
        pieces = []
        for k, finding in enumerate(findings):
            chosen = taking_part(measured.label, k)
            if not len(chosen) or np.isnan(prob[chosen, k]).any():
                continue
            pieces.append((finding, measured.label[chosen, k], prob[chosen, k], measured.resamples.patient[chosen]))
        if not pieces:
            continue
        labels, probs, patients = (list(column) for column in list(zip(*pieces, strict=True))[1:])
        pooled = (POOLED, np.concatenate(labels), np.concatenate(probs), np.concatenate(patients))
        for finding, label, each, patient in [pooled, *pieces]:
            points = curve(label, each, patient, bins)
            out.extend((run_id, measured.part.dataset, calibrator, finding, *point) for point in points)
    return out
