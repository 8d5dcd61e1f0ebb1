"""Reliability curves: how often the finding was there, among images given about the same probability.

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
AT_ONCE = 128  # patients, whose images of all bins fit the nearest cache

Point = tuple[int, float, float, float, float, int]


def curve(label: NDArray[np.integer], prob: Array, patient: NDArray[np.int32], bins: int) -> list[Point]:
    """Return (bin, mean probability, observed share, low, high, count) of each bin that is not empty, lowest first.

    The interval is Wilson's, with the count divided by how much clustering by patient inflates the variance (at least
    1), so that six images of one patient do not count as six; where all or none have the finding, patients are counted.
    Source: Korn and Graubard 1998 (effective sample size); variance of a ratio by patient totals.
    """
    images = _Images.of(patient, int(patient.max(initial=-1)) + 1)
    sums, code = np.zeros((1, 7, bins)), _codes(1, len(patient), bins)
    _add(bin_of(prob, bins), label == 1, np.asarray(prob, np.float64), images.slot, code[0], sums[0])
    _by_patient(images.several, images.start, code[0], sums[0])
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


class _Images(NamedTuple):
    """Images in slots [N], those of a patient together: patients begin at start [P + 1], and `several` have more than one."""

    slot: NDArray[np.int32]  # of each image
    patient: NDArray[np.int32]  # at each slot
    start: NDArray[np.int64]
    several: NDArray[np.int64]

    @classmethod
    def of(cls, patient: NDArray[np.int32], num_patients: int) -> Self:
        """Return the images in the order of their patients."""
        order = np.argsort(patient, kind="stable")
        slot = np.empty(len(order), np.int32)
        slot[order] = np.arange(len(order), dtype=np.int32)
        start = np.searchsorted(patient[order], np.arange(num_patients + 1))
        return cls(slot, patient[order], start, np.flatnonzero(np.diff(start) > 1))


def _codes(num_findings: int, num_images: int, bins: int) -> NDArray[np.unsignedinteger]:
    """Return a code [K, N] for each slot, 2 x bin + label: that of a bin behind the last until an image takes part."""
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
    """Add images [n] to the sums over images of their bins, [7, G] of a curve, and put bin and label into code [N].

    Along a score images of a bin follow each other, so that the sum of their probabilities stays in a register.
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
    """Fill the sums over patients of a curve [7, G], whose sums over images are known, from code [N].

    They are those over images but for patients with several images in a bin; two of a patient are the usual case.
    """
    bins = sums.shape[1]
    count, more, twos = np.zeros(bins + 1, np.int64), np.zeros((bins + 1, 4)), np.zeros((bins + 1, 4))
    for p in several:
        first, stop = start[p], start[p + 1]
        if stop - first == 2:
            a, b = code[first], code[first + 1]
            twos[a >> 1, (a & 1) + (b & 1) if a >> 1 == b >> 1 else 3] += 1  # by positives; the last: of two bins
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
    """Add to the sums over patients [7, G] of all findings pooled, from code [K, N]: some patients at a time, in cache."""
    count = np.zeros((2 * sums.shape[1] + 1, AT_ONCE), np.int32)
    for begin in range(0, start.shape[0] - 1, AT_ONCE):
        end = min(begin + AT_ONCE, start.shape[0] - 1)
        count[:] = 0
        for k in range(code.shape[0]):
            for i in range(start[begin], start[end]):
                count[code[k, i], patient[i] - begin] += 1
        for g in range(sums.shape[1]):
            patients, of_num, of_both, of_positive = 0, 0, 0, 0
            for p in range(AT_ONCE):
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
    """Return rows of the `reliability` table: per calibrator, all available findings pooled, then each by itself."""
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
