"""Computation of calibration errors of each replicate, for several sets of predicted probabilities in one pass.

All sets belong to the same images: uncalibrated probabilities, and those of each calibrator. Images are sorted by score,
so most neighbors share their bins in all sets. Neighbors with equal bins form a segment. The images of a segment are
summed first, and then the sum is added to the segment's bins.
A column has the labels and probabilities of one finding of one run. A tile is a group of LANES (64) replicates.
HEADLINES are the errors brier and ece.
Shapes: N images, n labeled images, P sets of probabilities, C columns, B replicates, S segments, G bins, V values, T
tiles, D tiles with all errors, L replicates that are computed together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.kernels import sum_segments
from bench.scoring.bootstrap.resamples import LANES, one_replicate
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


class Segments(NamedTuple):
    """Sorted images, divided into segments; a segment has neighboring images that share all bins."""

    start: NDArray[np.int64]  # [S + 1]: index of the first image of each segment, then the number of images
    bins: NDArray[np.int32]  # [K, S]: the K bins (one of each kind of bins) that the images of a segment share
    patient: Patients  # [n]: patient of each image
    value: Array  # [V, n]: V values of each image

    @classmethod
    def of(cls, bins_of_image: Sequence[NDArray[np.int32]], patient: Patients, values: Sequence[Array]) -> Self:
        """Divide images into segments; a new segment begins where any of an image's K bins changes.

        bins_of_image: K arrays [n]. values: V arrays [n].
        """
        bins = np.stack(bins_of_image)
        changed = (bins[:, 1:] != bins[:, :-1]).any(0)
        first = np.append(0, 1 + np.flatnonzero(changed)) if len(patient) else np.empty(0, np.int64)
        return cls(np.append(first, len(patient)), np.ascontiguousarray(bins[:, first]), patient, np.stack(values))

    @classmethod
    def of_groups(cls, group: NDArray[np.integer], patient: Patients, value: Array, num_groups: int) -> Self:
        """Return a segment for each group of images [n] that is not empty; the bin of a segment is its group."""
        order = np.argsort(group.astype(np.min_scalar_type(num_groups)), kind="stable")  # small integers sort faster
        return cls.of([np.asarray(group[order], np.int32)], patient[order], [value[order]])

    @classmethod
    def of_patients(cls, patient: Patients, num_patients: int, values: Sequence[Array | Positive]) -> Self:
        """Return one segment with patients instead of images; a patient's values are sums over the patient's images.

        A sum over all images needs no bins. Such a sum is faster over patients, because there are fewer patients than
        images.
        """
        totals = [np.asarray(np.bincount(patient, value, num_patients), np.float64) for value in values]
        return cls.of([np.zeros(num_patients, np.int32)], np.arange(num_patients, dtype=np.int32), totals)

    def sums(self, weight: NDArray[np.uint8]) -> Array:
        """Compute the sum of weight x value over the images of each segment: [S, V, L]."""
        out = np.zeros((self.bins.shape[1], len(self.value), weight.shape[1]))
        sum_segments(self.patient, self.start, self.value, weight, out)
        return out

    def totals(self, weight: NDArray[np.uint8]) -> Array:
        """Compute the sum of weight x value over all images: [V, L]."""
        return np.asarray(self.sums(weight).sum(0))


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Calibration errors of one finding in each replicate, for P sets of probabilities, such as raw and calibrated ones.

    `fill` computes one tile (LANES replicates) of T tiles; tiles may be computed in any order. The first D tiles have
    all errors of all sets. The other tiles have only the HEADLINES of the first of the P sets. The excess of an image
    is its label minus its probability.
    """

    detailed: Segments  # values of an image: its excess in each set, then the number 1
    patients: Segments  # values of a patient: sum of squared excesses in each set, then sum of the log loss in each set
    headline: Segments  # value of an image: its excess in the first set
    headline_patients: Segments  # value of a patient: sum of squared excesses in the first set
    bins: int
    out: Array  # [P, len(ERRORS), 1 + D x LANES]: errors of the original sample, then of the replicates
    headlines: Array  # [len(HEADLINES), T - D, LANES]

    @classmethod
    def of(
        cls,
        patient: Patients,
        positive: Positive,
        probabilities: Sequence[BinnedProbabilities],
        bins: int,
        num_tiles: int,
        num_detailed: int,
    ) -> Self:
        """Prepare the computation for images [n], and compute the errors of the original sample.

        The computation is fastest if the images are sorted by score. Raises ValueError if a probability is not finite.
        """
        for p in probabilities:
            require_finite(p.prob, "probabilities")
        bins_of_image = [bin_n for p in probabilities for bin_n in (p.bin, equal_mass_bin_of(p.prob, bins))]
        excess = [positive - p.prob for p in probabilities]
        squared = [distance**2 for distance in excess]
        loss = [-log_likelihood(positive, p.prob) for p in probabilities]
        one, num_patients = np.ones(len(patient)), int(patient.max(initial=-1)) + 1
        patients = Segments.of_patients(patient, num_patients, [*squared, *loss])
        errors = cls(
            Segments.of(bins_of_image, patient, [*excess, one]),
            patients,
            Segments.of([probabilities[0].bin], patient, [excess[0]]),
            patients._replace(value=patients.value[:1]),
            bins,
            np.empty((len(probabilities), len(ERRORS), 1 + num_detailed * LANES)),
            np.empty((len(HEADLINES), num_tiles - num_detailed, LANES)),
        )
        num_positive = np.count_nonzero(positive)
        num_of_class = np.array([[len(patient) - num_positive], [num_positive]], np.float64)
        errors._fill_detailed(one_replicate(num_patients), num_of_class, errors.out[..., :1])
        return errors

    def _fill_detailed(self, weight: NDArray[np.uint8], num_of_class: Array, out: Array) -> None:
        """Compute all errors from weight [num_patients, L], and write them to out [P, len(ERRORS), L]."""
        sums, totals = self.detailed.sums(weight), self.patients.totals(weight)
        _errors_of_segments(sums, self.detailed.bins, totals, num_of_class[1], self.bins, out)

    def fill(self, tile: int, weight: NDArray[np.uint8], num_of_class: Array) -> None:
        """Compute the errors of one tile from its weights and its numbers of negatives and of positives [2, LANES].

        weight [num_patients, LANES]: how often each patient was drawn in each replicate of the tile.
        """
        later = tile - (self.out.shape[2] - 1) // LANES
        if later < 0:
            self._fill_detailed(weight, num_of_class, self.out[..., 1 + tile * LANES : 1 + (tile + 1) * LANES])
        elif later < self.headlines.shape[1]:
            excess = _absolute_sum(self.headline.sums(weight), self.headline.bins[0], self.bins)
            [squared], num_images = self.headline_patients.totals(weight), num_of_class.sum(0)
            with np.errstate(invalid="ignore"):  # the result of a replicate without images is 0 / 0 and becomes NaN
                self.headlines[:, later] = squared / num_images, excess / num_images

    def results(self, num: int) -> list[dict[str, Array]]:
        """Return a dict for each set of probabilities: name -> errors [1 + num].

        The first error is that of the original sample; the other errors are those of the replicates.
        """
        return [dict(zip(ERRORS, errors, strict=True)) for errors in self.out[..., : 1 + num]]

    def later_headlines(self, num: int) -> dict[str, Array]:
        """Return the HEADLINES, name -> errors [num], of the first `num` replicates after the D tiles with all errors."""
        return {name: errors.ravel()[:num] for name, errors in zip(HEADLINES, self.headlines, strict=True)}


@compiled
def _absolute_sum(excess_S1L: Array, bin_of_segment: NDArray[np.int32], bins: int) -> Array:
    """Compute for each replicate the sum over bins of the absolute excess of a bin: [L].

    The excess of a bin is the sum of excess_S1L [S, 1, L] over the segments in this bin.
    """
    lanes = excess_S1L.shape[2]
    binned, out = np.zeros((bins, lanes)), np.zeros(lanes)
    for s in range(bin_of_segment.shape[0]):
        for j in range(lanes):
            binned[bin_of_segment[s], j] += excess_S1L[s, 0, j]
    for g in range(bins):
        for j in range(lanes):
            out[j] += abs(binned[g, j])
    return out


@compiled
def _errors_of_segments(
    sums: Array, bins_of_segment: NDArray[np.int32], total: Array, num_positive: Array, bins: int, out: Array
) -> None:
    """Compute all errors from sums over segments, and write them to out [P, len(ERRORS), L].

    The excess of an image is its label minus its probability.
    sums [S, P + 1, L]: for each segment, the sum of the excess in each of P sets, then the number of images.
    bins_of_segment [2 P, S]: for each set, index of the equal-width bin, then index of the equal-mass bin.
    total [2 P, L]: sum of squared excesses in each set, then sum of the log loss in each set.
    num_positive [L]: number of positive images.
    """
    num_segments, _, lanes = sums.shape
    num_sets = bins_of_segment.shape[0] // 2
    total_of_set = np.empty((3, lanes))
    for c in range(num_sets):
        wide, mass = np.zeros((bins, 2, lanes)), np.zeros((bins, 2, lanes))  # number of images and excess of each bin
        for s in range(num_segments):
            w, m = bins_of_segment[2 * c, s], bins_of_segment[2 * c + 1, s]
            for j in range(lanes):
                images, excess = sums[s, num_sets, j], sums[s, c, j]
                wide[w, 0, j] += images
                wide[w, 1, j] += excess
                mass[m, 0, j] += images
                mass[m, 1, j] += excess
        for j in range(lanes):
            total_of_set[0, j] = num_positive[j]
            total_of_set[1, j], total_of_set[2, j] = total[c, j], total[num_sets + c, j]
        fill_errors(wide, mass, total_of_set, out[c])
