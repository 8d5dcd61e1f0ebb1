"""AUROC, AUPRC and calibration error of images that count differently: a weight per group, new in each replicate.

Shapes: n images that take part, G groups, B replicates, C bins.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE, Column
from bench.scoring.resamples import LANES, Resamples

Array = NDArray[np.float64]
TINY = 1e-300  # below any sum of weights: a precision of nothing is 0


def _walker(lanes: int) -> Callable[..., None]:  # noqa: C901 - of what it returns
    """Return a pass over images that fills so many replicates side by side."""

    @compiled
    def walk(  # noqa: C901 - one pass over the images: splitting it would read their weights twice
        patient: NDArray[np.int32],
        kind: NDArray[np.uint8],
        group: NDArray[np.int32],
        place: NDArray[np.int64],
        excess: Array,
        factor: Array,
        ratio: Array,
        weight: NDArray[np.uint8],
        area: Array,
        precision: Array,
        binned: Array,
    ) -> None:
        """Fill what one tile tells of images sorted by falling score, which weigh weight[patient] x factor[group].

        area [lanes]; precision [2, lanes], of these weights, then where a negative counts `ratio` [lanes] times a positive.
        binned [C, 3, lanes]: sum of weight x excess over the images of each bin: negatives, positives, and with the factor, all.
        """
        # 0 positives, 1 negatives, 2 positives of a tie: as they are, then as the factor has them (3 its negatives)
        plain, alike = np.zeros((3, lanes), np.int32), np.zeros((4, lanes))
        sums = np.zeros((3, lanes))  # discordant, precision gained as the factor has it, and by label
        in_tie = False
        i, num = 0, patient.shape[0]
        while i < num:
            b, alone = place[i], not in_tie and kind[i] == LAST_OF_TIE  # a negative alone at its score
            others = kind[i + 1] & kind[i + 2] & kind[i + 3] if alone and i + 4 <= num else POSITIVE
            ones = kind[i + 1] | kind[i + 2] | kind[i + 3] if others == LAST_OF_TIE else POSITIVE
            if ones == LAST_OF_TIE and place[i + 3] == b:  # four of them in one bin: by far the most common
                p0, p1, p2, p3 = patient[i], patient[i + 1], patient[i + 2], patient[i + 3]
                g0, g1, g2, g3 = group[i], group[i + 1], group[i + 2], group[i + 3]
                x0, x1, x2, x3 = excess[i], excess[i + 1], excess[i + 2], excess[i + 3]
                for j in range(lanes):
                    plain[1, j] += (
                        np.int32(weight[p0, j])
                        + np.int32(weight[p1, j])
                        + np.int32(weight[p2, j])
                        + np.int32(weight[p3, j])
                    )
                for j in range(lanes):
                    w0, w1, w2, w3 = weight[p0, j], weight[p1, j], weight[p2, j], weight[p3, j]
                    a0, a1, a2, a3 = w0 * factor[g0, j], w1 * factor[g1, j], w2 * factor[g2, j], w3 * factor[g3, j]
                    alike[1, j] += (a0 + a1) + (a2 + a3)
                    binned[b, 2, j] += (a0 * x0 + a1 * x1) + (a2 * x2 + a3 * x3)
                    binned[b, 0, j] += (w0 * x0 + w1 * x1) + (w2 * x2 + w3 * x3)
                i += 4
                continue
            p0, g0, x0 = patient[i], group[i], excess[i]
            positive = kind[i] & POSITIVE
            for j in range(lanes):
                w0 = weight[p0, j]
                binned[b, 2, j] += w0 * factor[g0, j] * x0
                binned[b, positive, j] += w0 * x0
            if positive:
                for j in range(lanes):
                    plain[2, j] += np.int32(weight[p0, j])
                    alike[2, j] += weight[p0, j] * factor[g0, j]
            elif alone:
                for j in range(lanes):
                    plain[1, j] += np.int32(weight[p0, j])
                    alike[1, j] += weight[p0, j] * factor[g0, j]
            else:
                for j in range(lanes):
                    plain[1, j] += np.int32(weight[p0, j])
                    alike[3, j] += weight[p0, j] * factor[g0, j]
            in_tie = kind[i] & LAST_OF_TIE == 0
            if not (in_tie or alone):
                for j in range(lanes):
                    new, one = alike[2, j], plain[2, j]
                    sums[0, j] += new * (alike[1, j] + 0.5 * alike[3, j])
                    alike[0, j] += new
                    alike[1, j] += alike[3, j]
                    plain[0, j] += one
                    sums[1, j] += new * alike[0, j] / max(alike[0, j] + alike[1, j], TINY)
                    sums[2, j] += np.float64(one) * plain[0, j] / max(plain[0, j] + plain[1, j] * ratio[j], TINY)
                    alike[2, j] = 0.0
                    alike[3, j] = 0.0
                    plain[2, j] = 0
            i += 1
        for j in range(lanes):
            pairs = alike[0, j] * alike[1, j]
            area[j] = 1.0 - sums[0, j] / pairs if pairs > 0 else np.nan
            precision[0, j] = sums[1, j] / alike[0, j] if pairs > 0 else np.nan
            fine = plain[0, j] > 0 and plain[1, j] > 0 and ratio[j] > 0 and ratio[j] < np.inf
            precision[1, j] = sums[2, j] / plain[0, j] if fine else np.nan

    return walk


_walks = {lanes: _walker(lanes) for lanes in (1, LANES)}


class Factors(NamedTuple):
    """How much the images of a group count in each replicate, tile by tile; 0 beyond the last. One replicate is a tile of one lane.

    of_label [T, 2, lanes]: negatives and positives; of_group [T, G, lanes].
    """

    of_label: Array
    of_group: Array

    @classmethod
    def tiled(cls, label_2B: Array, group_GB: Array) -> "Factors":
        """Lay factors out by tile."""
        return cls(_tiled(label_2B), _tiled(group_GB))


def _tiled(factor_GB: Array) -> Array:
    num = factor_GB.shape[1]
    if num == 1:
        return factor_GB[None].copy()
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

    def reweighted(self, resamples: Resamples, factors: Factors, bins: int) -> Reweighted:
        """Return the metrics of each replicate."""
        (num_tiles, _, lanes), column = resamples.weight.shape, self.column
        area, precision = np.full((num_tiles, lanes), np.nan), np.full((2, num_tiles, lanes), np.nan)
        errors = np.zeros((2, num_tiles, lanes))
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = factors.of_label[:, 0] / factors.of_label[:, 1]
        signed = np.zeros((num_tiles, bins, 2, lanes))
        for tile in range(num_tiles):
            binned = np.zeros((bins, 3, lanes))
            images = (column.patient, column.kind, self.group, self.place, self.excess)
            of_tile = (factors.of_group[tile], ratio[tile], resamples.tile(tile))
            _walks[lanes](*images, *of_tile, area[tile], precision[:, tile], binned)
            errors[0, tile], signed[tile] = np.abs(binned[:, 2]).sum(0), binned[:, :2]
        with np.errstate(invalid="ignore"):  # a replicate without a class has no factor
            errors[1] = np.abs((signed * factors.of_label[:, None]).sum(2)).sum(1)
        drawn = (area, precision[0], errors[0], precision[1], errors[1])
        return Reweighted(*(each.ravel()[: resamples.num] for each in drawn))
