"""Calibration errors of each replicate, of several probabilities of the same images in one pass.

Shapes: n images that take part, C probabilities, B replicates, G bins, T tiles, D tiles in detail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import amx_sums as matrices
from bench.scoring.bootstrap.bootstrap import Labels, Scores, each, over
from bench.scoring.bootstrap.calibration_layout import Laid, Patients, Positive
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.fixed_point_sums import Words
from bench.scoring.bootstrap.kernels import NINE, SIDE_BY_SIDE, fold, sum_nine, sum_runs, sum_runs_of_one
from bench.scoring.bootstrap.resamples import LANES, Resamples
from bench.scoring.bootstrap.sort_scores import taking_part
from bench.scoring.calibration_metrics import ERRORS, HEADLINES, Judged, fill_errors

Array = NDArray[np.float64]


def calibration_metrics(
    resamples: Resamples, label_NC: Labels, prob_NC: Scores, bins: int = 15, num_threads: int = 1
) -> dict[str, Array]:
    """Return every error of `calibration.errors_of`, [C, B] each. Equal-mass bins are those of the images, not redrawn.

    Raises ValueError for a probability that does not lie between 0 and 1.
    """
    if not ((prob_NC >= 0) & (prob_NC <= 1) | (label_NC < 0)).all():
        raise ValueError("probabilities lie between 0 and 1")
    num_columns, num_tiles = label_NC.shape[1], len(resamples.weight)
    out = {name: np.full((num_columns, resamples.num), np.nan) for name in ERRORS}

    def work(column: int) -> None:
        rows = taking_part(label_NC[:, column])
        rows = rows[np.argsort(-prob_NC[rows, column], kind="stable")]
        judged = Judged.of(np.asarray(prob_NC[rows, column], np.float64), bins)
        apart = Apart.over(resamples, 1, num_tiles, num_tiles)
        errors = Errors.of(resamples.patient[rows], label_NC[rows, column] == 1, [judged], bins, apart)
        apart.fill()
        for tile in range(num_tiles):
            errors.fill(tile, resamples.tile(tile))
        [found] = errors.found(resamples.num)
        for name in ERRORS:
            out[name][column] = found[name][1:]

    each(work, num_columns, num_threads)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Apart:
    """What needs no bins, of K columns: added up by patient, and over the patients for all columns and tiles at once.

    value [K, num_patients, NINE]: squared distances, log losses, images with the finding; total [K, NINE] of the sample.
    sums [T, K, NINE, LANES]: of all values in the first `num_detailed` tiles, in the others of the first value alone.
    """

    resamples: Resamples
    value: Array
    total: Array
    sums: Array
    num_detailed: int

    @classmethod
    def over(cls, resamples: Resamples, num_columns: int, num_tiles: int, num_detailed: int) -> Self:
        """Return room for values: before any is added up, each column is filled by `Errors.of`, or with 0."""
        value, total = np.empty((num_columns, resamples.num_patients, NINE)), np.zeros((num_columns, NINE))
        return cls(resamples, value, total, np.zeros((num_tiles, num_columns, NINE, LANES)), num_detailed)

    def fill(self, part: int = 0, num_parts: int = 1) -> None:
        """Add up all tiles, or one of so many parts of them."""
        if not self.value.size:
            return
        work = np.full(1 + len(self.sums), 1.0)  # of each tile, after none
        work[0], work[1 : 1 + self.num_detailed] = 0, NINE
        first, stop = np.searchsorted(work.cumsum(), work.sum() * np.array([part, part + 1]) / num_parts).tolist()
        tiles, sums = self.resamples.weight[first:stop], self.sums[first:stop]
        num = max(self.num_detailed - first, 0)
        if matrices.usable(self.value):
            matrices.add_up(self.value, self.total, tiles, self.resamples.most, num, sums)
        else:
            sum_nine(self.value, tiles[:num], sums[:num])
            if num < len(tiles):
                sums[num:, :, 0] = _sums_of_first(self.value[..., 0], tiles[num:])


def _sums_of_first(value: Array, weight: NDArray[np.uint8]) -> Array:
    """Return weight [T, num_patients, LANES] x value [K, num_patients] over all patients: [T, K, LANES]."""
    num_columns, num_patients = value.shape
    num_groups = -(-num_columns // NINE)
    beside = np.zeros((num_groups, num_patients, NINE))
    for k in range(num_columns):
        beside[k // NINE, :, k % NINE] = value[k]
    sums = np.zeros((len(weight), num_groups, NINE, LANES))
    sum_nine(beside, weight, sums)
    return sums.reshape(len(weight), num_groups * NINE, LANES)[:, :num_columns]


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Errors of up to SIDE_BY_SIDE probabilities of one column, filled tile by tile in any order: all of them in the first D tiles.

    In the others that `apart` has, Brier score and ECE of the first probability alone. `apart` is filled first.
    """

    laid: Laid
    bins: int
    apart: Apart
    at: int  # the column's place there
    out: Array  # [C, len(ERRORS), 1 + D x LANES]: of the sample first
    of_bins: Array  # [D, G, LANES]: sum of label - first probability over the images of each equal-width bin
    distance: Array  # [T - D, LANES]: sum over bins

    @classmethod
    def of(
        cls, patient: Patients, positive: Positive, judged: Sequence[Judged], bins: int, apart: Apart, at: int = 0
    ) -> Self:
        """Lay out the images [n], best along their score, and judge the sample.

        Raises ValueError for a probability that is not finite.
        """
        num = apart.num_detailed
        out = np.empty((len(judged), len(ERRORS), 1 + num * LANES))
        laid, run, apart.total[at] = Laid.of(patient, positive, judged, bins, apart.value[at])
        _judge_sample(run[..., None], laid.place, apart.total[at, :, None], bins, out)
        of_bins, distance = np.empty((num, bins, LANES)), np.zeros((len(apart.sums) - num, LANES))
        return cls(laid, bins, apart, at, out, of_bins, distance)

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Judge one tile."""
        later = tile - len(self.of_bins)
        if later < 0:
            lanes = self.out[..., 1 + tile * LANES : 1 + (tile + 1) * LANES]
            _judge(*self.laid, self.apart.sums[tile, self.at], weight, lanes, self.of_bins[tile])
        elif later < len(self.distance):
            start, place, pair, _, excess = self.laid
            _judge_first(start, place[:, 0, 0], pair, excess[0], weight, self.bins, self.distance[later])

    def found(self, num: int) -> list[dict[str, Array]]:
        """Return of each probability the errors by name, of the sample and of the first `num` replicates: [1 + num] each."""
        return [dict(zip(ERRORS, of, strict=True)) for of in self.out[..., : 1 + num]]

    def beyond(self, num_B: Array) -> dict[str, Array]:
        """Return HEADLINES in the replicates [B] after those in detail, whose images num_B counts."""
        squares = self.apart.sums[self.apart.num_detailed :, self.at, 0]
        sums = (squares.ravel()[: len(num_B)], self.distance.ravel()[: len(num_B)])
        return {name: over(each, num_B) for name, each in zip(HEADLINES, sums, strict=True)}


@compiled
def _fill_all(binned: Array, apart: Array, out: Array) -> None:
    """Fill the errors [C, len(ERRORS), W] of sums by bin [C, 2, G, 2, W]; apart [NINE, W] is what needs no bins."""
    total = np.empty((3, apart.shape[1]))
    total[0] = apart[NINE - 1]
    for c in range(binned.shape[0]):
        total[1], total[2] = apart[c], apart[SIDE_BY_SIDE + c]
        fill_errors(binned[c, 0], binned[c, 1], total, out[c])


@compiled
def _judge_sample(run: Array, place: NDArray[np.int32], apart: Array, bins: int, out: Array) -> None:
    """Fill the errors [C, len(ERRORS), 0] of the sample itself, whose runs add up to run [S, C + 1, 1]."""
    binned = np.zeros((place.shape[1], 2, bins, 2, 1))
    for s in range(run.shape[0]):
        fold(run[s], place[s], binned)
    _fill_all(binned, apart, out)


@compiled
def _judge(
    start: NDArray[np.int64],
    place: NDArray[np.int32],
    pair: Patients,
    images: Words,
    excess: Words,
    apart: Array,
    weight: NDArray[np.uint8],
    out: Array,
    of_first: Array,
) -> None:
    """Fill the errors [C, len(ERRORS), LANES] of one tile, and the sums of excess of the first probability [G, LANES].

    apart [NINE, LANES] is what needs no bins.
    """
    binned = np.zeros((place.shape[1], 2, of_first.shape[0], 2, LANES))
    sum_runs(start, place, pair, images, excess, weight, binned)
    _fill_all(binned, apart, out)
    of_first[:] = binned[0, 0, :, 1]


@compiled
def _judge_first(
    start: NDArray[np.int64],
    place: NDArray[np.int32],
    pair: Patients,
    excess: Words,
    weight: NDArray[np.uint8],
    bins: int,
    distance: Array,
) -> None:
    """Add up the distances of all bins, [LANES], of one tile, from one probability's place [S] and excess [DIGITS, m]."""
    binned = np.zeros((bins, LANES))
    sum_runs_of_one(start, place, pair, excess, weight, binned)
    for b in range(binned.shape[0]):
        for j in range(LANES):
            distance[j] += abs(binned[b, j])
