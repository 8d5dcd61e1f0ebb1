"""AUROC, AUPRC and calibration error of images that count differently: a weight per group, new in each replicate.

Shapes: n images that take part, G groups, B replicates, C bins.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.kernels import AHEAD
from bench.scoring.lanes import HALF, at_least, fetch, fused, got_half, inverse, put, real, take_half
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE, Column
from bench.scoring.resamples import LANES

Array = NDArray[np.float64]
TINY = 1e-12  # below any sum of weights: a precision of nothing is 0


@compiled
def _walk(  # noqa: C901 - one pass over the images: splitting it would hide the order
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
        fine = counted[2, j] > 0 and counted[3, j] > 0 and ratio[j] > 0 and ratio[j] < np.inf
        precision[1, j] = precision[1, j] / counted[2, j] if fine else np.nan


@compiled
def _walk_sample(
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    place: NDArray[np.int64],
    excess: Array,
    factor: Array,
    ratio: float,
    binned: Array,
) -> tuple[float, float, float]:
    """Return AUROC and both AUPRC of the sample, and fill its bins [C, 3]: the walk where each image comes once."""
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
    return 1.0 - discordant / pairs, gained / positives, gained_by_label / ones if 0 < ratio < np.inf else np.nan


class Factors(NamedTuple):
    """How much the images of a group count in each replicate, tile by tile; 0 beyond the last.

    of_label [T, 2, LANES]: negatives and positives; of_group [T, G, LANES].
    """

    of_label: Array
    of_group: Array

    @classmethod
    def tiled(cls, label_2B: Array, group_GB: Array) -> "Factors":
        """Lay factors out by tile."""
        return cls(_tiled(label_2B), _tiled(group_GB))


def _tiled(factor_GB: Array) -> Array:
    num = factor_GB.shape[1]
    padded = np.zeros((len(factor_GB), -(-num // LANES) * LANES))
    padded[:, :num] = factor_GB
    return np.ascontiguousarray(padded.reshape(len(factor_GB), -1, LANES).transpose(1, 0, 2))


class Reweighted(NamedTuple):
    """AUROC, AUPRC and calibration error of each replicate [B] when groups weigh of_group, and the latter two by of_label.

    NaN where a class is absent; the errors are sums: the weights must sum to 1.
    """

    auroc: Array
    auprc: Array
    ece: Array
    auprc_by_label: Array
    ece_by_label: Array


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The images of one finding by falling score, each with its group [n], bin [n] and label - probability [n]."""

    column: Column
    group: NDArray[np.int32]
    place: NDArray[np.int64]
    excess: Array

    def of_sample(self, of_label: Array, of_group: Array, bins: int) -> Reweighted:
        """Return the metrics of the sample itself, [1] each, whose factors are of_label [2] and of_group [G]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(of_label[0] / of_label[1])
        binned = np.zeros((bins, 3))
        areas = _walk_sample(self.column.kind, self.group, self.place, self.excess, of_group, ratio, binned)
        errors = np.abs(binned[:, 2]).sum(), np.abs(binned[:, :2] @ of_label).sum()
        auroc, auprc, by_label = areas
        return Reweighted(*(np.array([each]) for each in (auroc, auprc, errors[0], by_label, errors[1])))


@dataclass(frozen=True, slots=True, eq=False)
class WeightedWalk:
    """A walk over weighted images, filled tile by tile in any order, of `num` replicates in all."""

    ranked: Ranked
    factors: Factors
    num: int
    ratio: Array  # [T, LANES]: what a negative counts by label alone, if a positive counts 1
    area: Array  # [T, LANES]
    precision: Array  # [T, 2, LANES]
    error: Array
    signed: Array  # [T, C, 2, LANES]: excess of each bin by label, as the images are

    @classmethod
    def over(cls, ranked: Ranked, factors: Factors, bins: int, num: int) -> Self:
        """Return a walk that has not begun."""
        num_tiles = len(factors.of_group)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = factors.of_label[:, 0] / factors.of_label[:, 1]
        area, precision = np.full((num_tiles, LANES), np.nan), np.full((num_tiles, 2, LANES), np.nan)
        error, signed = np.zeros((num_tiles, LANES)), np.zeros((num_tiles, bins, 2, LANES))
        return cls(ranked, factors, num, ratio, area, precision, error, signed)

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Walk over one tile."""
        ranked, binned = self.ranked, np.zeros((self.signed.shape[1], 3, LANES))
        images = (ranked.column.patient, ranked.column.kind, ranked.group, ranked.place, ranked.excess)
        weights = (self.factors.of_group[tile], self.ratio[tile], weight, min(LANES, self.num - tile * LANES))
        _walk(*images, *weights, self.area[tile], self.precision[tile], binned)
        self.error[tile], self.signed[tile] = np.abs(binned[:, 2]).sum(0), binned[:, :2]

    def walked(self) -> Reweighted:
        """Return the metrics of each replicate."""
        with np.errstate(invalid="ignore"):  # a replicate without a class has no factor
            by_label = np.abs((self.signed * self.factors.of_label[:, None]).sum(2)).sum(1)
        drawn = (self.area, self.precision[:, 0], self.error, self.precision[:, 1], by_label)
        return Reweighted(*(each.ravel()[: self.num] for each in drawn))
