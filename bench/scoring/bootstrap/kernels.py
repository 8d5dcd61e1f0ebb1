"""Compiled loops over images, for L bootstrap replicates at once (L is LANES or 1).

An image counts as often as its patient was drawn: weight [num_patients, L] uint8. The L replicates are adjacent in
memory, so the compiler turns the inner loops into vector instructions. There are no array expressions of numpy, which
take seconds to compile. Sums are added in the order of the images.
The kind of an image has two bits: POSITIVE (its label is 1) and LAST_OF_TIE (the next image has a different score). A
cut is a number of images with the highest scores. A segment is a range of neighboring images.
Shapes: n images, L replicates, Q cuts, G groups, V values, S segments.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE

Array = NDArray[np.float64]
Weight = NDArray[np.uint8]
# Kinds of images whose score no other image has. Most images are of these kinds, so there are faster branches for them.
# Inside a tie (`in_tie`), an image of one of these kinds is the last image of the tie.
UNTIED_NEGATIVE, UNTIED_POSITIVE = LAST_OF_TIE, LAST_OF_TIE | POSITIVE
TINY = 1e-12  # prevents a division by 0; smaller than any sum of weights above 0


@compiled
def walk_ranks(  # noqa: C901 - all metrics in one loop over the images
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    cut: NDArray[np.int64],
    weight: Weight,
    auroc: Array,
    auprc: Array,
    reached: Array,
) -> None:
    """Compute AUROC and AUPRC [LANES] of images sorted by decreasing score; NaN in a replicate in which a class is absent.

    AUROC = 1 - discordant pairs / all pairs. A pair of a positive and a negative image is discordant if the negative
    image has the higher score; a tied pair counts half. AUPRC = sum of precision x increase of recall. If `auprc` is
    empty, AUPRC is not computed, which saves half of the time. The results are written to auroc, auprc and
    reached [Q, 2, LANES]: the numbers of negatives and of positives among the first cut[q] images. Cuts increase, and
    no cut is inside a tie.
    """
    num, i, q, in_tie = patient.shape[0], 0, 0, False
    # Rows of one array cannot overlap, so the compiler adds no check for overlaps before each loop over replicates.
    counts, sums = np.zeros((4, LANES), np.int32), np.zeros((2, LANES))
    negatives, positives, tied_negatives, tied_positives = counts[0], counts[1], counts[2], counts[3]
    discordant, precision_sum = sums[0], sums[1]  # precision_sum: sum over positive images
    while True:
        while q < cut.shape[0] and cut[q] == i:
            for j in range(LANES):
                reached[q, 0, j], reached[q, 1, j] = negatives[j], positives[j]
            q += 1
        if i == num:
            break
        p = patient[i]
        if kind[i] == UNTIED_NEGATIVE and not in_tie:
            if i + 1 < num and kind[i + 1] == UNTIED_NEGATIVE and (q == cut.shape[0] or cut[q] > i + 1):
                # two images at once: each sum is read and written only once
                next_p = patient[i + 1]
                for j in range(LANES):
                    negatives[j] += np.int32(weight[p, j]) + np.int32(weight[next_p, j])
                i += 2
            else:
                for j in range(LANES):
                    negatives[j] += weight[p, j]
                i += 1
            continue
        if kind[i] == UNTIED_POSITIVE and not in_tie:
            if auprc.shape[0]:
                for j in range(LANES):
                    drawn = np.int32(weight[p, j])
                    positives[j] += drawn
                    above, hits = float(negatives[j]), float(positives[j])
                    discordant[j] += float(drawn) * above
                    precision_sum[j] += float(drawn) * hits / max(hits + above, 1.0)
            else:
                for j in range(LANES):
                    drawn = np.int32(weight[p, j])
                    positives[j] += drawn
                    discordant[j] += float(drawn) * float(negatives[j])
            i += 1
            continue
        if kind[i] & POSITIVE:
            for j in range(LANES):
                tied_positives[j] += weight[p, j]
        else:
            for j in range(LANES):
                tied_negatives[j] += weight[p, j]
        in_tie = kind[i] & LAST_OF_TIE == 0
        i += 1
        if in_tie:
            continue
        for j in range(LANES):
            new = float(tied_positives[j])
            discordant[j] += new * (negatives[j] + 0.5 * tied_negatives[j])
            negatives[j] += tied_negatives[j]
            positives[j] += tied_positives[j]
            hits = float(positives[j])
            precision_sum[j] += new * hits / max(hits + float(negatives[j]), 1.0)
            tied_negatives[j] = 0
            tied_positives[j] = 0
    for j in range(LANES):
        pairs = float(positives[j]) * negatives[j]
        auroc[j] = (pairs - discordant[j]) / pairs if pairs > 0 else np.nan
        if auprc.shape[0]:
            auprc[j] = precision_sum[j] / positives[j] if pairs > 0 else np.nan


@compiled
def walk_weighted(  # noqa: C901 - all metrics in one loop over the images
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    weight: Weight,
    of_label: Array,
    of_group: Array,
    out: Array,
) -> None:
    """Compute AUROC and AUPRC of weighted images sorted by decreasing score; write them to out [3, L].

    For rows 0 and 1 (AUROC and AUPRC), the weight of an image is multiplied by the number of its group in of_group
    [G, L]. For row 2 (another AUPRC), the weight is multiplied by the number of its label in of_label [2, L]: row 0 of
    of_label is for negatives, row 1 for positives.
    """
    num, lanes, in_tie = patient.shape[0], weight.shape[1], False
    # plain_*: sums of the weights before their multiplication by of_group or of_label
    counts, sums = np.zeros((4, lanes), np.int32), np.zeros((7, lanes))
    plain_negatives, plain_positives = counts[0], counts[1]
    tied_plain_negatives, tied_plain_positives = counts[2], counts[3]
    negatives, positives, tied_negatives, tied_positives = sums[0], sums[1], sums[2], sums[3]
    discordant, precision_sum, precision_sum_by_label = sums[4], sums[5], sums[6]
    ratio = np.empty(lanes)
    for j in range(lanes):
        ratio[j] = of_label[0, j] / of_label[1, j]
    for i in range(num):
        p, g = patient[i], group[i]
        if kind[i] == UNTIED_NEGATIVE and not in_tie:
            for j in range(lanes):
                negatives[j] += weight[p, j] * of_group[g, j]
                plain_negatives[j] += weight[p, j]
            continue
        if kind[i] == UNTIED_POSITIVE and not in_tie:
            for j in range(lanes):
                drawn = np.int32(weight[p, j])
                new = float(drawn) * of_group[g, j]
                discordant[j] += new * negatives[j]
                positives[j] += new
                precision_sum[j] += new * positives[j] / max(positives[j] + negatives[j], TINY)
                plain_positives[j] += drawn
                hits = float(plain_positives[j])
                called = hits + ratio[j] * float(plain_negatives[j])
                precision_sum_by_label[j] += float(drawn) * hits / max(called, TINY)
            continue
        if kind[i] & POSITIVE:
            for j in range(lanes):
                tied_positives[j] += weight[p, j] * of_group[g, j]
                tied_plain_positives[j] += weight[p, j]
        else:
            for j in range(lanes):
                tied_negatives[j] += weight[p, j] * of_group[g, j]
                tied_plain_negatives[j] += weight[p, j]
        in_tie = kind[i] & LAST_OF_TIE == 0
        if in_tie:
            continue
        for j in range(lanes):
            discordant[j] += tied_positives[j] * (negatives[j] + 0.5 * tied_negatives[j])
            negatives[j] += tied_negatives[j]
            positives[j] += tied_positives[j]
            plain_negatives[j] += tied_plain_negatives[j]
            plain_positives[j] += tied_plain_positives[j]
            precision_sum[j] += tied_positives[j] * positives[j] / max(positives[j] + negatives[j], TINY)
            new, called = float(tied_plain_positives[j]), plain_positives[j] + ratio[j] * plain_negatives[j]
            precision_sum_by_label[j] += new * plain_positives[j] / max(called, TINY)
            tied_negatives[j], tied_positives[j], tied_plain_negatives[j], tied_plain_positives[j] = 0.0, 0.0, 0, 0
    for j in range(lanes):
        pairs = positives[j] * negatives[j]
        out[0, j] = 1 - discordant[j] / pairs if pairs > 0 else np.nan
        out[1, j] = precision_sum[j] / positives[j] if pairs > 0 else np.nan
        defined = plain_positives[j] > 0 and plain_negatives[j] > 0 and ratio[j] > 0 and ratio[j] < np.inf
        out[2, j] = precision_sum_by_label[j] / plain_positives[j] if defined else np.nan


@compiled
def _sum_one_value(
    patient: NDArray[np.int32], start: NDArray[np.int64], value: Array, weight: Weight, out: Array
) -> None:
    """Compute `sum_segments` for one value [n].

    Each weight is used only once, so the weights that are converted to floats are not stored.
    """
    for s in range(start.shape[0] - 1):
        last = start[s + 1] - 1
        for i in range(start[s], start[s + 1], 4):
            second, third, fourth = min(i + 1, last), min(i + 2, last), min(i + 3, last)
            a, b = value[i], value[second] if i + 1 <= last else 0.0
            c, d = value[third] if i + 2 <= last else 0.0, value[fourth] if i + 3 <= last else 0.0
            p, q, r, t = patient[i], patient[second], patient[third], patient[fourth]
            for j in range(weight.shape[1]):
                out[s, 0, j] += (weight[p, j] * a + weight[q, j] * b) + (weight[r, j] * c + weight[t, j] * d)


@compiled
def sum_segments(
    patient: NDArray[np.int32], start: NDArray[np.int64], value: Array, weight: Weight, out: Array
) -> None:
    """Compute the sum of weight x value [V, n] over the images of each segment, and add it to out [S, V, L].

    Segment s has the images from start[s] to start[s + 1] - 1. Four images are processed together, so that weights are
    converted to floats only once for all values, and each sum is read and written only once for four images. If
    fewer than four images are left at the end of a segment, weights of 0 replace the missing images.
    """
    if value.shape[0] == 1:
        _sum_one_value(patient, start, value[0], weight, out)
        return
    lanes = weight.shape[1]
    factor = np.empty((4, lanes))
    for s in range(start.shape[0] - 1):
        last = start[s + 1] - 1
        for i in range(start[s], start[s + 1], 4):
            for k in range(4):
                p, in_segment = patient[min(i + k, last)], 1.0 if i + k <= last else 0.0
                for j in range(lanes):
                    factor[k, j] = in_segment * weight[p, j]
            second, third, fourth = min(i + 1, last), min(i + 2, last), min(i + 3, last)
            for v in range(value.shape[0]):
                a, b, c, d = value[v, i], value[v, second], value[v, third], value[v, fourth]
                for j in range(lanes):
                    out[s, v, j] += (factor[0, j] * a + factor[1, j] * b) + (factor[2, j] * c + factor[3, j] * d)
