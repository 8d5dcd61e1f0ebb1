"""Compiled passes over images, LANES replicates side by side; weight [num_patients, LANES] uint8 is one tile of them."""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE
from bench.scoring.resamples import LANES

Array = NDArray[np.float64]


@compiled
def walk_ranks(  # noqa: C901 - one pass over the images: splitting it would hide the order
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    cut: NDArray[np.int64],
    precisely: bool,
    weight: NDArray[np.uint8],
    auroc: Array,
    auprc: Array,
    reached: Array,
) -> None:
    """Fill both metrics [LANES] from images sorted by falling score; weight [num_patients, LANES] is one tile.

    AUROC = 1 - discordant pairs / all pairs (a tie is half a pair); AUPRC = sum of precision x added recall.
    AUPRC, whose divisions cost more than all the rest, only `precisely`.
    reached [Q, 2, LANES]: negatives and positives among the first cut [Q] images; cuts rise and part no tie.
    """
    positives = np.zeros(LANES, np.int32)
    negatives = np.zeros(LANES, np.int32)
    tied_positives = np.zeros(LANES, np.int32)
    tied_negatives = np.zeros(LANES, np.int32)
    discordant = np.zeros(LANES, np.float64)
    gained = np.zeros(LANES, np.float64)
    in_tie = False
    start = 0
    for q in range(cut.shape[0] + 1):
        stop = cut[q] if q < cut.shape[0] else patient.shape[0]
        i = start
        while i < stop:
            if not in_tie and kind[i] == LAST_OF_TIE:  # negatives alone at their scores: by far the most common
                end = i + 1
                while end < stop and kind[end] == LAST_OF_TIE:
                    end += 1
                while i + 4 <= end:
                    w0, w1 = weight[patient[i]], weight[patient[i + 1]]
                    w2, w3 = weight[patient[i + 2]], weight[patient[i + 3]]
                    for j in range(LANES):
                        negatives[j] += np.int32(w0[j]) + np.int32(w1[j]) + np.int32(w2[j]) + np.int32(w3[j])
                    i += 4
                while i < end:
                    w0 = weight[patient[i]]
                    for j in range(LANES):
                        negatives[j] += np.int32(w0[j])
                    i += 1
                continue
            w = weight[patient[i]]
            if not in_tie and kind[i] == LAST_OF_TIE | POSITIVE:
                for j in range(LANES):
                    new = np.int32(w[j])
                    discordant[j] += np.float64(np.int32(new * negatives[j]))  # 31 bits hold 255 x 8 million images
                    positives[j] += new
                if precisely:
                    for j in range(LANES):
                        called = max(np.float64(positives[j] + negatives[j]), 1.0)
                        gained[j] += np.float64(np.int32(np.int32(w[j]) * positives[j])) / called
            else:
                if kind[i] & POSITIVE:
                    for j in range(LANES):
                        tied_positives[j] += np.int32(w[j])
                else:
                    for j in range(LANES):
                        tied_negatives[j] += np.int32(w[j])
                in_tie = kind[i] & LAST_OF_TIE == 0
                if not in_tie:
                    for j in range(LANES):
                        of_tie = np.float64(tied_positives[j])
                        discordant[j] += of_tie * (negatives[j] + 0.5 * tied_negatives[j])
                        positives[j] += tied_positives[j]
                        negatives[j] += tied_negatives[j]
                        gained[j] += (
                            of_tie * np.float64(positives[j]) / max(np.float64(positives[j] + negatives[j]), 1.0)
                        )
                        tied_positives[j] = 0
                        tied_negatives[j] = 0
            i += 1
        start = stop
        if q < cut.shape[0]:
            for j in range(LANES):
                reached[q, 0, j] = negatives[j]
                reached[q, 1, j] = positives[j]
    for j in range(LANES):
        pairs = np.float64(positives[j]) * np.float64(negatives[j])
        auroc[j] = (pairs - discordant[j]) / pairs if pairs > 0 else np.nan
        auprc[j] = gained[j] / positives[j] if pairs > 0 else np.nan


@compiled
def sum_groups(
    patient: NDArray[np.int32], group: NDArray[np.int32], value: Array, weight: NDArray[np.uint8], out: Array
) -> None:
    """Add weight x value [n, V] of each image to its group: out [num_groups, V, LANES].

    Images of one group that follow each other are taken up to LANES at a time, so that their weights are widened once for
    all values, and a total is read and written once for four of them.
    """
    num = patient.shape[0]
    wide = np.empty((LANES, LANES), np.float64)
    start = 0
    while start < num:
        stop = start + 1
        while stop < num and stop - start < LANES and group[stop] == group[start]:
            stop += 1
        for i in range(start, stop):
            w, row = weight[patient[i]], wide[i - start]
            for j in range(LANES):
                row[j] = w[j]
        whole = start + (stop - start) // 4 * 4
        for v in range(value.shape[1]):
            total = out[group[start], v]
            for i in range(start, whole, 4):
                x0, x1, x2, x3 = value[i, v], value[i + 1, v], value[i + 2, v], value[i + 3, v]
                k = i - start
                for j in range(LANES):
                    total[j] += (wide[k, j] * x0 + wide[k + 1, j] * x1) + (wide[k + 2, j] * x2 + wide[k + 3, j] * x3)
            for i in range(whole, stop):
                x, row = value[i, v], wide[i - start]
                for j in range(LANES):
                    total[j] += row[j] * x
        start = stop


@compiled
def fold(segment: Array, place: NDArray[np.int64], first: int, binned: Array) -> None:
    """Add segment [S, 1 + C, W], images and excess under each of C probs, to the bins of its place [S, C, 2].

    binned [C, 2, G, 2, ...]: equal-width and equal-mass bins; images and excess; W lanes from `first`.
    """
    for s in range(segment.shape[0]):
        for c in range(place.shape[1]):
            for kind in range(2):
                to = binned[c, kind, place[s, c, kind]]
                for j in range(segment.shape[2]):
                    to[0, first + j] += segment[s, 0, j]
                    to[1, first + j] += segment[s, 1 + c, j]
