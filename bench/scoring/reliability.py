"""Reliability curves: how often the finding was there, among images given about the same probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

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
    own = _Tally.empty(bins, num_patients)
    every = np.zeros_like(own.seen)
    _add(bin_of(prob, bins), label == 1, np.asarray(prob, np.float64), patient, *own, every)
    [points] = _points(own.sums[None])
    return points


class _Tally(NamedTuple):
    """Sums per bin [7, G], and of each patient there the images and the positive ones, seen [G, num_patients, 2].

    Sums: images, probability, positive images, patients; over patients images squared, images x positive, positive squared.
    """

    sums: Array
    seen: NDArray[np.int32]

    @classmethod
    def empty(cls, bins: int, num_patients: int) -> Self:
        """Return the tally of no image."""
        return cls(np.zeros((7, bins)), np.zeros((bins, num_patients, 2), np.int32))


def _points(sums: Array) -> list[list[Point]]:
    """Return the points of several curves, from the sums of each [curves, 7, G]."""
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
    sums: Array,
    seen: NDArray[np.int32],
    every: NDArray[np.int32],
) -> None:
    """Add images [n] to a tally, and what is seen of each patient to `every`, too."""
    for i in range(where.shape[0]):
        g, p, y = where[i], patient[i], 1 if positive[i] else 0
        num, ones = seen[g, p, 0], seen[g, p, 1]
        sums[0, g] += 1
        sums[1, g] += prob[i]
        sums[2, g] += y
        sums[3, g] += 1 if num == 0 else 0
        sums[4, g] += 2 * num + 1
        sums[5, g] += ones + y * (num + 1)
        sums[6, g] += y * (2 * ones + 1)
        seen[g, p, 0] += 1
        seen[g, p, 1] += y
        every[g, p, 0] += 1
        every[g, p, 1] += y


@compiled
def _square(seen: NDArray[np.int32], sums: Array) -> None:
    """Fill what is summed over patients from what is known of each."""
    for g in range(seen.shape[0]):
        for p in range(seen.shape[1]):
            num, ones = seen[g, p, 0], seen[g, p, 1]
            sums[3, g] += 1 if num else 0
            sums[4, g] += num * num
            sums[5, g] += num * ones
            sums[6, g] += ones * ones


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
    num_patients, num_findings = measured.resamples.num_patients, len(measured.columns)
    shape = (len(measured.calibrators), 1 + num_findings)
    sums = np.zeros((*shape, 7, bins))
    for c, calibrator in enumerate(measured.calibrators):
        own, pooled = _Tally.empty(bins, num_patients), np.zeros((bins, num_patients, 2), np.int32)
        for k, (column, judged) in enumerate(zip(measured.columns, measured.judged, strict=True), 1):
            each = judged[calibrator]
            if len(each.prob) and each.known:
                own.sums[:], own.seen[:] = 0, 0
                _add(each.place, column.positive, each.prob, column.patient, *own, pooled)
                sums[c, k] = own.sums
        sums[c, 0, :3] = sums[c, 1:, :3].sum(0)
        _square(pooled, sums[c, 0])
    curves = iter(_points(sums.reshape(-1, 7, bins)))
    return [
        (run_id, measured.part.dataset, calibrator, finding, *point)
        for calibrator in measured.calibrators
        for finding in (POOLED, *findings)
        for point in next(curves)
    ]
