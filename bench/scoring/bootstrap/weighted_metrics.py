"""AUROC, AUPRC and calibration error of images that count differently: a weight per group, new in each replicate.

Shapes: n images that take part, m pairs of them, G groups, B replicates, T tiles, C bins.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.calibration_layout import Patients, in_pairs, spell
from bench.scoring.bootstrap.fixed_point_sums import DIGITS, Words
from bench.scoring.bootstrap.kernels import sum_runs_of_one
from bench.scoring.bootstrap.resamples import LANES, Resamples
from bench.scoring.bootstrap.sorted_images import Column
from bench.scoring.bootstrap.walk_order import Steps, steps_of
from bench.scoring.bootstrap.weighted_kernels import walk_by_label, walk_sample, walk_weighted

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
    place: NDArray[np.int32]
    excess: Array

    def positives(self) -> "Positives":
        """Return the positives, bin after bin."""
        rows = np.flatnonzero(self.column.positive)
        place = self.place[rows]
        first = np.append(np.flatnonzero(np.diff(place, prepend=-1)), len(rows))
        start, pair, _ = in_pairs(first, self.column.patient[rows])
        excess = np.empty((DIGITS, len(pair)), np.int32)
        spell(first, start, self.excess[rows], excess)
        return Positives(start, place[first[:-1]], pair, excess)

    def of_sample(self, of_label: Array, of_group: Array, bins: int) -> Reweighted:
        """Return the metrics of the sample itself, [1] each, whose factors are of_label [2] and of_group [G]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = float(of_label[0] / of_label[1])
        binned = np.zeros((bins, 3))
        areas = walk_sample(self.column.kind, self.group, self.place, self.excess, of_group, ratio, binned)
        errors = np.abs(binned[:, 2]).sum(), np.abs(binned[:, :2] @ of_label).sum()
        auroc, auprc, by_label = areas
        return Reweighted(*(np.array([each]) for each in (auroc, auprc, errors[0], by_label, errors[1])))


class Positives(NamedTuple):
    """Images with the finding in pairs (see `Laid`), run after run: where a run starts [S + 1] and its bin [S]."""

    start: NDArray[np.int64]
    place: NDArray[np.int32]
    pair: Patients  # [m, 2]
    excess: Words  # [DIGITS, m]


@dataclass(frozen=True, slots=True, eq=False)
class WeightedWalk:
    """A walk over weighted images, filled tile by tile in any order, of `num` replicates in all.

    Not `by_group`, only what needs no more than labels is found: a third of the time.
    """

    ranked: Ranked
    of_bins: Array  # [T, C, LANES]
    steps: Steps
    factors: Factors
    num: int
    by_group: bool
    of_ones: Positives
    ratio: Array  # [T, LANES]: what a negative counts by label alone, if a positive counts 1
    area: Array  # [T, LANES]
    precision: Array
    error: Array
    by_label: Array  # the second AUPRC
    of_ones_in_bins: Array  # [T, C, LANES]: excess added up over the positives of each bin

    @classmethod
    def over(
        cls, resamples: Resamples, ranked: Ranked, of_bins: Array, factors: Factors, by_group: bool = True
    ) -> Self:
        """Return a walk that has not begun; of_bins is the excess added up over the images of each bin."""
        assert len(of_bins) == len(factors.of_group), "as many tiles"
        steps = steps_of(ranked.column.kind, np.empty(0, np.int64), resamples.most)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = factors.of_label[:, 0] / factors.of_label[:, 1]
        given = (ranked, of_bins, steps, factors, resamples.num, by_group, ranked.positives(), ratio)
        area, precision, error, by_label = np.full((4, *ratio.shape), np.nan)
        return cls(*given, area, precision, error, by_label, np.zeros(of_bins.shape))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Walk over one tile."""
        ranked, column = self.ranked, self.ranked.column
        images, bins = (column.patient, column.kind), (ranked.place, ranked.excess)
        walk_by_label(*images, *self.steps, self.ratio[tile], weight, self.by_label[tile])
        sum_runs_of_one(*self.of_ones, weight, self.of_ones_in_bins[tile])
        if self.by_group:
            factor, sums = self.factors.of_group[tile], np.zeros(self.of_bins.shape[1:])
            num_lanes, areas = min(LANES, self.num - tile * LANES), (self.area[tile], self.precision[tile])
            walk_weighted(*images, ranked.group, *bins, factor, weight, num_lanes, *areas, sums)
            self.error[tile] = np.abs(sums).sum(0)

    def walked(self) -> Reweighted:
        """Return the metrics of each replicate."""
        of_zeros, of_ones = self.factors.of_label[:, 0, None], self.factors.of_label[:, 1, None]
        with np.errstate(invalid="ignore"):  # a replicate without a class has no factor
            by_label = np.abs(of_zeros * (self.of_bins - self.of_ones_in_bins) + of_ones * self.of_ones_in_bins).sum(1)
        drawn = (self.area, self.precision, self.error, self.by_label, by_label)
        return Reweighted(*(each.ravel()[: self.num] for each in drawn))
