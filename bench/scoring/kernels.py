"""Compiled passes over images, LANES replicates side by side; weight [num_patients, LANES] uint8 is one tile of them."""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE
from bench.scoring.resamples import LANES

Array = NDArray[np.float64]
MOST_PAIRS = 2**31 - 1  # that a sum of pairs in 32 bits holds


@compiled
def walk_ranks(  # noqa: C901 - one pass over the images: splitting it would hide the order
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    cut: NDArray[np.int64],
    precisely: bool,
    weight: NDArray[np.uint8],
    most: int,
    auroc: Array,
    auprc: Array,
    reached: Array,
) -> None:
    """Fill both metrics [LANES] from images sorted by falling score; weight [num_patients, LANES] is one tile, at most `most`.

    AUROC = 1 - discordant pairs / all pairs (a tie is half a pair); AUPRC = sum of precision x added recall.
    AUPRC, whose divisions cost more than all the rest, only `precisely`. Pairs are added up in 32 bits while these hold them.
    reached [Q, 2, LANES]: negatives and positives among the first cut [Q] images; cuts rise and part no tie.
    """
    positives, negatives = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    tied_positives, tied_negatives = np.zeros(LANES, np.int32), np.zeros(LANES, np.int32)
    pending, room, num_negatives = np.zeros(LANES, np.int32), MOST_PAIRS, 0  # discordant pairs, how many more fit
    discordant, gained = np.zeros(LANES), np.zeros(LANES)
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
                num_negatives += end - i
                while i + 4 <= end:
                    p0, p1, p2, p3 = patient[i], patient[i + 1], patient[i + 2], patient[i + 3]
                    for j in range(LANES):
                        first = np.int32(weight[p0, j]) + np.int32(weight[p1, j])
                        negatives[j] += first + np.int32(weight[p2, j]) + np.int32(weight[p3, j])
                    i += 4
                while i < end:
                    p0 = patient[i]
                    for j in range(LANES):
                        negatives[j] += np.int32(weight[p0, j])
                    i += 1
                continue
            p0 = patient[i]
            if not in_tie and kind[i] == LAST_OF_TIE | POSITIVE:
                pairs = most * most * num_negatives
                if pairs > room:
                    for j in range(LANES):
                        discordant[j] += pending[j]
                        pending[j] = 0
                    room = MOST_PAIRS
                room -= pairs
                for j in range(LANES):
                    new = np.int32(weight[p0, j])
                    pending[j] += np.int32(new * negatives[j])  # 31 bits hold 255 x 8 million images
                    positives[j] += new
                if precisely:
                    for j in range(LANES):
                        called = max(np.int32(positives[j] + negatives[j]), np.int32(1))
                        gained[j] += np.float64(np.int32(np.int32(weight[p0, j]) * positives[j])) / np.float64(called)
            else:
                if kind[i] & POSITIVE:
                    for j in range(LANES):
                        tied_positives[j] += np.int32(weight[p0, j])
                else:
                    num_negatives += 1
                    for j in range(LANES):
                        tied_negatives[j] += np.int32(weight[p0, j])
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
        every = np.float64(positives[j]) * np.float64(negatives[j])
        auroc[j] = (every - (discordant[j] + pending[j])) / every if every > 0 else np.nan
        auprc[j] = gained[j] / positives[j] if every > 0 else np.nan


@compiled
def walk_parted(
    start: NDArray[np.int64],
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    first: NDArray[np.int64],
    weight: NDArray[np.uint8],
    most: int,
    auroc: Array,
    reached: Array,
) -> None:
    """Walk over each group g, images start[g] to start[g + 1]: fill its AUROC [G, LANES], and reached [G, 2, 2, LANES].

    These are negatives and positives among its `first` images, then among all of them.
    """
    unused = np.empty(LANES)
    cut = np.empty(2, np.int64)
    for g in range(first.shape[0]):
        here = slice(start[g], start[g + 1])
        cut[0], cut[1] = first[g], start[g + 1] - start[g]
        walk_ranks(patient[here], kind[here], cut, False, weight, most, auroc[g], unused, reached[g])


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


SIDE_BY_SIDE = 4  # values of an image that one pass adds up


@compiled
def sum_runs(
    patient: NDArray[np.int32], start: NDArray[np.int64], value: Array, weight: NDArray[np.uint8], out: Array
) -> None:
    """Add weight x value [n, 4] over the images of each run, start[s] to start[s + 1], and the weights: out [S, 5, LANES].

    Four values and four images are written out, so that each weight is widened once and stays in a register.
    """
    for s in range(start.shape[0] - 1):
        i, stop = start[s], start[s + 1]
        while i + 4 <= stop:
            p0, p1, p2, p3 = patient[i], patient[i + 1], patient[i + 2], patient[i + 3]
            a0, a1, a2, a3 = value[i, 0], value[i + 1, 0], value[i + 2, 0], value[i + 3, 0]
            b0, b1, b2, b3 = value[i, 1], value[i + 1, 1], value[i + 2, 1], value[i + 3, 1]
            c0, c1, c2, c3 = value[i, 2], value[i + 1, 2], value[i + 2, 2], value[i + 3, 2]
            d0, d1, d2, d3 = value[i, 3], value[i + 1, 3], value[i + 2, 3], value[i + 3, 3]
            for j in range(LANES):
                w0, w1 = np.float64(weight[p0, j]), np.float64(weight[p1, j])
                w2, w3 = np.float64(weight[p2, j]), np.float64(weight[p3, j])
                out[s, 0, j] += (w0 * a0 + w1 * a1) + (w2 * a2 + w3 * a3)
                out[s, 1, j] += (w0 * b0 + w1 * b1) + (w2 * b2 + w3 * b3)
                out[s, 2, j] += (w0 * c0 + w1 * c1) + (w2 * c2 + w3 * c3)
                out[s, 3, j] += (w0 * d0 + w1 * d1) + (w2 * d2 + w3 * d3)
                out[s, 4, j] += (w0 + w1) + (w2 + w3)
            i += 4
        while i < stop:
            p0 = patient[i]
            for v in range(4):
                x = value[i, v]
                for j in range(LANES):
                    out[s, v, j] += weight[p0, j] * x
            for j in range(LANES):
                out[s, 4, j] += weight[p0, j]
            i += 1


@compiled
def sum_runs_of_one(
    patient: NDArray[np.int32], start: NDArray[np.int64], value: Array, weight: NDArray[np.uint8], out: Array
) -> None:
    """Add weight x value [n] over the images of each run: out [S, LANES]."""
    for s in range(start.shape[0] - 1):
        i, stop = start[s], start[s + 1]
        while i + 8 <= stop:
            p0, p1, p2, p3 = patient[i], patient[i + 1], patient[i + 2], patient[i + 3]
            p4, p5, p6, p7 = patient[i + 4], patient[i + 5], patient[i + 6], patient[i + 7]
            x0, x1, x2, x3 = value[i], value[i + 1], value[i + 2], value[i + 3]
            x4, x5, x6, x7 = value[i + 4], value[i + 5], value[i + 6], value[i + 7]
            for j in range(LANES):
                first = (weight[p0, j] * x0 + weight[p1, j] * x1) + (weight[p2, j] * x2 + weight[p3, j] * x3)
                second = (weight[p4, j] * x4 + weight[p5, j] * x5) + (weight[p6, j] * x6 + weight[p7, j] * x7)
                out[s, j] += first + second
            i += 8
        while i < stop:
            p0, x0 = patient[i], value[i]
            for j in range(LANES):
                out[s, j] += weight[p0, j] * x0
            i += 1


@compiled
def fold(run: Array, place: NDArray[np.int64], binned: Array) -> None:
    """Add run [S, SIDE_BY_SIDE + 1, W], excess under each of C probs and images, to the bins of its place [S, C, 2].

    binned [C, 2, G, 2, W]: equal-width and equal-mass bins; images and excess.
    """
    for s in range(run.shape[0]):
        for c in range(place.shape[1]):
            for kind in range(2):
                b = place[s, c, kind]
                for j in range(run.shape[2]):
                    binned[c, kind, b, 0, j] += run[s, SIDE_BY_SIDE, j]
                    binned[c, kind, b, 1, j] += run[s, c, j]
