"""Compiled passes over images, for LANES bootstrap replicates at once.

An image counts as often as its patient was drawn: weight [num_patients, L] uint8. The L replicates lie next to each other,
so that the inner loops become vector instructions. Loops stand where numpy has expressions of whole arrays: these take
seconds to compile. Sums are added in the order of the images: the bits do not depend on the number of processes or threads.
Shapes: n images, L replicates, G groups, C bins, V values, S segments.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE

Array = NDArray[np.float64]
Weight = NDArray[np.uint8]
LONE_NEGATIVE = LAST_OF_TIE  # kind of a negative whose score no other image has: most images
TINY = 1e-12  # below any sum of weights


@compiled
def walk_ranks(  # noqa: C901 - one pass over the images, in one loop
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    cut: NDArray[np.int64],
    weight: Weight,
    auroc: Array,
    auprc: Array,
    reached: Array,
) -> None:
    """Fill AUROC and AUPRC [LANES] of images sorted by falling score; NaN in a replicate that lacks a class.

    AUROC = 1 - discordant pairs / all pairs, where a tie is half a pair. AUPRC = sum of precision x added recall.
    reached [Q, 2, LANES]: negatives and positives among the first cut[q] images; cuts rise and split no tie.
    """
    num, q, in_tie = patient.shape[0], 0, False
    negatives, positives = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    tied_negatives, tied_positives = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    discordant, gained = np.zeros(LANES), np.zeros(LANES)
    for i in range(num + 1):
        while q < cut.shape[0] and cut[q] == i:
            for j in range(LANES):
                reached[q, 0, j], reached[q, 1, j] = negatives[j], positives[j]
            q += 1
        if i == num:
            break
        p = patient[i]
        if kind[i] == LONE_NEGATIVE and not in_tie:
            for j in range(LANES):
                negatives[j] += weight[p, j]
            continue
        if kind[i] & POSITIVE:
            for j in range(LANES):
                tied_positives[j] += weight[p, j]
        else:
            for j in range(LANES):
                tied_negatives[j] += weight[p, j]
        in_tie = kind[i] & LAST_OF_TIE == 0
        if in_tie:
            continue
        for j in range(LANES):
            new = float(tied_positives[j])
            discordant[j] += new * (negatives[j] + 0.5 * tied_negatives[j])
            negatives[j] += tied_negatives[j]
            positives[j] += tied_positives[j]
            called = float(positives[j]) + float(negatives[j])
            gained[j] += new * positives[j] / max(called, 1.0)
            tied_negatives[j] = 0
            tied_positives[j] = 0
    for j in range(LANES):
        pairs = float(positives[j]) * negatives[j]
        auroc[j] = (pairs - discordant[j]) / pairs if pairs > 0 else np.nan
        auprc[j] = gained[j] / positives[j] if pairs > 0 else np.nan


@compiled
def walk_weighted(  # noqa: C901 - one pass over the images, in one loop
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    place: NDArray[np.int32],
    excess: Array,
    weight: Weight,
    of_label: Array,
    of_group: Array,
    bins: int,
    out: Array,
) -> None:
    """Fill out [5, L] of images sorted by falling score that also count by a factor: see `weighted_metrics.Reweighted`.

    AUROC, AUPRC and calibration error where an image counts weight x of_group [G, L]; then AUPRC and calibration error
    where it counts weight x of_label [2, L], which is negatives, then positives. place and excess are the bin of an image
    and its label - probability. A calibration error is a sum over bins: factors are such that all weights sum to 1.
    """
    num, lanes, in_tie = patient.shape[0], weight.shape[1], False
    negatives, positives, zeros, ones = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    tied_negatives, tied_positives, tied_zeros, tied_ones = (
        np.zeros(lanes),
        np.zeros(lanes),
        np.zeros(lanes),
        np.zeros(lanes),
    )
    discordant, gained, gained_by_label = np.zeros(lanes), np.zeros(lanes), np.zeros(lanes)
    binned, binned_by_label, ratio = np.zeros((bins, lanes)), np.zeros((bins, lanes)), np.empty(lanes)
    for j in range(lanes):
        ratio[j] = of_label[0, j] / of_label[1, j]
    for i in range(num):
        p, g, b, y = patient[i], group[i], place[i], kind[i] & POSITIVE
        for j in range(lanes):
            binned[b, j] += excess[i] * (weight[p, j] * of_group[g, j])
            binned_by_label[b, j] += excess[i] * (weight[p, j] * of_label[y, j])
        if kind[i] == LONE_NEGATIVE and not in_tie:
            for j in range(lanes):
                negatives[j] += weight[p, j] * of_group[g, j]
                zeros[j] += weight[p, j]
            continue
        if y:
            for j in range(lanes):
                tied_positives[j] += weight[p, j] * of_group[g, j]
                tied_ones[j] += weight[p, j]
        else:
            for j in range(lanes):
                tied_negatives[j] += weight[p, j] * of_group[g, j]
                tied_zeros[j] += weight[p, j]
        in_tie = kind[i] & LAST_OF_TIE == 0
        if in_tie:
            continue
        for j in range(lanes):
            discordant[j] += tied_positives[j] * (negatives[j] + 0.5 * tied_negatives[j])
            negatives[j] += tied_negatives[j]
            positives[j] += tied_positives[j]
            zeros[j] += tied_zeros[j]
            ones[j] += tied_ones[j]
            gained[j] += tied_positives[j] * positives[j] / max(positives[j] + negatives[j], TINY)
            gained_by_label[j] += tied_ones[j] * ones[j] / max(ones[j] + ratio[j] * zeros[j], TINY)
            tied_negatives[j], tied_positives[j], tied_zeros[j], tied_ones[j] = 0.0, 0.0, 0.0, 0.0
    for j in range(lanes):
        pairs = positives[j] * negatives[j]
        out[0, j] = 1 - discordant[j] / pairs if pairs > 0 else np.nan
        out[1, j] = gained[j] / positives[j] if pairs > 0 else np.nan
        fine = ones[j] > 0 and zeros[j] > 0 and ratio[j] > 0 and ratio[j] < np.inf
        out[3, j] = gained_by_label[j] / ones[j] if fine else np.nan
        out[2, j], out[4, j] = 0.0, 0.0
    for b in range(bins):
        for j in range(lanes):
            out[2, j] += abs(binned[b, j])
            out[4, j] += abs(binned_by_label[b, j])


@compiled
def sum_segments(
    patient: NDArray[np.int32], start: NDArray[np.int64], value: Array, weight: Weight, out: Array
) -> None:
    """Add weight x value [n, V] of the images of each segment: out [S, V, L]; segment s are images start[s] to start[s + 1].

    Four images at a time: their weights become floating-point numbers once for all values, and a sum is read and written
    once. A segment of a number of images that is no multiple of four ends with weights of 0.
    """
    lanes = weight.shape[1]
    times = np.empty((4, lanes))
    for s in range(start.shape[0] - 1):
        last = start[s + 1] - 1
        for i in range(start[s], start[s + 1], 4):
            for k in range(4):
                p, share = patient[min(i + k, last)], 1.0 if i + k <= last else 0.0
                for j in range(lanes):
                    times[k, j] = share * weight[p, j]
            second, third, fourth = min(i + 1, last), min(i + 2, last), min(i + 3, last)
            for v in range(value.shape[1]):
                a, b, c, d = value[i, v], value[second, v], value[third, v], value[fourth, v]
                for j in range(lanes):
                    out[s, v, j] += (times[0, j] * a + times[1, j] * b) + (times[2, j] * c + times[3, j] * d)
