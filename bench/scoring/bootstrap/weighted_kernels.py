"""Compiled walks over images that count differently: a factor per group, new in each replicate.

Shapes: n images by falling score, G groups, C bins.
"""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.kernels import AHEAD
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.simd import (
    HALF,
    at_least,
    fetch,
    fused,
    got,
    got_half,
    inverse,
    put,
    real,
    take,
    take_half,
    whole,
)
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE
from bench.scoring.bootstrap.walk_order import NOTHING

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
    place: NDArray[np.int32],
    excess: Array,
    factor: Array,
    weight: NDArray[np.uint8],
    num_lanes: int,
    area: Array,
    precision: Array,
    binned: Array,
) -> None:
    """Fill what one tile tells of images sorted by falling score, which weigh weight[patient] x factor[group].

    These are AUROC and AUPRC [LANES] and, of each bin, the sum of excess [C, LANES]. Lanes beyond `num_lanes` tell nothing.
    """
    num = patient.shape[0]
    last = num - 1
    nothing, counted, tied = np.zeros(LANES), np.zeros((2, LANES)), np.zeros((2, LANES))
    for first in range(0, num_lanes, HALF):
        zero = got_half(nothing, first)
        positives, negatives, discordant, gained = zero, zero, zero, zero
        in_tie = False
        i = 0
        while i < num:
            b = place[i]
            of_all = got_half(binned[b], first)
            while i < num and place[i] == b:
                if not in_tie:
                    while i < num and place[i] == b and kind[i] == LAST_OF_TIE:  # negatives alone at their scores: most
                        fetch(weight, patient[min(i + AHEAD, last)])
                        new = real(take_half(weight, patient[i], first)) * got_half(factor[group[i]], first)
                        of_all, negatives = fused(new, excess[i], of_all), negatives + new
                        i += 1
                    if i == num or place[i] != b:
                        break
                fetch(weight, patient[min(i + AHEAD, last)])
                new = real(take_half(weight, patient[i], first)) * got_half(factor[group[i]], first)
                of_all, below = fused(new, excess[i], of_all), negatives
                if in_tie or kind[i] != POSITIVE | LAST_OF_TIE:  # rare: what came of a tie need not be in registers
                    of_tied_negatives = got_half(tied[1], first)
                    if kind[i] & POSITIVE == 0:
                        new, of_tied_negatives = zero, of_tied_negatives + new
                    new = new + got_half(tied[0], first)
                    in_tie = kind[i] & LAST_OF_TIE == 0
                    put(new if in_tie else zero, tied[0], first)
                    put(of_tied_negatives if in_tie else zero, tied[1], first)
                    if in_tie:
                        i += 1
                        continue
                    below = fused(of_tied_negatives, 0.5, negatives)
                    negatives = negatives + of_tied_negatives
                discordant = fused(new, below, discordant)
                positives = positives + new
                gained = fused(new * positives, inverse(at_least(positives + negatives, TINY)), gained)
                i += 1
            put(of_all, binned[b], first)
        put(discordant, area, first)
        put(gained, precision, first)
        put(positives, counted[0], first)
        put(negatives, counted[1], first)
    for j in range(LANES):
        pairs = counted[0, j] * counted[1, j]
        area[j] = 1.0 - area[j] / pairs if pairs > 0 else np.nan
        precision[j] = precision[j] / counted[0, j] if pairs > 0 else np.nan


@compiled
def walk_by_label(
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    stop: NDArray[np.int32],
    after: NDArray[np.uint8],
    ratio: Array,
    weight: NDArray[np.uint8],
    precision: Array,
) -> None:
    """Fill the AUPRC [LANES] of one tile where a negative counts `ratio` [LANES] times a positive; stop and after are `Steps` without cuts."""
    ones, zeros, tied_ones, tied_zeros = whole(0), whole(0), whole(0), whole(0)
    gained, times = real(0.0), got(ratio)
    i = 0
    for s in range(stop.shape[0]):
        if i < stop[s]:
            some = take(weight, patient[i])
            i += 1
            while i < stop[s]:
                some = some + take(weight, patient[i])
                i += 1
            zeros = zeros + whole(some)
        if after[s] == NOTHING:
            continue
        new = whole(take(weight, patient[i]))
        if kind[i] & POSITIVE:
            tied_ones = tied_ones + new
        else:
            tied_zeros = tied_zeros + new
        if kind[i] & LAST_OF_TIE:
            ones, zeros = ones + tied_ones, zeros + tied_zeros
            called = at_least(fused(real(zeros), times, real(ones)), TINY)
            gained = fused(real(tied_ones) * real(ones), inverse(called), gained)
            tied_ones, tied_zeros = whole(0), whole(0)
        i += 1
    put(gained, precision, 0)
    counted = np.empty((2, LANES))
    put(real(ones), counted[0], 0)
    put(real(zeros), counted[1], 0)
    for j in range(LANES):
        precision[j] = _of_positives(precision[j], counted[0, j], counted[1, j], ratio[j])


@compiled
def walk_sample(
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    place: NDArray[np.int32],
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
