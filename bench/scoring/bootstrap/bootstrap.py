"""Metrics of many columns on the same resampled patients, without copying a single image.

A column is one finding of one model. It is sorted once; each replicate is the same walk with other weights, and 64
replicates are walked side by side. Counts are whole numbers, held exactly (in float64 up to 2^53), so ties and order
cost no accuracy.
Shapes: N images, C columns, B replicates. label_NC int8: 1 and 0, anything else takes no part in that column.
Results do not depend on the number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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


def run_in_threads(work: Callable[[int], None], num: int, num_threads: int) -> None:
    """Do the work of each column or tile, on threads if more than one is given."""
    if num_threads <= 1 or num <= 1:
        for place in range(num):
            work(place)
    else:
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(work, range(num)))


class Walked(NamedTuple):
    """AUROC and AUPRC of each replicate [B], and negatives and positives among the first images [Q, 2, B]."""

    auroc: Array
    auprc: Array
    reached: Array


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """One pass over a column, filled tile by tile in any order; `cut` [Q] rises, in images from the highest score, and splits no tie."""

    column: Column
    cut: NDArray[np.int64]
    auroc: Array  # [T, LANES]
    auprc: Array
    reached: Array  # [T, Q, 2, LANES]

    @classmethod
    def empty(cls, resamples: Resamples, column: Column, cut: Sequence[int] | NDArray[np.int64] = ()) -> Self:
        """Return a walk without results; `fill` computes them tile by tile."""
        places, num_tiles = np.asarray(cut, np.int64), len(resamples.weight)
        assert (np.diff(places) >= 0).all(), "cuts rise: one that does not would stay 0"
        auroc, auprc = np.full((2, num_tiles, LANES), np.nan)
        return cls(column, places, auroc, auprc, np.zeros((num_tiles, len(places), 2, LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Go over the images with the weights of one tile."""
        images = (self.column.patient, self.column.kind, self.cut)
        walk_ranks(*images, weight, self.auroc[tile], self.auprc[tile], self.reached[tile])

    def results(self, num: int) -> Walked:
        """Return the metrics of the first `num` replicates."""
        counts = self.reached.transpose(1, 2, 0, 3).reshape(len(self.cut), 2, self.auroc.size)[..., :num]
        return Walked(self.auroc.ravel()[:num], self.auprc.ravel()[:num], counts)


def column_metrics(resamples: Resamples, column: Column, cut: Sequence[int] | NDArray[np.int64] = ()) -> Walked:
    """Return what one pass over all tiles tells."""
    found = Walk.empty(resamples, column, cut)
    for tile in range(len(resamples.weight)):
        found.fill(tile, resamples.tile(tile))
    return found.results(resamples.num)


@dataclass(frozen=True, slots=True, eq=False)
class GroupWalk:
    """A pass over each group of a column, filled tile by tile in any order."""

    images: GroupedImages
    auroc: Array  # [G, T, LANES]
    counted: Array  # [G, T, 2, 2, LANES]

    @classmethod
    def empty(cls, resamples: Resamples, images: GroupedImages) -> Self:
        """Return a walk without results; `fill` computes them tile by tile."""
        shape = (len(images.first), len(resamples.weight))
        return cls(images, np.full((*shape, LANES), np.nan), np.zeros((*shape, 2, 2, LANES)))

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Go over the images of each group with the weights of one tile."""
        start, patient, kind, first = self.images
        cuts, auprc = np.stack([first, np.diff(start)], 1), np.empty(LANES)
        begins = start.tolist()
        for g, cut in enumerate(cuts):
            images = slice(begins[g], begins[g + 1])
            results = (self.auroc[g, tile], auprc, self.counted[g, tile])
            walk_ranks(patient[images], kind[images], cut, weight, *results)

    def results(self, num: int) -> tuple[Array, Array]:
        """Return the AUROC of each group and replicate [G, B], and [G, 2, 2, B] negatives and positives among the first, among all."""
        num_groups, num_tiles, lanes = self.auroc.shape
        areas = self.auroc.reshape(num_groups, num_tiles * lanes)
        counts = self.counted.transpose(0, 2, 3, 1, 4).reshape(num_groups, 2, 2, num_tiles * lanes)
        return areas[:, :num], counts[..., :num]


def group_metrics(resamples: Resamples, images: GroupedImages) -> tuple[Array, Array]:
    """Return the metrics of each group, over all tiles, as `GroupWalk.results`."""
    found = GroupWalk.empty(resamples, images)
    for tile in range(len(resamples.weight)):
        found.fill(tile, resamples.tile(tile))
    return found.results(resamples.num)


def rank_metrics(resamples: Resamples, label_NC: Labels, score_NC: Scores, num_threads: int = 1) -> tuple[Array, Array]:
    """Return AUROC and AUPRC of each replicate, [C, B] each; NaN where a replicate lacks a class.

    Equal to scikit-learn on the resampled rows within 1e-12, ties included.
    """
    shape = (label_NC.shape[1], resamples.num)
    auroc, auprc = np.full(shape, np.nan), np.full(shape, np.nan)

    def work(k: int) -> None:
        auroc[k], auprc[k], _ = column_metrics(resamples, Column.of(resamples.patient, label_NC[:, k], score_NC[:, k]))

    run_in_threads(work, shape[0], num_threads)
    return auroc, auprc


def grouped_sums(
    resamples: Resamples, rows: NDArray[np.intp], group: NDArray[np.integer], value: Array, num_groups: int
) -> Array:
    """Return the sums of V values over the images of each group, per replicate: [num_groups, V, B].

    rows, group [n] and value [n, V] describe the images that take part.
    """
    num_tiles, num_values = resamples.weight.shape[0], value.shape[1]
    out = np.zeros((num_tiles, num_groups, num_values, LANES))
    order = np.argsort(group, kind="stable")
    start = np.searchsorted(group[order], np.arange(num_groups + 1))
    who, sorted_ = resamples.patient[rows[order]], np.ascontiguousarray(value[order], np.float64)
    for tile in range(num_tiles):
        sum_segments(who, start, sorted_, resamples.tile(tile), out[tile])
    return out.transpose(1, 2, 0, 3).reshape(num_groups, num_values, num_tiles * LANES)[..., : resamples.num]


def divide(numerator: Array, denominator: Array) -> Array:
    """Return numerator / denominator, NaN where the denominator is 0."""
    nonzero = denominator > 0
    if nonzero.all():  # the usual case: faster without a mask
        return np.asarray(numerator / denominator)
    ratio: Array = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=nonzero)
    return ratio


def call_metrics(reached: Array, every: Array) -> dict[str, Array]:
    """Return the CALL_METRICS [...] from negatives and positives called, reached [2, ...], and of all images, every [2, ...]."""
    (false, hit), (negative, positive) = reached, every
    cleared = negative - false
    f1 = divide(2 * hit, hit + false + positive)
    return {
        "f1": np.where(positive > 0, f1, np.nan),
        "precision": divide(hit, hit + false),
        "sensitivity": divide(hit, positive),
        "specificity": divide(cleared, negative),
        "npv": divide(cleared, cleared + positive - hit),
    }


def cuts_of(column: Column, threshold_R: Array) -> tuple[list[int], NDArray[np.int64]]:
    """Return the rules [Q] whose threshold is a number, highest threshold first, and how many images reach each."""
    known = np.flatnonzero(~np.isnan(threshold_R))
    rules = known[np.argsort(-threshold_R[known], kind="stable")].tolist()
    return rules, np.append(column.reaching(threshold_R[rules]), len(column.rows))


def calls(
    resamples: Resamples, label_NC: Labels, score_NC: Scores, threshold_RC: Array, num_threads: int = 1
) -> dict[str, Array]:
    """Return the CALL_METRICS, [R, C, B] each, of R thresholds per column.

    An image is called when score >= threshold. A NaN threshold gives NaN; so does a replicate without the class, or for
    precision without a call, or for npv with calls alone.
    """
    num_rules, num_columns = threshold_RC.shape
    out = {name: np.full((num_rules, num_columns, resamples.num), np.nan) for name in CALL_METRICS}

    def work(k: int) -> None:
        column = Column.of(resamples.patient, label_NC[:, k], score_NC[:, k])
        rules, cut = cuts_of(column, threshold_RC[:, k])
        *reached, every = column_metrics(resamples, column, cut).reached
        for rule, at in zip(rules, reached, strict=True):
            for name, found in call_metrics(at, every).items():
                out[name][rule, k] = found

    run_in_threads(work, num_columns, num_threads)
    return out
