"""Computation of AUROC, AUPRC and calibration error of weighted images.

The images are divided into groups. In each replicate, the weights of all images of a group are multiplied by the same
number, here called a factor.

A cell has the images that share bin, group and label.
Shapes: n labeled images of one finding, G groups, B replicates, T tiles of LANES (64) replicates, L replicates that are
computed together.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.calibration_errors import Segments
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.kernels import walk_weighted
from bench.scoring.bootstrap.resamples import LANES, Resamples, one_replicate
from bench.scoring.bootstrap.sorted_images import Column

Array = NDArray[np.float64]


class Factors(NamedTuple):
    """Numbers (factors) that multiply the images' weights in each replicate, arranged in tiles of LANES replicates.

    After the last replicate, the last tile is filled with 0.
    """

    of_label: Array  # [T tiles, 2, LANES]: factor of negatives, factor of positives
    of_group: Array  # [T tiles, G groups, LANES]: factor of each group

    @classmethod
    def tiled(cls, label_2B: Array, group_GB: Array) -> "Factors":
        """Return the factors of B replicates divided into tiles."""
        return cls(_tiled(label_2B), _tiled(group_GB))


def _tiled(factor_GB: Array) -> Array:
    num = factor_GB.shape[1]
    padded = np.zeros((len(factor_GB), -(-num // LANES) * LANES))
    padded[:, :num] = factor_GB
    return np.ascontiguousarray(padded.reshape(len(factor_GB), -1, LANES).transpose(1, 0, 2))


class Reweighted(NamedTuple):
    """Metrics of each replicate [B], weighted by the factors `of_group` or `of_label` of `Factors`.

    AUROC and AUPRC are NaN if a class is absent.

    Calibration errors are sums over bins, so the weights of all images must sum to 1.
    """

    auroc: Array  # auroc, auprc and ece are weighted by of_group
    auprc: Array
    ece: Array
    auprc_by_label: Array  # weighted by of_label; reweighting labels does not change AUROC
    ece_by_label: Array


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The images of one finding, sorted by decreasing score, with the groups and bins that weighted metrics need."""

    column: Column
    group: NDArray[np.int32]  # [n]
    cells: Segments  # one segment per cell (images that share bin, group and label); values are label - probability
    num_groups: int
    bins: int

    @classmethod
    def of(
        cls,
        column: Column,
        group: NDArray[np.int32],
        bin_of_image: NDArray[np.int32],
        excess: Array,
        num_groups: int,
        bins: int,
    ) -> Self:
        """Return the images [n] of a column with their groups, bins and excess (label - probability)."""
        cell = (bin_of_image * num_groups + group) * 2 + column.positive
        cells = Segments.of_groups(cell, column.patient, excess, bins * num_groups * 2)
        return cls(column, group, cells, num_groups, bins)

    def reweighted(self, weight: NDArray[np.uint8], of_label: Array, of_group: Array) -> Array:
        """Compute the five metrics of `Reweighted` for L replicates: [5, L].

        weight [num_patients, L]: how often each patient was drawn. of_label [2, L] and of_group [G, L]: see `Factors`.
        """
        ranked = np.empty((3, weight.shape[1]))
        walk_weighted(self.column.patient, self.column.kind, self.group, weight, of_label, of_group, ranked)
        errors = np.empty((2, weight.shape[1]))
        _weighted_errors(self.cells.sums(weight), self.cells.bins[0], of_group, of_label, self.bins, errors)
        return np.stack([*ranked[:2], errors[0], ranked[2], errors[1]])

    def of_sample(self, of_label: Array, of_group: Array) -> Reweighted:
        """Compute the metrics of the original sample, [1] each, with factors of_label [2] and of_group [G]."""
        once = one_replicate(int(self.column.patient.max(initial=-1)) + 1)
        return Reweighted(*self.reweighted(once, of_label[:, None].copy(), of_group[:, None].copy()))


@compiled
def _weighted_errors(
    excess_C1L: Array, cell: NDArray[np.int32], of_group: Array, of_label: Array, bins: int, out: Array
) -> None:
    """Compute two calibration errors per replicate and write them to out [2, L]: weighted by of_group, and by of_label.

    Each error is the sum over bins of the absolute value of the weighted excess of the bin. A cell has the images that
    share bin, group and label, so their weights are equal, and the excess of each of the C cells is summed only once
    for both results. In a replicate without positive or without negative images, a weight is infinite and the errors
    are NaN.
    """
    lanes, num_groups = excess_C1L.shape[2], of_group.shape[0]
    by_group, by_label = np.zeros((bins, lanes)), np.zeros((bins, lanes))
    for c in range(cell.shape[0]):
        bin_and_group, label = cell[c] // 2, cell[c] % 2  # the reverse of the formula in `Ranked.of`
        b, g = bin_and_group // num_groups, bin_and_group % num_groups
        for j in range(lanes):
            by_group[b, j] += excess_C1L[c, 0, j] * of_group[g, j]
            by_label[b, j] += excess_C1L[c, 0, j] * of_label[label, j]
    out[:] = 0.0
    for b in range(bins):
        for j in range(lanes):
            out[0, j] += abs(by_group[b, j])
            out[1, j] += abs(by_label[b, j])


@dataclass(frozen=True, slots=True, eq=False)
class WeightedWalk:
    """Weighted metrics of one finding in each replicate.

    `fill` computes one tile (LANES replicates); tiles may be computed in any order.
    """

    ranked: Ranked
    factors: Factors
    num: int  # number of replicates
    metrics: Array  # [T tiles, 5, LANES]: the metrics in the order of the fields of `Reweighted`

    @classmethod
    def empty(cls, resamples: Resamples, ranked: Ranked, factors: Factors) -> Self:
        """Return a `WeightedWalk` without results; `fill` computes the results tile by tile."""
        num_tiles = len(resamples.weight)
        assert len(factors.of_group) == num_tiles, "Factors and resamples must have the same number of tiles."
        return cls(ranked, factors, resamples.num, np.empty((num_tiles, len(Reweighted._fields), LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Compute the metrics of one tile from the tile's weights [num_patients, LANES]."""
        self.metrics[tile] = self.ranked.reweighted(weight, self.factors.of_label[tile], self.factors.of_group[tile])

    def results(self) -> Reweighted:
        """Return the metrics of each replicate."""
        return Reweighted(*self.metrics.transpose(1, 0, 2).reshape(len(Reweighted._fields), -1)[:, : self.num])
