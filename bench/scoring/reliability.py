"""Reliability curves: how often the finding was there, among images given about the same probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import bin_of, rise_and_fall
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
    where = bin_of(prob, bins)
    sums, last = np.zeros((1, 7, bins)), np.zeros((int(patient.max(initial=-1)) + 1, 2), np.int64)
    images = _in_runs(where, label == 1, np.asarray(prob, np.float64), patient)
    _add(*images, 0, last, np.zeros((bins, len(last)), np.int64), sums[0])
    [points] = _points(sums)
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


Images = tuple[NDArray[np.int64], NDArray[np.bool_], Array, NDArray[np.int32]]  # bin, positive, probability, patient


def _in_runs(*images: *Images) -> Images:
    """Return the images so that those of one bin follow each other, in their own order; along a score they do."""
    if any(rise_and_fall(images[0])):
        return images
    order = np.argsort(images[0], kind="stable")
    where, positive, prob, patient = images
    return where[order], positive[order], prob[order], patient[order]


@compiled
def _add(
    where: NDArray[np.int64],
    positive: NDArray[np.bool_],
    prob: Array,
    patient: NDArray[np.int32],
    run: int,
    last: NDArray[np.int64],
    pooled: NDArray[np.int64],
    sums: Array,
) -> int:
    """Add images [n], in runs of one bin, to the sums [7, G] of a curve; return the number of the last run.

    last [num_patients, 2]: the run in which a patient was seen last, `run` or before, and its images in it; pooled
    [G, num_patients]: the images of each patient in a bin so far. Images are counted in the upper 32 bits, positive ones below.
    """
    num, i = where.shape[0], 0
    while i < num:
        g, first = where[i], i
        total, ones = sums[1, g], 0
        again, of_num, of_both, of_positive = 0, 0, 0, 0  # what images add that are not their patient's first
        run, so_far = run + 1, pooled[g]
        while i < num and where[i] == g:
            p, y = patient[i], 1 if positive[i] else 0
            image = (1 << 32) + y
            total += prob[i]
            ones += y
            so_far[p] += image
            if last[p, 0] == run:
                seen, found = last[p, 1] >> 32, last[p, 1] & 0xFFFFFFFF
                again += 1
                of_num += 2 * seen
                of_both += found + y * seen
                of_positive += 2 * y * found
                last[p, 1] += image
            else:
                last[p, 0], last[p, 1] = run, image
            i += 1
        sums[1, g] = total
        found_here = (i - first, ones, i - first - again, i - first + of_num, ones + of_both, ones + of_positive)
        for j, at in enumerate((0, 2, 3, 4, 5, 6)):
            sums[at, g] += found_here[j]
    return run


@compiled
def _over_patients(pooled: NDArray[np.int64], sums: Array) -> None:
    """Fill the four sums [4, G] over patients from the images of each in a bin, [G, num_patients]; no image is left."""
    for g in range(pooled.shape[0]):
        patients, of_num, of_both, of_positive = 0, 0, 0, 0
        for p in range(pooled.shape[1]):
            num, ones = pooled[g, p] >> 32, pooled[g, p] & 0xFFFFFFFF
            patients += num > 0
            of_num += num * num
            of_both += num * ones
            of_positive += ones * ones
            pooled[g, p] = 0
        sums[0, g], sums[1, g], sums[2, g], sums[3, g] = patients, of_num, of_both, of_positive


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
    num_patients, num_findings = measured.resamples.num_patients, len(measured.columns)
    sums = np.zeros((len(measured.calibrators), 1 + num_findings, 7, bins))
    positive = [column.positive for column in measured.columns]
    last, pooled, run = np.zeros((num_patients, 2), np.int64), np.zeros((bins, num_patients), np.int64), 0
    for c, calibrator in enumerate(measured.calibrators):
        for k, (column, judged) in enumerate(zip(measured.columns, measured.judged, strict=True)):
            each = judged[calibrator]
            if len(each.prob) and each.known:
                images = _in_runs(each.place, positive[k], each.prob, column.patient)
                run = _add(*images, run, last, pooled, sums[c, 1 + k])
        sums[c, 0, :3] = sums[c, 1:, :3].sum(0)
        _over_patients(pooled, sums[c, 0, 3:])
    curves = iter(_points(sums.reshape(-1, 7, bins)))
    return [
        (run_id, measured.part.dataset, calibrator, finding, *point)
        for calibrator in measured.calibrators
        for finding in (POOLED, *findings)
        for point in next(curves)
    ]
