"""Computation of metrics of many columns on the same resampled patients, without copies of images.

A column has the labels and scores of one finding of one run. The images of a column are sorted once. Then each pass
("walk") over the sorted images computes a tile: 64 replicates, each with its own weights (how often each patient was
drawn). Counts are integers, exact in float64 up to 2^53, so ties and the order of the images cause no rounding errors.
A cut is a number of images: the images before the cut are those with the highest scores, such as all positive calls.
Shapes: N images, C columns, B replicates, T tiles (groups of LANES = 64 replicates), Q cuts, G groups, R thresholds, V values.
label_NC int8: 1 and 0; an image with any other label is ignored in its column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.kernels import sum_segments, walk_ranks
from bench.scoring.bootstrap.resamples import LANES, Resamples
from bench.scoring.bootstrap.sorted_images import Column, GroupedImages

Array = NDArray[np.float64]
Labels = NDArray[np.int8]
Scores = NDArray[np.floating]

CALL_METRICS = ("f1", "precision", "sensitivity", "specificity", "npv")


class ColumnMetrics(NamedTuple):
    """AUROC [B], AUPRC [B] ([0] if not computed), and reached [Q, 2, B]: negatives and positives before each cut.

    A cut is a number of images: the images before the cut are those with the highest scores.
    """

    auroc: Array
    auprc: Array
    reached: Array


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """AUROC, AUPRC and counts of one finding in each replicate, computed by passes over the sorted images.

    `fill` computes one tile (LANES replicates) of T tiles; tiles may be computed in any order.
    `cut` [Q]: Q numbers of images with the highest scores. For each cut, `reached` has the numbers of negatives and of
    positives among these images. Cuts increase, and no cut is inside a tie.
    """

    column: Column
    cut: NDArray[np.int64]
    auroc: Array  # [T, LANES]
    auprc: Array  # [T, LANES], or [T, 0] without AUPRC
    reached: Array  # [T, Q, 2, LANES]

    @classmethod
    def empty(
        cls,
        resamples: Resamples,
        column: Column,
        cut: Sequence[int] | NDArray[np.int64] = (),
        with_auprc: bool = True,
    ) -> Self:
        """Return a `Walk` without results; `fill` computes the results tile by tile, faster without AUPRC."""
        cuts, num_tiles = np.asarray(cut, np.int64), len(resamples.weight)
        assert (np.diff(cuts) >= 0).all(), "Cuts must increase: the count of a cut out of order would stay 0."
        auroc, auprc = np.full((num_tiles, LANES), np.nan), np.full((num_tiles, LANES * with_auprc), np.nan)
        return cls(column, cuts, auroc, auprc, np.zeros((num_tiles, len(cuts), 2, LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Compute the metrics of one tile from the tile's weights [num_patients, LANES]."""
        images = (self.column.patient, self.column.kind, self.cut)
        walk_ranks(*images, weight, self.auroc[tile], self.auprc[tile], self.reached[tile])

    def results(self, num: int) -> ColumnMetrics:
        """Return the metrics of the first `num` replicates."""
        counts = self.reached.transpose(1, 2, 0, 3).reshape(len(self.cut), 2, self.auroc.size)[..., :num]
        return ColumnMetrics(self.auroc.ravel()[:num], self.auprc.ravel()[:num], counts)


def column_metrics(
    resamples: Resamples, column: Column, cut: Sequence[int] | NDArray[np.int64] = (), with_auprc: bool = True
) -> ColumnMetrics:
    """Compute AUROC, AUPRC and counts of one finding (a column) in all replicates; `Walk` explains `cut`."""
    walk = Walk.empty(resamples, column, cut, with_auprc)
    for tile in range(len(resamples.weight)):
        walk.fill(tile, resamples.tile(tile))
    return walk.results(resamples.num)


@dataclass(frozen=True, slots=True, eq=False)
class GroupWalk:
    """AUROC and counts of one finding for each of G patient groups in each replicate.

    `fill` computes one tile (LANES replicates) of T tiles; tiles may be computed in any order. The images before the
    cut are those with the highest scores, such as all positive calls.
    """

    images: GroupedImages
    auroc: Array  # [G, T, LANES]
    counted: Array  # [G, T, 2, 2, LANES]; axis 2: images before the cut, all images; axis 3: negatives, positives

    @classmethod
    def empty(cls, resamples: Resamples, images: GroupedImages) -> Self:
        """Return a `GroupWalk` without results; `fill` computes the results tile by tile."""
        shape = (len(images.first), len(resamples.weight))
        return cls(images, np.full((*shape, LANES), np.nan), np.zeros((*shape, 2, 2, LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Compute the metrics of each group in one tile from the tile's weights [num_patients, LANES]."""
        start, patient, kind, first = self.images
        cuts, no_auprc = np.stack([first, np.diff(start)], 1), np.empty(0)
        starts = start.tolist()
        for g, cut in enumerate(cuts):
            rows = slice(starts[g], starts[g + 1])
            outputs = (self.auroc[g, tile], no_auprc, self.counted[g, tile])
            walk_ranks(patient[rows], kind[rows], cut, weight, *outputs)

    def results(self, num: int) -> tuple[Array, Array]:
        """Return AUROC [G, B] and counts [G, 2, 2, B] of the first `num` replicates.

        Axis 1 of the counts: images before the cut, all images. Axis 2: number of negatives, number of positives.
        """
        num_groups, num_tiles, lanes = self.auroc.shape
        areas = self.auroc.reshape(num_groups, num_tiles * lanes)
        counts = self.counted.transpose(0, 2, 3, 1, 4).reshape(num_groups, 2, 2, num_tiles * lanes)
        return areas[:, :num], counts[..., :num]


def group_metrics(resamples: Resamples, images: GroupedImages) -> tuple[Array, Array]:
    """Compute AUROC [G, B] and counts [G, 2, 2, B] of each group: before the cut, all; negatives, positives."""
    walk = GroupWalk.empty(resamples, images)
    for tile in range(len(resamples.weight)):
        walk.fill(tile, resamples.tile(tile))
    return walk.results(resamples.num)


def rank_metrics(resamples: Resamples, label_NC: Labels, score_NC: Scores) -> tuple[Array, Array]:
    """Compute AUROC and AUPRC, [C, B] each, of the C columns of label_NC and score_NC in B replicates.

    A column has the labels and scores of one finding of one run. In a replicate without a class, the metrics are NaN.
    The results, with or without ties, are within 1e-12 of those of scikit-learn on the resampled rows.
    """
    shape = (label_NC.shape[1], resamples.num)
    auroc, auprc = np.full(shape, np.nan), np.full(shape, np.nan)
    for k in range(shape[0]):
        auroc[k], auprc[k], _ = column_metrics(resamples, Column.of(resamples.patient, label_NC[:, k], score_NC[:, k]))
    return auroc, auprc


def grouped_sums(
    resamples: Resamples, rows: NDArray[np.intp], group: NDArray[np.integer], value: Array, num_groups: int
) -> Array:
    """Compute the sums of V values over the images of each group, for each replicate: [num_groups, V, B].

    Only the n images with the indices `rows` [n] are used. group [n] and value [V, n] are in the order of `rows`.
    """
    num_tiles, num_values = resamples.weight.shape[0], value.shape[0]
    out = np.zeros((num_tiles, num_groups, num_values, LANES))
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(num_groups + 1))
    patient, sorted_value = resamples.patient[rows[order]], np.ascontiguousarray(value[:, order], np.float64)
    for tile in range(num_tiles):
        sum_segments(patient, start, sorted_value, resamples.tile(tile), out[tile])
    return out.transpose(1, 2, 0, 3).reshape(num_groups, num_values, num_tiles * LANES)[..., : resamples.num]


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator; NaN where the denominator is 0.

    The denominator must not be negative.
    """
    nonzero = denominator > 0
    if nonzero.all():  # usually no denominator is 0, and the division is faster without a mask
        return np.asarray(numerator / denominator)
    ratio: Array = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=nonzero)
    return ratio


def call_metrics(called: Array, total: Array) -> dict[str, Array]:
    """Compute the CALL_METRICS (f1, precision, sensitivity, specificity, npv): name -> array [...].

    called [2, ...] counts the images that are called positive, total [2, ...] counts all images. The first axis is
    negative images, positive images.
    """
    (false_positive, true_positive), (negative, positive) = called, total
    true_negative = negative - false_positive
    f1 = divide(2 * true_positive, true_positive + false_positive + positive)
    return {
        "f1": np.where(positive > 0, f1, np.nan),
        "precision": divide(true_positive, true_positive + false_positive),
        "sensitivity": divide(true_positive, positive),
        "specificity": divide(true_negative, negative),
        "npv": divide(true_negative, true_negative + positive - true_positive),
    }


def cuts_of(column: Column, threshold_R: Array) -> tuple[list[int], NDArray[np.int64]]:
    """Return the indices of the thresholds that are not NaN, highest threshold first, and the cuts for `Walk`.

    Each of these thresholds has a cut: the number of images with a score of at least the threshold. One more cut at the
    end is the number of all images.
    """
    not_nan = np.flatnonzero(~np.isnan(threshold_R))
    rules = not_nan[np.argsort(-threshold_R[not_nan], kind="stable")].tolist()
    return rules, np.append(column.reaching(threshold_R[rules]), len(column.rows))
