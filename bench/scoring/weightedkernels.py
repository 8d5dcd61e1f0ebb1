"""Compiled walks over images that count differently: a factor per group, new in each replicate.

Shapes: n images by falling score, G groups, C bins.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.kernels import AHEAD
from bench.scoring.lanes import HALF, at_least, fetch, fused, got_half, inverse, put, real, take_half
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE
from bench.scoring.resamples import LANES

Array = NDArray[np.float64]
TINY = 1e-12  # below any sum of weights: a precision of nothing is 0


@compiled
def _of_positives(gained: float, ones: float, zeros: float, ratio: float) -> float:
    """Return what is gained of each positive; NaN where a class is absent or no negative has a weight beside it."""
    return gained / ones if ones > 0 and zeros > 0 and ratio > 0 and ratio < np.inf else np.nan


@compiled
def walk_weighted(  # noqa: C901 - one pass over the images: splitting it would hide the order
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    place: NDArray[np.int64],
    excess: Array,
    factor: Array,
    ratio: Array,
    weight: NDArray[np.uint8],
    num_lanes: int,
    area: Array,
    precision: Array,
    binned: Array,
) -> None:
    """Fill what one tile tells of images sorted by falling score, which weigh weight[patient] x factor[group].

    area [LANES]; precision [2, LANES], of these weights, then where a negative counts `ratio` [LANES] times a positive.
    Lanes beyond the first `num_lanes` tell nothing.
    binned [C, 3, LANES]: sum of weight x excess over the images of each bin: negatives, positives, and with the factor, all.
    """
    num = patient.shape[0]
    last = num - 1
    nothing, counted, tied = np.zeros(LANES), np.zeros((4, LANES)), np.zeros((3, LANES))
    for first in range(0, num_lanes, HALF):
        zero, times = got_half(nothing, first), got_half(ratio, first)
        ones, zeros, positives, negatives = zero, zero, zero, zero  # as they are, and as the factor has them
        discordant, gained, gained_by_label = zero, zero, zero
        in_tie = False
        i = 0
        while i < num:
            b = place[i]
            of_zeros, of_ones = got_half(binned[b, 0], first), got_half(binned[b, 1], first)
            of_all = got_half(binned[b, 2], first)
            while i < num and place[i] == b:
                if not in_tie:
                    while i < num and place[i] == b and kind[i] == LAST_OF_TIE:  # negatives alone at their scores: most
                        fetch(weight, patient[min(i + AHEAD, last)])
                        w, x = real(take_half(weight, patient[i], first)), excess[i]
                        new = w * got_half(factor[group[i]], first)
                        of_all, of_zeros = fused(new, x, of_all), fused(w, x, of_zeros)
                        zeros, negatives = zeros + w, negatives + new
                        i += 1
                    if i == num or place[i] != b:
                        break
                fetch(weight, patient[min(i + AHEAD, last)])
                w, x = real(take_half(weight, patient[i], first)), excess[i]
                new = w * got_half(factor[group[i]], first)
                of_all, below = fused(new, x, of_all), negatives
                if kind[i] & POSITIVE:
                    of_ones = fused(w, x, of_ones)
                if in_tie or kind[i] != POSITIVE | LAST_OF_TIE:  # rare: what came of a tie need not be in registers
                    of_tied_negatives = zero
                    if kind[i] & POSITIVE == 0:
                        of_zeros, zeros = fused(w, x, of_zeros), zeros + w
                        w, new, of_tied_negatives = zero, zero, new
                    w, new = w + got_half(tied[0], first), new + got_half(tied[1], first)
                    of_tied_negatives = of_tied_negatives + got_half(tied[2], first)
                    in_tie = kind[i] & LAST_OF_TIE == 0
                    put(w if in_tie else zero, tied[0], first)
                    put(new if in_tie else zero, tied[1], first)
                    put(of_tied_negatives if in_tie else zero, tied[2], first)
                    if in_tie:
                        i += 1
                        continue
                    below = fused(of_tied_negatives, 0.5, negatives)
                    negatives = negatives + of_tied_negatives
                discordant = fused(new, below, discordant)
                ones, positives = ones + w, positives + new
                called = at_least(positives + negatives, TINY)
                called_by_label = at_least(fused(zeros, times, ones), TINY)
                both = inverse(called * called_by_label)
                gained = fused(new * positives, called_by_label * both, gained)
                gained_by_label = fused(w * ones, called * both, gained_by_label)
                i += 1
            put(of_zeros, binned[b, 0], first)
            put(of_ones, binned[b, 1], first)
            put(of_all, binned[b, 2], first)
        put(discordant, area, first)
        put(gained, precision[0], first)
        put(gained_by_label, precision[1], first)
        put(positives, counted[0], first)
        put(negatives, counted[1], first)
        put(ones, counted[2], first)
        put(zeros, counted[3], first)
    for j in range(LANES):
        pairs = counted[0, j] * counted[1, j]
        area[j] = 1.0 - area[j] / pairs if pairs > 0 else np.nan
        precision[0, j] = precision[0, j] / counted[0, j] if pairs > 0 else np.nan
        precision[1, j] = _of_positives(precision[1, j], counted[2, j], counted[3, j], ratio[j])


@compiled
def walk_by_label(
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    place: NDArray[np.int64],
    excess: Array,
    ratio: Array,
    weight: NDArray[np.uint8],
    num_lanes: int,
    precision: Array,
    binned: Array,
) -> None:
    """Fill what of `walk_weighted` needs no groups: its second precision [LANES], and the first two sums of each bin [C, 2, LANES]."""
    num, last = patient.shape[0], patient.shape[0] - 1
    nothing, counted, tied = np.zeros(LANES), np.zeros((2, LANES)), np.zeros(LANES)
    for first in range(0, num_lanes, HALF):
        zero, times = got_half(nothing, first), got_half(ratio, first)
        ones, zeros, gained = zero, zero, zero
        in_tie = False
        i = 0
        while i < num:
            b = place[i]
            of_zeros, of_ones = got_half(binned[b, 0], first), got_half(binned[b, 1], first)
            while i < num and place[i] == b:
                fetch(weight, patient[min(i + AHEAD, last)])
                w, x = real(take_half(weight, patient[i], first)), excess[i]
                if kind[i] & POSITIVE:
                    of_ones = fused(w, x, of_ones)
                else:
                    of_zeros, zeros = fused(w, x, of_zeros), zeros + w
                    w = zero
                i += 1
                if not in_tie and kind[i - 1] == LAST_OF_TIE:  # a negative alone at its score, as most are
                    continue
                if in_tie or kind[i - 1] != POSITIVE | LAST_OF_TIE:
                    w = w + got_half(tied, first)
                    in_tie = kind[i - 1] & LAST_OF_TIE == 0
                    put(w if in_tie else zero, tied, first)
                    if in_tie:
                        continue
                ones = ones + w
                called = at_least(fused(zeros, times, ones), TINY)
                gained = fused(w * ones, inverse(called), gained)
            put(of_zeros, binned[b, 0], first)
            put(of_ones, binned[b, 1], first)
        put(gained, precision, first)
        put(ones, counted[0], first)
        put(zeros, counted[1], first)
    for j in range(LANES):
        precision[j] = _of_positives(precision[j], counted[0, j], counted[1, j], ratio[j])


@compiled
def walk_sample(
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    place: NDArray[np.int64],
    excess: Array,
    factor: Array,
    ratio: float,
    binned: Array,
) -> tuple[float, float, float]:
    """Return AUROC and both AUPRC of the sample, and fill its bins [C, 3]: the walk where each image comes once.

    Factors are above 0, so that there are pairs where there are both classes.
    """
    ones, zeros, positives, negatives = 0, 0, 0.0, 0.0  # as they are, and as the factor has them
    tied_ones, tied_zeros, tied_positives, tied_negatives = 0, 0, 0.0, 0.0
    discordant, gained, gained_by_label = 0.0, 0.0, 0.0
    for i in range(kind.shape[0]):
        positive, weight = kind[i] & POSITIVE, factor[group[i]]
        binned[place[i], positive] += excess[i]
        binned[place[i], 2] += weight * excess[i]
        if positive:
            tied_ones, tied_positives = tied_ones + 1, tied_positives + weight
        else:
            tied_zeros, tied_negatives = tied_zeros + 1, tied_negatives + weight
        if kind[i] & LAST_OF_TIE:
            ones, zeros = ones + tied_ones, zeros + tied_zeros
            if tied_ones:
                discordant += tied_positives * (negatives + 0.5 * tied_negatives)
                positives += tied_positives
                gained += tied_positives * positives / max(positives + negatives + tied_negatives, TINY)
                gained_by_label += tied_ones * ones / max(ones + ratio * zeros, TINY)
            negatives += tied_negatives
            tied_ones, tied_zeros, tied_positives, tied_negatives = 0, 0, 0.0, 0.0
    pairs = positives * negatives
    if not pairs > 0:
        return np.nan, np.nan, np.nan
    return 1.0 - discordant / pairs, gained / positives, _of_positives(gained_by_label, ones, zeros, ratio)
