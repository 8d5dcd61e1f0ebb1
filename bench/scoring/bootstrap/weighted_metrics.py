"""AUROC, AUPRC and calibration error of images that count differently: a factor per group of images, new in each replicate.

Shapes: n images that take part, G groups, B replicates, T tiles of LANES replicates.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.kernels import walk_weighted
from bench.scoring.bootstrap.resamples import LANES, Resamples, one_replicate
from bench.scoring.bootstrap.sorted_images import Column

Array = NDArray[np.float64]


class Factors(NamedTuple):
    """How much the images of a group count in each replicate, tile by tile; 0 beyond the last replicate.

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
    place: NDArray[np.int32]
    excess: Array
    bins: int

    def reweighted(self, weight: NDArray[np.uint8], of_label: Array, of_group: Array) -> Array:
        """Return the metrics of `Reweighted` [5, L] of some replicates: weight [num_patients, L], factors [2, L] and [G, L]."""
        out = np.empty((len(Reweighted._fields), weight.shape[1]))
        images = (self.column.patient, self.column.kind, self.group, self.place, self.excess)
        walk_weighted(*images, weight, of_label, of_group, self.bins, out)
        return out

    def of_sample(self, of_label: Array, of_group: Array) -> Reweighted:
        """Return the metrics of the sample itself, [1] each, whose factors are of_label [2] and of_group [G]."""
        once = one_replicate(int(self.column.patient.max(initial=-1)) + 1)
        return Reweighted(*self.reweighted(once, of_label[:, None].copy(), of_group[:, None].copy()))


@dataclass(frozen=True, slots=True, eq=False)
class WeightedWalk:
    """A pass over weighted images, filled tile by tile in any order, of `num` replicates in all."""

    ranked: Ranked
    factors: Factors
    num: int
    drawn: Array  # [T, 5, LANES]

    @classmethod
    def empty(cls, resamples: Resamples, ranked: Ranked, factors: Factors) -> Self:
        """Return a walk without results; `fill` computes them tile by tile."""
        num_tiles = len(resamples.weight)
        assert len(factors.of_group) == num_tiles, "as many tiles"
        return cls(ranked, factors, resamples.num, np.empty((num_tiles, len(Reweighted._fields), LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Go over the images with the weights of one tile."""
        self.drawn[tile] = self.ranked.reweighted(weight, self.factors.of_label[tile], self.factors.of_group[tile])

    def results(self) -> Reweighted:
        """Return the metrics of each replicate."""
        return Reweighted(*self.drawn.transpose(1, 0, 2).reshape(len(Reweighted._fields), -1)[:, : self.num])
