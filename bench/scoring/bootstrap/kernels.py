"""Compiled passes over images, LANES replicates side by side; weight [num_patients, LANES] uint8 is one tile of them."""

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.fixed_point_sums import (
    CHUNK,
    Words,
    add_digits,
    dotted,
    got_pairs,
    in_order,
    paired,
    rows_of_pairs,
)
from bench.scoring.bootstrap.resamples import LANES
from bench.scoring.bootstrap.simd import (
    QUARTER,
    at_least,
    divided,
    fetch,
    fused,
    got,
    got_quarter,
    inverse,
    left,
    put,
    real,
    single,
    take,
    whole,
)
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, POSITIVE
from bench.scoring.bootstrap.walk_order import CUT, LONE_POSITIVE, NOTHING

Array = NDArray[np.float64]
MOST_PAIRS = 2**31 - 1  # that a sum of pairs in 32 bits holds
UNIT = 2**20  # the gain of AUPRC is counted in as many parts of a positive
AHEAD = 8  # images: that far ahead of its use a row of weights is fetched


@compiled
def walk_ranks(  # noqa: C901 - one pass over the images: splitting it would hide the order
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    stop: NDArray[np.int32],
    after: NDArray[np.uint8],
    weight: NDArray[np.uint8],
    most: int,
    auroc: Array,
    auprc: Array | None,
    reached: Array,
) -> None:
    """Fill both metrics [LANES] from images sorted by falling score; weight [num_patients, LANES] is one tile, at most `most`.

    AUROC = 1 - discordant pairs / all pairs (a tie is half a pair); AUPRC = sum of precision x added recall.
    AUPRC, whose divisions cost more than all the rest, only where there is an array for it: each precision as whole units in
    32 bits and parts of one in float32, with what the rounding of the division cut off (1e-13 of the exact sum). Negatives
    that follow each other are added up in bytes, pairs in 32 bits, while these hold them. Fewer than 2^24 images are drawn.
    reached [Q, 2, LANES]: negatives and positives among the images before each cut of the steps: `stop` and `after`.
    """
    positives, negatives, tied_positives, tied_negatives = whole(0), whole(0), whole(0), whole(0)
    pending, room, num_negatives = whole(0), MOST_PAIRS, 0  # discordant pairs, how many more fit
    discordant, gained = real(0.0), real(0.0)
    units, parts, fits = whole(0), single(0.0), MOST_PAIRS  # of what is gained, parts of one, and how many more fit
    i, q = 0, 0
    for s in range(stop.shape[0]):
        if i < stop[s]:
            num_negatives += stop[s] - i
            some = take(weight, patient[i])
            i += 1
            while i < stop[s]:
                some = some + take(weight, patient[i])
                i += 1
            negatives = negatives + whole(some)
        if after[s] == NOTHING:
            continue
        if after[s] == CUT:
            put(real(negatives), reached[q, 0], 0)
            put(real(positives), reached[q, 1], 0)
            q += 1
            continue
        new = whole(take(weight, patient[i]))
        if after[s] == LONE_POSITIVE:
            pairs = most * most * num_negatives
            if pairs > room:
                discordant, pending, room = discordant + real(pending), whole(0), MOST_PAIRS
            room -= pairs
            pending = pending + new * negatives  # 31 bits hold 255 x 8 million images
            positives = positives + new
            if auprc is not None:
                fits -= most * UNIT
                if fits < 0:
                    gained = gained + (real(units) + real(parts))
                    units, parts, fits = whole(0), single(0.0), MOST_PAIRS - most * UNIT
                called, times = single(at_least(positives + negatives, 1)), single(new)
                hits, each = single(positives) * single(UNIT), divided(single(1.0), called)
                precision = hits * each
                less = left(hits, precision, called) * each  # what its rounding cut off
                added = whole(fused(times, precision, single(0.5)))
                units = units + added
                parts = fused(times, less, parts - left(single(added), times, precision))
        else:
            if kind[i] & POSITIVE:
                tied_positives = tied_positives + new
            else:
                num_negatives += 1
                tied_negatives = tied_negatives + new
            if kind[i] & LAST_OF_TIE:
                of_tie = real(tied_positives)
                discordant = fused(of_tie, fused(real(tied_negatives), 0.5, real(negatives)), discordant)
                positives, negatives = positives + tied_positives, negatives + tied_negatives
                if auprc is not None:
                    hits_ = of_tie * real(positives) * real(float(UNIT))
                    gained = fused(hits_, inverse(at_least(positives + negatives, 1)), gained)
                tied_positives, tied_negatives = whole(0), whole(0)
        i += 1
    put(discordant + real(pending), auroc, 0)
    pair = np.empty((2, LANES))
    put(real(negatives), pair[0], 0)
    put(real(positives), pair[1], 0)
    if auprc is not None:
        put(gained + (real(units) + real(parts)), auprc, 0)
        for j in range(LANES):
            auprc[j] = auprc[j] / (UNIT * pair[1, j]) if pair[0, j] * pair[1, j] > 0 else np.nan
    for j in range(LANES):
        every = pair[0, j] * pair[1, j]
        auroc[j] = (every - auroc[j]) / every if every > 0 else np.nan


@compiled
def walk_parted(
    start: NDArray[np.int64],
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    begin: NDArray[np.int64],
    stop: NDArray[np.int32],
    after: NDArray[np.uint8],
    weight: NDArray[np.uint8],
    most: int,
    auroc: Array,
    reached: Array,
) -> None:
    """Walk over each group g, images start[g] to start[g + 1] and steps begin[g] to begin[g + 1]: fill its AUROC [G, LANES].

    reached [G, 2, 2, LANES]: negatives and positives before each of its two cuts.
    """
    for g in range(begin.shape[0] - 1):
        here, steps = slice(start[g], start[g + 1]), slice(begin[g], begin[g + 1])
        walk_ranks(patient[here], kind[here], stop[steps], after[steps], weight, most, auroc[g], None, reached[g])


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
NINE = 2 * SIDE_BY_SIDE + 1  # values of a patient


@compiled
def fold(run: Array, place: NDArray[np.int32], binned: Array) -> None:
    """Add a run [C + 1, W], excess under each of C probabilities and images, to the bins of its place [C, 2].

    binned [C, 2, G, 2, W]: equal-width and equal-mass bins; images and excess.
    """
    num_probs = place.shape[0]
    for c in range(num_probs):
        for kind in range(2):
            of = binned[c, kind, place[c, kind]]
            for j in range(run.shape[1]):
                of[0, j] += run[num_probs, j]
                of[1, j] += run[c, j]


@compiled
def sum_runs(
    start: NDArray[np.int64],
    place: NDArray[np.int32],
    pair: NDArray[np.int32],
    images: Words,
    word: Words,
    weight: NDArray[np.uint8],
    binned: Array,
) -> None:
    """Add weight x value of C values, and of 1 for each image, to the bins [C, 2, G, 2, LANES] of each run of images.

    Run s are the pairs start[s] to start[s + 1], its bins place [S, C, 2]; pair [m, 2], images [m] and word [C, DIGITS, m] as
    `dots` reads them.
    """
    last, num_values = pair.shape[0] - 1, word.shape[0]
    near = rows_of_pairs()  # the weights of some pairs, looked up once for all values
    run = np.empty((num_values + 1, LANES))
    for s in range(start.shape[0] - 1):
        run[:] = 0
        for first in range(start[s], start[s + 1], CHUNK):
            stop = min(first + CHUNK, start[s + 1])
            every = whole(0)
            for i in range(first, stop):
                ahead = pair[min(i + AHEAD // 2, last)]
                fetch(weight, ahead[0])
                fetch(weight, ahead[1])
                two = paired(take(weight, pair[i, 0]), take(weight, pair[i, 1]))
                put(two, near[i - first], 0)
                every = dotted(two, images[i], every)
            put(got(run[num_values]) + real(in_order(every)), run[num_values], 0)
            for v in range(num_values):
                low, middle, high = whole(0), whole(0), whole(0)
                for i in range(first, stop):
                    two = got_pairs(near, i - first)
                    low = dotted(two, word[v, 0, i], low)
                    middle = dotted(two, word[v, 1, i], middle)
                    high = dotted(two, word[v, 2, i], high)
                add_digits(low, middle, high, run[v])
        fold(run, place[s], binned)


@compiled
def sum_runs_of_one(
    start: NDArray[np.int64],
    place: NDArray[np.int32],
    pair: NDArray[np.int32],
    word: Words,
    weight: NDArray[np.uint8],
    out: Array,
) -> None:
    """Add weight x value [DIGITS, m] of each run to the bin that is its place [S]: out [G, LANES]."""
    last = pair.shape[0] - 1
    for s in range(start.shape[0] - 1):
        for first in range(start[s], start[s + 1], CHUNK):
            low, middle, high = whole(0), whole(0), whole(0)
            for i in range(first, min(first + CHUNK, start[s + 1])):
                ahead = pair[min(i + AHEAD // 2, last)]
                fetch(weight, ahead[0])
                fetch(weight, ahead[1])
                two = paired(take(weight, pair[i, 0]), take(weight, pair[i, 1]))
                low = dotted(two, word[0, i], low)
                middle = dotted(two, word[1, i], middle)
                high = dotted(two, word[2, i], high)
            add_digits(low, middle, high, out[place[s]])


@compiled
def sum_nine(value: Array, weight: NDArray[np.uint8], out: Array) -> None:
    """Add weight [T, num_patients, LANES] x value [K, num_patients, NINE] over all patients: out [T, K, NINE, LANES].

    Some patients at a time, so that their weights are widened once for all K and their values are read once for all tiles;
    a quarter of the lanes, so that all sums stay in registers.
    """
    num = weight.shape[1]
    wide = np.empty((LANES, LANES))
    for start in range(0, num, LANES):
        stop = min(num, start + LANES)
        for tile in range(weight.shape[0]):
            for p in range(start, stop):
                put(real(take(weight[tile], p)), wide[p - start], 0)
            for column in range(value.shape[0]):
                x, total = value[column], out[tile, column]
                for first in range(0, LANES, QUARTER):
                    a, b, c = got_quarter(total[0], first), got_quarter(total[1], first), got_quarter(total[2], first)
                    d, e, f = got_quarter(total[3], first), got_quarter(total[4], first), got_quarter(total[5], first)
                    g, h, k = got_quarter(total[6], first), got_quarter(total[7], first), got_quarter(total[8], first)
                    for p in range(start, stop):
                        w = got_quarter(wide[p - start], first)
                        a, b, c = fused(w, x[p, 0], a), fused(w, x[p, 1], b), fused(w, x[p, 2], c)
                        d, e, f = fused(w, x[p, 3], d), fused(w, x[p, 4], e), fused(w, x[p, 5], f)
                        g, h, k = fused(w, x[p, 6], g), fused(w, x[p, 7], h), fused(w, x[p, 8], k)
                    put(a, total[0], first)
                    put(b, total[1], first)
                    put(c, total[2], first)
                    put(d, total[3], first)
                    put(e, total[4], first)
                    put(f, total[5], first)
                    put(g, total[6], first)
                    put(h, total[7], first)
                    put(k, total[8], first)
