"""Reliability curves: how often the finding was there, among images given about the same probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    num = np.bincount(where, minlength=bins).astype(np.float64)
    used = np.flatnonzero(num)
    mean, share = (np.bincount(where, each, bins)[used] / num[used] for each in (prob, label))
    num_patients = int(patient.max()) + 1 if len(patient) else 0
    cell = where * num_patients + patient
    images, positives = (np.bincount(cell, each, bins * num_patients).reshape(bins, -1)[used] for each in (None, label))
    spread = ((positives - share[:, None] * images) ** 2).sum(1)
    mixed = (share > 0) & (share < 1)
    inflation = np.divide(spread, num[used] * share * (1 - share), out=np.ones(len(used)), where=mixed)
    effective = np.where(mixed, num[used] / np.maximum(inflation, 1.0), np.count_nonzero(images, axis=1))
    low, high = wilson(share, effective)
    columns = (used, mean, share, low, high, num[used].astype(np.int64))
    return list(zip(*(column.tolist() for column in columns), strict=True))


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
    out: list[tuple[Any, ...]] = []
    for calibrator, prob in measured.prob.items():
        pieces = []
        for k, finding in enumerate(findings):
            column = measured.columns[k]
            each = prob[column.rows, k]
            if len(each) and not np.isnan(each).any():
                pieces.append((finding, column.positive.astype(np.int8), each, column.patient))
        if not pieces:
            continue
        labels, probs, patients = (list(column) for column in list(zip(*pieces, strict=True))[1:])
        pooled = (POOLED, np.concatenate(labels), np.concatenate(probs), np.concatenate(patients))
        for finding, label, each, patient in [pooled, *pieces]:
            points = curve(label, each, patient, bins)
            out.extend((run_id, measured.part.dataset, calibrator, finding, *point) for point in points)
    return out
