"""AUROC, AUPRC and calibration error of images that count differently: a weight per group, new in each replicate.

Shapes: n images that take part, G groups, B replicates, C bins.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.ranking import Column
from bench.scoring.resamples import LANES
from bench.scoring.weightedkernels import walk_by_label, walk_sample, walk_weighted

Array = NDArray[np.float64]


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
        areas = walk_sample(self.column.kind, self.group, self.place, self.excess, of_group, ratio, binned)
        errors = np.abs(binned[:, 2]).sum(), np.abs(binned[:, :2] @ of_label).sum()
        auroc, auprc, by_label = areas
        return Reweighted(*(np.array([each]) for each in (auroc, auprc, errors[0], by_label, errors[1])))


@dataclass(frozen=True, slots=True, eq=False)
class WeightedWalk:
    """A walk over weighted images, filled tile by tile in any order, of `num` replicates in all.

    Not `by_group`, only what needs no more than labels is found: half of the time.
    """

    ranked: Ranked
    factors: Factors
    num: int
    by_group: bool
    ratio: Array  # [T, LANES]: what a negative counts by label alone, if a positive counts 1
    area: Array  # [T, LANES]
    precision: Array  # [T, 2, LANES]
    error: Array
    signed: Array  # [T, C, 2, LANES]: excess of each bin by label, as the images are

    @classmethod
    def over(cls, ranked: Ranked, factors: Factors, bins: int, num: int, by_group: bool = True) -> Self:
        """Return a walk that has not begun."""
        num_tiles = len(factors.of_group)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = factors.of_label[:, 0] / factors.of_label[:, 1]
        area, precision = np.full((num_tiles, LANES), np.nan), np.full((num_tiles, 2, LANES), np.nan)
        error, signed = np.full((num_tiles, LANES), np.nan), np.zeros((num_tiles, bins, 2, LANES))
        return cls(ranked, factors, num, by_group, ratio, area, precision, error, signed)

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Walk over one tile."""
        ranked, column = self.ranked, self.ranked.column
        images, bins = (column.patient, column.kind), (ranked.place, ranked.excess)
        ratio, num_lanes = self.ratio[tile], min(LANES, self.num - tile * LANES)
        signed, precision = self.signed[tile], self.precision[tile]
        if not self.by_group:
            walk_by_label(*images, *bins, ratio, weight, num_lanes, precision[1], signed)
            return
        factor, sums = self.factors.of_group[tile], np.zeros((len(signed), 3, LANES))
        area = self.area[tile]
        walk_weighted(*images, ranked.group, *bins, factor, ratio, weight, num_lanes, area, precision, sums)
        self.error[tile], signed[:] = np.abs(sums[:, 2]).sum(0), sums[:, :2]

    def walked(self) -> Reweighted:
        """Return the metrics of each replicate."""
        with np.errstate(invalid="ignore"):  # a replicate without a class has no factor
            by_label = np.abs((self.signed * self.factors.of_label[:, None]).sum(2)).sum(1)
        drawn = (self.area, self.precision[:, 0], self.error, self.precision[:, 1], by_label)
        return Reweighted(*(each.ravel()[: self.num] for each in drawn))
