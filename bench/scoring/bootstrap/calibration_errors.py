"""Calibration errors of each replicate, of several probabilities of the same images in one pass.

Images are sorted by score, so that neighbors mostly share the bins of all probabilities: a run of such images is added up
first, then put into its bins.
Shapes: n images that take part, P probabilities, B replicates, G bins, S runs, T tiles, D tiles in detail, L replicates at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.bootstrap import Labels, Scores, each
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.kernels import sum_segments
from bench.scoring.bootstrap.resamples import LANES, Resamples, one_replicate
from bench.scoring.bootstrap.sort_scores import taking_part
from bench.scoring.calibration_metrics import (
    ERRORS,
    HEADLINES,
    BinnedProbabilities,
    equal_mass_bin_of,
    fill_errors,
    log_likelihood,
)
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Patients = NDArray[np.int32]
Positive = NDArray[np.bool_]


def calibration_metrics(
    resamples: Resamples, label_NC: Labels, prob_NC: Scores, bins: int = 15, num_threads: int = 1
) -> dict[str, Array]:
    """Return every error of `calibration_metrics.errors_of`, [C, B] each. Equal-mass bins are those of the images, not redrawn.

    Raises ValueError for a probability that does not lie between 0 and 1.
    """
    if not ((prob_NC >= 0) & (prob_NC <= 1) | (label_NC < 0)).all():
        raise ValueError("probabilities lie between 0 and 1")
    num_columns, num_tiles = label_NC.shape[1], len(resamples.weight)
    out = {name: np.full((num_columns, resamples.num), np.nan) for name in ERRORS}

    def work(column: int) -> None:
        rows = taking_part(label_NC[:, column])
        rows = rows[np.argsort(-prob_NC[rows, column], kind="stable")]
        judged = BinnedProbabilities.of(np.asarray(prob_NC[rows, column], np.float64), bins)
        errors = Errors.of(resamples.patient[rows], label_NC[rows, column] == 1, [judged], bins, num_tiles, num_tiles)
        for tile in range(num_tiles):
            errors.fill(tile, resamples.tile(tile))
        [found] = errors.found(resamples.num)
        for name in ERRORS:
            out[name][column] = found[name][1:]

    each(work, num_columns, num_threads)
    return out


class Runs(NamedTuple):
    """Images in runs of neighbors that share all bins: start [S + 1], bins of each run [S, ...], patient [n], values [n, V]."""

    start: NDArray[np.int64]
    place: NDArray[np.int32]
    patient: Patients
    value: Array

    @classmethod
    def of(cls, place: NDArray[np.int32], patient: Patients, values: Sequence[Array]) -> Self:
        """Split the images, whose bins are place [n, ...], where any bin changes."""
        changed = (place[1:] != place[:-1]).any(tuple(range(1, place.ndim)))
        first = np.append(0, 1 + np.flatnonzero(changed)) if len(place) else np.empty(0, np.int64)
        return cls(np.append(first, len(place)), place[first], patient, np.stack(values, 1))

    def sums(self, weight: NDArray[np.uint8]) -> Array:
        """Return the sums of weight x value over each run: [S, V, L]."""
        out = np.zeros((len(self.place), self.value.shape[1], weight.shape[1]))
        sum_segments(self.patient, self.start, self.value, weight, out)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Errors of the probabilities of one column, filled tile by tile in any order: all of them in the first D tiles.

    In the other tiles only the HEADLINES of the first probability.
    """

    detailed: Runs  # values: excess, squared distance and log loss of each probability; then 1, and 1 for a positive
    brief: Runs  # of the first probability: excess, squared distance, 1
    bins: int
    out: Array  # [P, len(ERRORS), 1 + D x LANES]: of the sample first
    headlines: Array  # [len(HEADLINES), T - D, LANES]

    @classmethod
    def of(
        cls,
        patient: Patients,
        positive: Positive,
        judged: Sequence[BinnedProbabilities],
        bins: int,
        num_tiles: int,
        num_detailed: int,
    ) -> Self:
        """Return room for the errors of the images [n], best sorted by score, with those of the sample filled in.

        Raises ValueError for a probability that is not finite.
        """
        for of in judged:
            require_finite(of.prob, "probabilities")
        place = [np.stack([of.bin, equal_mass_bin_of(of.prob, bins)], 1) for of in judged]
        excess = [positive - of.prob for of in judged]
        squared = [distance**2 for distance in excess]
        loss = [-log_likelihood(positive, of.prob) for of in judged]
        one = np.ones(len(patient))
        detailed = Runs.of(np.stack(place, 1), patient, [*excess, *squared, *loss, one, positive.astype(np.float64)])
        brief = Runs.of(judged[0].bin, patient, [excess[0], squared[0], one])
        out = np.empty((len(judged), len(ERRORS), 1 + num_detailed * LANES))
        found = cls(detailed, brief, bins, out, np.empty((len(HEADLINES), num_tiles - num_detailed, LANES)))
        found._judge(one_replicate(int(patient.max(initial=-1)) + 1), out[..., :1])
        return found

    def _judge(self, weight: NDArray[np.uint8], out: Array) -> None:
        """Fill all errors [P, len(ERRORS), L] of the replicates of weight [num_patients, L]."""
        _errors_of_runs(self.detailed.sums(weight), self.detailed.place, self.bins, out)

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Judge one tile."""
        later = tile - (self.out.shape[2] - 1) // LANES
        if later < 0:
            self._judge(weight, self.out[..., 1 + tile * LANES : 1 + (tile + 1) * LANES])
        elif later < self.headlines.shape[1]:
            sums = self.brief.sums(weight)
            binned = np.zeros((self.bins, LANES))
            np.add.at(binned, self.brief.place, sums[:, 0])
            _, squared, num = sums.sum(0)
            with np.errstate(invalid="ignore"):  # NaN in a replicate without images
                self.headlines[:, later] = squared / num, np.abs(binned).sum(0) / num

    def found(self, num: int) -> list[dict[str, Array]]:
        """Return of each probability the errors by name, of the sample and of the first `num` replicates: [1 + num] each."""
        return [dict(zip(ERRORS, of, strict=True)) for of in self.out[..., : 1 + num]]

    def beyond(self, num: int) -> dict[str, Array]:
        """Return the HEADLINES in the first `num` replicates after those in detail."""
        return {name: of.ravel()[:num] for name, of in zip(HEADLINES, self.headlines, strict=True)}


@compiled
def _errors_of_runs(sums: Array, place: NDArray[np.int32], bins: int, out: Array) -> None:
    """Fill the errors [P, len(ERRORS), L] from the sums of each run [S, 3 P + 2, L], whose bins are place [S, P, 2]."""
    num_runs, num_values, lanes = sums.shape
    num_probs = place.shape[1]
    total, of_prob = np.zeros((num_values, lanes)), np.empty((3, lanes))
    for s in range(num_runs):
        for v in range(num_values):
            for j in range(lanes):
                total[v, j] += sums[s, v, j]
    for c in range(num_probs):
        wide, mass = np.zeros((bins, 2, lanes)), np.zeros((bins, 2, lanes))  # images and excess of each bin
        for s in range(num_runs):
            w, m = place[s, c, 0], place[s, c, 1]
            for j in range(lanes):
                images, excess = sums[s, 3 * num_probs, j], sums[s, c, j]
                wide[w, 0, j] += images
                wide[w, 1, j] += excess
                mass[m, 0, j] += images
                mass[m, 1, j] += excess
        for j in range(lanes):
            of_prob[0, j] = total[3 * num_probs + 1, j]
            of_prob[1, j], of_prob[2, j] = total[num_probs + c, j], total[2 * num_probs + c, j]
        fill_errors(wide, mass, of_prob, out[c])
