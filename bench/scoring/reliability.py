"""Reliability curves: how often the finding was there, among images given about the same probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import bin_of
from bench.scoring.compiled import compiled
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
    num_patients = int(patient.max()) + 1 if len(patient) else 0
    sums = np.zeros((2, 7, bins))
    seen = np.zeros((bins, num_patients, 4), np.int32)
    _add(bin_of(prob, bins), label == 1, np.asarray(prob, np.float64), patient, seen, *sums)
    [points] = _points(sums[:1])
    return points


def _points(sums: Array) -> list[list[Point]]:
    """Return the points of several curves, from the sums of each [curves, 7, G].

    Sums: images, probability, positive images, patients; over patients images squared, images x positive, positive squared.
    """
    curve, used = np.nonzero(sums[:, 0])
    num, total, positive, patients, of_num, of_both, of_positive = sums[curve, :, used].T
    mean, share = total / num, positive / num
    mixed = (share > 0) & (share < 1)
    spread = of_positive - 2 * share * of_both + share * share * of_num  # squared excess of positives, over patients
    inflation = np.divide(spread, num * share * (1 - share), out=np.ones(len(used)), where=mixed)
    effective = np.where(mixed, num / np.maximum(inflation, 1.0), patients)
    low, high = wilson(share, effective)
    out: list[list[Point]] = [[] for _ in sums]
    columns = (used, mean, share, low, high, num.astype(np.int64))
    for at, *point in zip(curve.tolist(), *(column.tolist() for column in columns), strict=True):
        out[at].append((point[0], point[1], point[2], point[3], point[4], point[5]))
    return out


@compiled
def _add(
    where: NDArray[np.int64],
    positive: NDArray[np.bool_],
    prob: Array,
    patient: NDArray[np.int32],
    seen: NDArray[np.int32],
    own: Array,
    pooled: Array,
) -> None:
    """Add images [n] to the sums [7, G] of a curve and of a pooled one, whose probabilities are added up elsewhere.

    seen [G, num_patients, 4]: images of each patient in a bin and the positive ones, so far; on this curve, where they are 0
    before and after, then pooled.
    """
    num, i = where.shape[0], 0
    while i < num:  # along a score images of one bin follow each other: their sums stay in registers
        g, first = where[i], i
        total, ones = own[1, g], 0
        of_own, of_pooled = (0, 0, 0, 0), (0, 0, 0, 0)
        while i < num and where[i] == g:
            p, y = patient[i], 1 if positive[i] else 0
            total += prob[i]
            ones += y
            at = seen[g, p]
            of_own = _with(of_own, at[:2], y)
            of_pooled = _with(of_pooled, at[2:], y)
            i += 1
        own[1, g] = total
        for sums, found in ((own, of_own), (pooled, of_pooled)):
            sums[0, g] += i - first
            sums[2, g] += ones
            for j in range(4):
                sums[3 + j, g] += found[j]
    for i in range(num):
        seen[where[i], patient[i], :2] = 0


@compiled
def _with(sums: tuple[int, int, int, int], seen: NDArray[np.int32], y: int) -> tuple[int, int, int, int]:
    """Return the sums over patients with one more image of one whose images and positive ones are `seen`, and note it there."""
    num, ones = seen[0], seen[1]
    seen[0], seen[1] = num + 1, ones + y
    patients, of_num, of_both, of_positive = sums
    return patients + (num == 0), of_num + 2 * num + 1, of_both + ones + y * (num + 1), of_positive + y * (2 * ones + 1)


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
    num_patients, num_findings = measured.resamples.num_patients, len(measured.columns)
    shape = (len(measured.calibrators), 1 + num_findings)
    sums = np.zeros((*shape, 7, bins))
    positive = [column.positive for column in measured.columns]
    for c, calibrator in enumerate(measured.calibrators):
        seen = np.zeros((bins, num_patients, 4), np.int32)
        for k, (column, judged) in enumerate(zip(measured.columns, measured.judged, strict=True)):
            each = judged[calibrator]
            if len(each.prob) and each.known:
                images = (each.place, positive[k], each.prob, column.patient)
                _add(*images, seen, sums[c, 1 + k], sums[c, 0])
        sums[c, 0, 1] = sums[c, 1:, 1].sum(0)
    curves = iter(_points(sums.reshape(-1, 7, bins)))
    return [
        (run_id, measured.part.dataset, calibrator, finding, *point)
        for calibrator in measured.calibrators
        for finding in (POOLED, *findings)
        for point in next(curves)
    ]
