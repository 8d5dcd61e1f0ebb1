"""Reliability curves: the observed frequency of the finding by predicted probability, in bins and as a smooth curve.

Shapes: N images, K findings, G bins, P patients.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.intervals import wilson
from bench.scoring.calibration_metrics import bin_of
from bench.scoring.metrics_of_split import AS_GIVEN, DECIDING, SplitMetrics
from bench.scoring.smooth_calibration import smooth_curve

Array = NDArray[np.float64]
POOLED = "pooled"
PATIENTS_PER_BLOCK = 128  # number of patients whose counts in all bins fit into the level 1 cache

Point = tuple[int, float, float, float, float, int]


def curve(label: NDArray[np.integer], prob: Array, patient: NDArray[np.int32], bins: int) -> list[Point]:
    """Compute a point (bin, mean probability, observed share, low, high, count) for each non-empty bin, lowest bin first.

    low and high are Wilson's interval of the share for an effective number of images, because images of one patient are
    correlated. This number is the number of images divided by the variance inflation: the variance with correlated
    images divided by the variance with independent images, at least 1. If all or no images of a bin have the finding,
    the number of patients is used.
    Source: Korn and Graubard 1998 (effective sample size); the variance is that of a ratio of patient totals.
    """
    images = _Images.of(patient, int(patient.max(initial=-1)) + 1)
    sums, code = np.zeros((1, 7, bins)), _codes(1, len(patient), bins)
    _add(bin_of(prob, bins), label == 1, np.asarray(prob, np.float64), images.slot, code[0], sums[0])
    _by_patient(images.repeated, images.start, code[0], sums[0])
    [points] = _points(sums)
    return points


def _points(sums: Array) -> list[list[Point]]:
    """Compute the points of several curves from their sums [curves, 7, G].

    Sums 0 to 3 of a bin: number of images, sum of probabilities, number of positive images, number of patients. Sums 4 to 6
    are sums over patients, with n images and p positive images of a patient in the bin: n^2, n x p, p^2.
    """
    curve, used = np.nonzero(sums[:, 0])
    num, total, positive, patients, num_squared, num_times_positive, positive_squared = sums[curve, :, used].T
    mean, share = total / num, positive / num
    mixed = (share > 0) & (share < 1)
    # sum over patients of (positive images - expected positive images)^2
    spread = positive_squared - 2 * share * num_times_positive + share * share * num_squared
    inflation = np.divide(spread, num * share * (1 - share), out=np.ones(len(used)), where=mixed)
    effective = np.where(mixed, num / np.maximum(inflation, 1.0), patients)
    low, high = wilson(share, effective)
    points_of_curve: list[list[Point]] = [[] for _ in sums]
    columns = (used, mean, share, low, high, num.astype(np.int64))
    for k, *point in zip(curve.tolist(), *(column.tolist() for column in columns), strict=True):
        points_of_curve[k].append((point[0], point[1], point[2], point[3], point[4], point[5]))
    return points_of_curve


class _Images(NamedTuple):
    """The order of the images when they are sorted by patient; a slot is a position in this order."""

    slot: NDArray[np.int32]  # slot of each image [N]
    patient: NDArray[np.int32]  # patient at each slot [N]
    start: NDArray[np.int64]  # [P + 1]: first slot of each patient, then N
    repeated: NDArray[np.int64]  # codes of the patients with two or more images

    @classmethod
    def of(cls, patient: NDArray[np.int32], num_patients: int) -> Self:
        """Sort the images by patient."""
        order = np.argsort(patient, kind="stable")
        slot = np.empty(len(order), np.int32)
        slot[order] = np.arange(len(order), dtype=np.int32)
        start = np.searchsorted(patient[order], np.arange(num_patients + 1))
        return cls(slot, patient[order], start, np.flatnonzero(np.diff(start) > 1))


def _codes(num_findings: int, num_images: int, bins: int) -> NDArray[np.unsignedinteger]:
    """Allocate an array [K, N] for the code of each image, 2 x bin + label; `_add` writes the codes.

    The initial value is 2 x bins, the code of an additional bin. Images without a score keep this value.
    """
    return np.full((num_findings, num_images), 2 * bins, np.min_scalar_type(2 * bins + 1))


@compiled
def _add(
    bin_of_image: NDArray[np.int32],
    positive: NDArray[np.bool_],
    prob: Array,
    slot: NDArray[np.int32],
    code: NDArray[np.unsignedinteger],
    sums: Array,
) -> None:
    """Add n images to the first three of the sums [7, G] that `_points` lists, and write their codes to `code` [N].

    A code is 2 x bin + label. `slot` [n] has the position of each of the n images in `code`.

    Images are sorted by score. So images of one bin are adjacent, and their sum stays in a register.
    """
    num, i = bin_of_image.shape[0], 0
    while i < num:
        g, first = bin_of_image[i], i
        total, num_positive = sums[1, g], 0
        while i < num and bin_of_image[i] == g:
            y = 1 if positive[i] else 0
            total += prob[i]
            num_positive += y
            code[slot[i]] = 2 * g + y
            i += 1
        sums[0, g] += i - first
        sums[1, g] = total
        sums[2, g] += num_positive


@compiled
def _by_patient(
    repeated: NDArray[np.int64], start: NDArray[np.int64], code: NDArray[np.unsignedinteger], sums: Array
) -> None:
    """Compute sums 3 to 6 of one curve from code [N] and the sums 0 to 2; `_points` lists the sums [7, G].

    Sums over patients differ from sums over images only if a patient has several images in a bin. Patients with two
    images are frequent and have a faster branch. For each bin, `count` contains two numbers for the current patient:
    the number of images in the upper 32 bits, the number of positive images in the lower 32 bits.
    """
    bins = sums.shape[1]
    count, more, twos = np.zeros(bins + 1, np.int64), np.zeros((bins + 1, 4)), np.zeros((bins + 1, 4))
    for p in repeated:
        first, stop = start[p], start[p + 1]
        if stop - first == 2:
            a, b = code[first], code[first + 1]
            # column of the array `twos`: the number of positives (0, 1, 2), or 3 if the two images are in different
            # bins
            column = (a & 1) + (b & 1) if a >> 1 == b >> 1 else 3
            twos[a >> 1, column] += 1
            continue
        for i in range(first, stop):
            g, y = code[i] >> 1, code[i] & 1
            images_before, positive_before = count[g] >> 32, count[g] & 0xFFFFFFFF
            if images_before:
                more[g, 0] += 1
                more[g, 1] += 2 * images_before
                more[g, 2] += positive_before + y * images_before
                more[g, 3] += 2 * y * positive_before
            count[g] += (1 << 32) + y
        for i in range(first, stop):
            count[code[i] >> 1] = 0
    for g in range(bins):
        none, one, both, _ = twos[g]
        images, positive = sums[0, g], sums[2, g]
        sums[3, g] = images - more[g, 0] - (none + one + both)
        sums[4, g] = images + more[g, 1] + 2 * (none + one + both)
        sums[5, g] = positive + more[g, 2] + one + 2 * both
        sums[6, g] = positive + more[g, 3] + 2 * both


@compiled
def _over_patients(
    start: NDArray[np.int64], patient: NDArray[np.int32], code: NDArray[np.unsignedinteger], sums: Array
) -> None:
    """Add sums 3 to 6 of the pooled curve to `sums`, from the codes [K, N] of all findings.

    `_points` lists the sums [7, G]. Patients are processed in blocks that fit into the processor's cache.
    """
    count = np.zeros((2 * sums.shape[1] + 1, PATIENTS_PER_BLOCK), np.int32)
    for begin in range(0, start.shape[0] - 1, PATIENTS_PER_BLOCK):
        end = min(begin + PATIENTS_PER_BLOCK, start.shape[0] - 1)
        count[:] = 0
        for k in range(code.shape[0]):
            for i in range(start[begin], start[end]):
                count[code[k, i], patient[i] - begin] += 1
        for g in range(sums.shape[1]):
            patients, num_squared, num_times_positive, positive_squared = 0, 0, 0, 0
            for p in range(PATIENTS_PER_BLOCK):
                num_positive = count[2 * g + 1, p]
                num = count[2 * g, p] + num_positive
                patients += num > 0
                num_squared += num * num
                num_times_positive += num * num_positive
                positive_squared += num_positive * num_positive
            sums[3, g] += patients
            sums[4, g] += num_squared
            sums[5, g] += num_times_positive
            sums[6, g] += positive_squared


def rows(run_id: str, findings: Sequence[str], measured: SplitMetrics, bins: int) -> list[tuple[Any, ...]]:
    """Build rows of the `reliability` table: for each calibrator, the curve of all findings pooled, then one per finding.

    The smooth curve is that of the pooled findings, uncalibrated and after Platt scaling.
    """
    scored, resamples, num_findings = measured.scored, measured.resamples, len(measured.columns)
    images = scored.cached("images by patient", lambda: _Images.of(resamples.patient, resamples.num_patients))
    sums = np.zeros((len(measured.calibrators), 1 + num_findings, 7, bins))
    code = _codes(num_findings, len(resamples.patient), bins)
    labels_and_slots = [(column.positive, images.slot[column.rows]) for column in measured.columns]
    for c, calibrator in enumerate(measured.calibrators):
        used = []
        for k, ((positive, slot), probabilities) in enumerate(
            zip(labels_and_slots, measured.probabilities, strict=True)
        ):
            binned = probabilities[calibrator]
            if len(binned.prob) and binned.fitted:
                _add(binned.bin, positive, binned.prob, slot, code[k], sums[c, 1 + k])
                _by_patient(images.repeated, images.start, code[k], sums[c, 1 + k])
                used.append(k)
        sums[c, 0, :3] = sums[c, 1:, :3].sum(0)
        _over_patients(images.start, images.patient, code[used], sums[c, 0])
    curves = iter(_points(sums.reshape(-1, 7, bins)))
    rows_of_curves: list[tuple[Any, ...]] = []
    for calibrator in measured.calibrators:
        for finding in (POOLED, *findings):
            points = next(curves)
            smooth: list[tuple[float, ...]] = [(np.nan,) * 3] * len(points)
            if finding == POOLED and calibrator in (AS_GIVEN, DECIDING):
                smooth = _smooth(measured, calibrator, points)
            key = (run_id, scored.dataset, calibrator, finding)
            rows_of_curves += [(*key, *point, *of) for point, of in zip(points, smooth, strict=True)]
    return rows_of_curves


def _smooth(measured: SplitMetrics, calibrator: str, points: list[Point]) -> list[tuple[float, ...]]:
    """Return the smooth curve of all findings with its bounds, at the mean probability of each point."""
    used = [
        (column, of[calibrator])
        for column, of in zip(measured.columns, measured.probabilities, strict=True)
        if len(of[calibrator].prob) and of[calibrator].fitted
    ]
    if not used:
        return []
    curve_and_band = smooth_curve(
        np.concatenate([of.prob for _, of in used]),
        np.concatenate([column.positive for column, _ in used]),
        np.concatenate([column.patient for column, _ in used]),
        np.array([point[1] for point in points]),
    )
    return list(zip(*(numbers.tolist() for numbers in curve_and_band), strict=True))
