"""Reliability curves: observed frequency of the finding by bin of the predicted probability.

Shapes: N images, K findings.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import wilson
from bench.scoring.calibration_metrics import bin_of
from bench.scoring.metrics_of_split import Measured

Array = NDArray[np.float64]
POOLED = "pooled"
PATIENTS_PER_BLOCK = 128  # patients per block: their counts of all bins fit the level 1 cache

Point = tuple[int, float, float, float, float, int]


def curve(label: NDArray[np.integer], prob: Array, patient: NDArray[np.int32], bins: int) -> list[Point]:
    """Compute (bin, mean probability, observed share, low, high, count) of each non-empty bin, lowest first.

    The interval is Wilson's with an effective count: images divided by the variance inflation due to clustering by patient
    (at least 1). Where all or no images have the finding, the count is that of patients.
    Source: Korn and Graubard 1998 (effective sample size); variance of a ratio by patient totals.
    """
    images = _Images.of(patient, int(patient.max(initial=-1)) + 1)
    sums, code = np.zeros((1, 7, bins)), _codes(1, len(patient), bins)
    _add(bin_of(prob, bins), label == 1, np.asarray(prob, np.float64), images.slot, code[0], sums[0])
    _by_patient(images.several, images.start, code[0], sums[0])
    [points] = _points(sums)
    return points


def _points(sums: Array) -> list[list[Point]]:
    """Compute the points of several curves from the sums of each [curves, 7, G].

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


class _Images(NamedTuple):
    """Images sorted by patient into slots [N]; patients begin at start [P + 1]; `several`: patients with two or more images."""

    slot: NDArray[np.int32]  # of each image
    patient: NDArray[np.int32]  # at each slot
    start: NDArray[np.int64]
    several: NDArray[np.int64]

    @classmethod
    def of(cls, patient: NDArray[np.int32], num_patients: int) -> Self:
        """Sort the images by patient."""
        order = np.argsort(patient, kind="stable")
        slot = np.empty(len(order), np.int32)
        slot[order] = np.arange(len(order), dtype=np.int32)
        start = np.searchsorted(patient[order], np.arange(num_patients + 1))
        return cls(slot, patient[order], start, np.flatnonzero(np.diff(start) > 1))


def _codes(num_findings: int, num_images: int, bins: int) -> NDArray[np.unsignedinteger]:
    """Allocate a code [K, N] per slot, 2 x bin + label; initially the bin after the last, for images that are not scored."""
    return np.full((num_findings, num_images), 2 * bins, np.min_scalar_type(2 * bins + 1))


@compiled
def _add(
    where: NDArray[np.int32],
    positive: NDArray[np.bool_],
    prob: Array,
    slot: NDArray[np.int32],
    code: NDArray[np.unsignedinteger],
    sums: Array,
) -> None:
    """Add images [n] to the sums [7, G] of their bins, and write bin and label to code [N].

    Images are sorted by score, so images of a bin are adjacent and their sum stays in a register.
    """
    num, i = where.shape[0], 0
    while i < num:
        g, first = where[i], i
        total, ones = sums[1, g], 0
        while i < num and where[i] == g:
            y = 1 if positive[i] else 0
            total += prob[i]
            ones += y
            code[slot[i]] = 2 * g + y
            i += 1
        sums[0, g] += i - first
        sums[1, g] = total
        sums[2, g] += ones


@compiled
def _by_patient(
    several: NDArray[np.int64], start: NDArray[np.int64], code: NDArray[np.unsignedinteger], sums: Array
) -> None:
    """Fill the sums over patients of a curve [7, G] from code [N]; its sums over images are already filled.

    Both differ only for patients with several images in a bin. The frequent case of two images has its own path.
    """
    bins = sums.shape[1]
    count, more, twos = np.zeros(bins + 1, np.int64), np.zeros((bins + 1, 4)), np.zeros((bins + 1, 4))
    for p in several:
        first, stop = start[p], start[p + 1]
        if stop - first == 2:
            a, b = code[first], code[first + 1]
            twos[a >> 1, (a & 1) + (b & 1) if a >> 1 == b >> 1 else 3] += (
                1  # column: number of positives (0, 1, 2), or 3 if the two images are in different bins
            )
            continue
        for i in range(first, stop):
            g, y = code[i] >> 1, code[i] & 1
            seen, found = count[g] >> 32, count[g] & 0xFFFFFFFF
            if seen:
                of = more[g]
                of[0], of[1], of[2], of[3] = (
                    of[0] + 1,
                    of[1] + 2 * seen,
                    of[2] + found + y * seen,
                    of[3] + 2 * y * found,
                )
            count[g] += (1 << 32) + y
        for i in range(first, stop):
            count[code[i] >> 1] = 0
    for g in range(bins):
        none, one, both, _ = twos[g]
        images, positive, of = sums[0, g], sums[2, g], more[g]
        sums[3, g] = images - of[0] - (none + one + both)
        sums[4, g] = images + of[1] + 2 * (none + one + both)
        sums[5, g] = positive + of[2] + one + 2 * both
        sums[6, g] = positive + of[3] + 2 * both


@compiled
def _over_patients(
    start: NDArray[np.int64], patient: NDArray[np.int32], code: NDArray[np.unsignedinteger], sums: Array
) -> None:
    """Add the sums over patients [7, G] of all findings pooled, from code [K, N], in blocks of patients that fit the cache."""
    count = np.zeros((2 * sums.shape[1] + 1, PATIENTS_PER_BLOCK), np.int32)
    for begin in range(0, start.shape[0] - 1, PATIENTS_PER_BLOCK):
        end = min(begin + PATIENTS_PER_BLOCK, start.shape[0] - 1)
        count[:] = 0
        for k in range(code.shape[0]):
            for i in range(start[begin], start[end]):
                count[code[k, i], patient[i] - begin] += 1
        for g in range(sums.shape[1]):
            patients, of_num, of_both, of_positive = 0, 0, 0, 0
            for p in range(PATIENTS_PER_BLOCK):
                ones = count[2 * g + 1, p]
                num = count[2 * g, p] + ones
                patients += num > 0
                of_num += num * num
                of_both += num * ones
                of_positive += ones * ones
            sums[3, g] += patients
            sums[4, g] += of_num
            sums[5, g] += of_both
            sums[6, g] += of_positive


def rows(run_id: str, findings: Sequence[str], measured: Measured, bins: int) -> list[tuple[Any, ...]]:
    """Build rows of the `reliability` table: per calibrator, all scored findings pooled, then each finding."""
    scored, resamples, num_findings = measured.scored, measured.resamples, len(measured.columns)
    images = scored.once("images by patient", lambda: _Images.of(resamples.patient, resamples.num_patients))
    sums = np.zeros((len(measured.calibrators), 1 + num_findings, 7, bins))
    code = _codes(num_findings, len(resamples.patient), bins)
    along = [(column.positive, images.slot[column.rows]) for column in measured.columns]
    for c, calibrator in enumerate(measured.calibrators):
        used = []
        for k, ((positive, slot), judged) in enumerate(zip(along, measured.judged, strict=True)):
            each = judged[calibrator]
            if len(each.prob) and each.known:
                _add(each.place, positive, each.prob, slot, code[k], sums[c, 1 + k])
                _by_patient(images.several, images.start, code[k], sums[c, 1 + k])
                used.append(k)
        sums[c, 0, :3] = sums[c, 1:, :3].sum(0)
        _over_patients(images.start, images.patient, code[used], sums[c, 0])
    curves = iter(_points(sums.reshape(-1, 7, bins)))
    return [
        (run_id, scored.dataset, calibrator, finding, *point)
        for calibrator in measured.calibrators
        for finding in (POOLED, *findings)
        for point in next(curves)
    ]
