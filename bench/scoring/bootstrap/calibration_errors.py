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

from bench.scoring.bootstrap.bootstrap import Labels, Scores, run_in_threads
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.kernels import sum_segments
from bench.scoring.bootstrap.resamples import LANES, Resamples, one_replicate
from bench.scoring.bootstrap.sort_scores import labeled_rows
from bench.scoring.calibration_metrics import ERRORS, HEADLINES, Judged, equal_mass_bin_of, fill_errors, log_of_told
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
        rows = labeled_rows(label_NC[:, column])
        rows = rows[np.argsort(-prob_NC[rows, column], kind="stable")]
        judged = Judged.of(np.asarray(prob_NC[rows, column], np.float64), bins)
        errors = Errors.of(resamples.patient[rows], label_NC[rows, column] == 1, [judged], bins, num_tiles, num_tiles)
        for tile in range(num_tiles):
            errors.fill(tile, resamples.tile(tile))
        [found] = errors.results(resamples.num)
        for name in ERRORS:
            out[name][column] = found[name][1:]

    run_in_threads(work, num_columns, num_threads)
    return out


class Runs(NamedTuple):
    """Images in runs of neighbors that share all bins: start [S + 1], bins of each run [S, ...], patient [n], values [n, V]."""

    start: NDArray[np.int64]
    bin: NDArray[np.int32]
    patient: Patients
    value: Array

    @classmethod
    def of(cls, bin_of_image: NDArray[np.int32], patient: Patients, values: Sequence[Array]) -> Self:
        """Split the images, whose bins are bin_of_image [n, ...], where any bin changes."""
        changed = (bin_of_image[1:] != bin_of_image[:-1]).any(tuple(range(1, bin_of_image.ndim)))
        first = np.append(0, 1 + np.flatnonzero(changed)) if len(bin_of_image) else np.empty(0, np.int64)
        return cls(np.append(first, len(bin_of_image)), bin_of_image[first], patient, np.stack(values, 1))

    @classmethod
    def of_patients(cls, patient: Patients, num_patients: int, values: Sequence[Array]) -> Self:
        """Add up the values of each patient's images, for sums that need no bins: there are fewer patients than images."""
        totals = [np.asarray(np.bincount(patient, value, num_patients), np.float64) for value in values]
        return cls.of(np.zeros(num_patients, np.int32), np.arange(num_patients, dtype=np.int32), totals)

    def sums(self, weight: NDArray[np.uint8]) -> Array:
        """Return the sums of weight x value over each run: [S, V, L]."""
        out = np.zeros((len(self.bin), self.value.shape[1], weight.shape[1]))
        sum_segments(self.patient, self.start, self.value, weight, out)
        return out

    def totals(self, weight: NDArray[np.uint8]) -> Array:
        """Return the sums of weight x value over all runs: [V, L]."""
        return np.asarray(self.sums(weight).sum(0))


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Errors of the probabilities of one column, filled tile by tile in any order: all of them in the first D tiles.

    In the other tiles only the HEADLINES of the first probability.
    """

    detailed: Runs  # values: excess of each probability, then 1
    patients: Runs  # values: squared distance and log loss of each probability, then 1 for a positive
    headline: Runs  # values: excess of the first probability, then 1
    headline_patients: Runs  # value: squared distance of the first probability
    bins: int
    out: Array  # [P, len(ERRORS), 1 + D x LANES]: of the sample first
    headlines: Array  # [len(HEADLINES), T - D, LANES]

    @classmethod
    def of(
        cls,
        patient: Patients,
        positive: Positive,
        judged: Sequence[Judged],
        bins: int,
        num_tiles: int,
        num_detailed: int,
    ) -> Self:
        """Return room for the errors of the images [n], best sorted by score, with those of the sample filled in.

        Raises ValueError for a probability that is not finite.
        """
        for of in judged:
            require_finite(of.prob, "probabilities")
        bin_of_image = [np.stack([of.place, equal_mass_bin_of(of.prob, bins)], 1) for of in judged]
        excess = [positive - of.prob for of in judged]
        squared = [distance**2 for distance in excess]
        loss = [-log_of_told(positive, of.prob) for of in judged]
        one, num_patients = np.ones(len(patient)), int(patient.max(initial=-1)) + 1
        errors = cls(
            Runs.of(np.stack(bin_of_image, 1), patient, [*excess, one]),
            Runs.of_patients(patient, num_patients, [*squared, *loss, positive.astype(np.float64)]),
            Runs.of(judged[0].place, patient, [excess[0], one]),
            Runs.of_patients(patient, num_patients, [squared[0]]),
            bins,
            np.empty((len(judged), len(ERRORS), 1 + num_detailed * LANES)),
            np.empty((len(HEADLINES), num_tiles - num_detailed, LANES)),
        )
        errors._fill_detailed(one_replicate(num_patients), errors.out[..., :1])
        return errors

    def _fill_detailed(self, weight: NDArray[np.uint8], out: Array) -> None:
        """Fill all errors [P, len(ERRORS), L] of the replicates of weight [num_patients, L]."""
        _errors_of_runs(self.detailed.sums(weight), self.detailed.bin, self.patients.totals(weight), self.bins, out)

    def fill(self, tile: int, weight: NDArray[np.uint8]) -> None:
        """Fill the errors of one tile."""
        later = tile - (self.out.shape[2] - 1) // LANES
        if later < 0:
            self._fill_detailed(weight, self.out[..., 1 + tile * LANES : 1 + (tile + 1) * LANES])
        elif later < self.headlines.shape[1]:
            sums = self.headline.sums(weight)
            binned = np.zeros((self.bins, LANES))
            np.add.at(binned, self.headline.bin, sums[:, 0])
            num_images, [squared] = sums[:, 1].sum(0), self.headline_patients.totals(weight)
            with np.errstate(invalid="ignore"):  # NaN in a replicate without images
                self.headlines[:, later] = squared / num_images, np.abs(binned).sum(0) / num_images

    def results(self, num: int) -> list[dict[str, Array]]:
        """Return of each probability the errors by name, of the sample and of the first `num` replicates: [1 + num] each."""
        return [dict(zip(ERRORS, of, strict=True)) for of in self.out[..., : 1 + num]]

    def later_headlines(self, num: int) -> dict[str, Array]:
        """Return the HEADLINES in the first `num` replicates after those in detail."""
        return {name: of.ravel()[:num] for name, of in zip(HEADLINES, self.headlines, strict=True)}


@compiled
def _errors_of_runs(sums: Array, bin_of_run: NDArray[np.int32], total: Array, bins: int, out: Array) -> None:
    """Fill the errors [P, len(ERRORS), L].

    sums [S, P + 1, L]: excess of each probability and number of images of each run, whose bins are bin_of_run [S, P, 2].
    total [2 P + 1, L]: squared distances, log losses, and number of positives.
    """
    num_runs, _, lanes = sums.shape
    num_probs = bin_of_run.shape[1]
    of_prob = np.empty((3, lanes))
    for c in range(num_probs):
        wide, mass = np.zeros((bins, 2, lanes)), np.zeros((bins, 2, lanes))  # images and excess of each bin
        for s in range(num_runs):
            w, m = bin_of_run[s, c, 0], bin_of_run[s, c, 1]
            for j in range(lanes):
                images, excess = sums[s, num_probs, j], sums[s, c, j]
                wide[w, 0, j] += images
                wide[w, 1, j] += excess
                mass[m, 0, j] += images
                mass[m, 1, j] += excess
        for j in range(lanes):
            of_prob[0, j] = total[2 * num_probs, j]
            of_prob[1, j], of_prob[2, j] = total[c, j], total[num_probs + c, j]
        fill_errors(wide, mass, of_prob, out[c])
