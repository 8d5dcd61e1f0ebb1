"""Computation of the scores of source classifiers: balanced accuracy, AUROC and cross-entropy, with intervals.

A source classifier predicts the source (cohort) of an image.

Shapes: N images, K sources, P patients, R repeats of a classifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.area_intervals import ClassSizes, area_interval, effective_patients, mean_interval, paired_interval
from bench.scoring.column import Column
from bench.scoring.influence import correlations, error_of, half_width
from bench.scoring.intervals import independent, positive_interval, share_interval
from bench.scoring.metrics import auroc
from bench.scoring.sample import Sample

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

FLOOR = 1e-6  # minimum probability of the true source, so that the cross-entropy of one image is at most 20 bits


@dataclass(frozen=True, slots=True, eq=False)
class ProbeScores:
    """Scores of a source classifier for n images: metric -> value, and metric -> influences [P] or [P + R] of patients and repeats."""

    value: Mapping[str, float]
    influence: Mapping[str, Array]
    num_sources: int
    n: int
    bounds: Mapping[str, tuple[float, float]]  # 95 % intervals
    patients: float  # the effective number of patients behind the balanced accuracy

    def rows(self) -> pd.DataFrame:
        """Return a table with one row per metric: metric, value, low, high (95 % interval), chance, num_sources, n.

        balanced_accuracy: chance is 1/K. bits: cross-entropy per image; chance is log2 K; lower is better. auroc: AUROC
        of one source against all others, averaged over the sources; chance is 1/2. `score_repeats` gives no auroc.
        """
        chance = {"balanced_accuracy": 1 / self.num_sources, "bits": float(np.log2(self.num_sources)), "auroc": 0.5}
        table_rows = [
            (metric, value, *self.bounds[metric], chance[metric], self.num_sources, self.n)
            for metric, value in self.value.items()
        ]
        return pd.DataFrame(table_rows, columns=["metric", "value", "low", "high", "chance", "num_sources", "n"])


def score_probe(prob_NK: Array, source: Codes, ids: NDArray[np.object_]) -> ProbeScores:
    """Return the scores of a source classifier from out-of-fold probabilities.

    `source` [N] is the true source of each image, `ids` [N] its patient.
    """
    sample = Sample.of(ids, "source_probe")
    value, influence, bounds, patients = _over_repeats(*_hits_and_bits(prob_NK, source), source, sample)
    source_NK = (source[:, None] == np.arange(prob_NK.shape[1])).astype(np.int8)
    columns = [Column.of(sample.patient, *of_source) for of_source in zip(source_NK.T, prob_NK.T, strict=True)]
    influence_KP = np.stack([sample.sums(column.auroc()[1], column.rows) for column in columns])
    of_sources = np.array([auroc(*of_source) for of_source in zip(source_NK.T, prob_NK.T, strict=True)])
    value["auroc"], influence["auroc"] = float(of_sources.mean()), influence_KP.mean(0)
    sizes = ClassSizes.of_labels(source_NK, sample.patient)
    bounds_2K = area_interval("auroc", of_sources, error_of(influence_KP), sizes)
    bounds["auroc"] = mean_interval("auroc", of_sources, bounds_2K, correlations(influence_KP @ influence_KP.T))
    return ProbeScores(value, influence, prob_NK.shape[1], len(source), bounds, patients)


def score_repeats(prob_RNK: Array, source: Codes, ids: NDArray[np.object_]) -> ProbeScores:
    """Return the mean scores of R classifiers, with intervals over both patients and classifiers.

    In prob_RNK, the probabilities of a classifier are NaN for the images on which it was trained.
    """
    hits_and_bits = [_hits_and_bits(prob_NK, source) for prob_NK in prob_RNK]
    hit_NR, bits_NR = (np.concatenate([pair[i] for pair in hits_and_bits], axis=1) for i in (0, 1))
    value, influence, bounds, patients = _over_repeats(hit_NR, bits_NR, source, Sample.of(ids, "source_probe"))
    return ProbeScores(value, influence, prob_RNK.shape[2], len(source), bounds, patients)


def difference(first: ProbeScores, second: ProbeScores) -> tuple[float, float, float]:
    """Return the difference `first` - `second` in balanced accuracy, with its bounds; both classify the same images.

    The 95 % interval combines the intervals of both numbers with the correlation of their influences, corrected for few differences
    (`paired_interval`).
    """
    metric = "balanced_accuracy"
    numbers = ((scores.value[metric], *scores.bounds[metric]) for scores in (first, second))
    values, lows, highs = map(np.array, zip(*numbers, strict=True))
    influence_2P = np.stack([scores.influence[metric] for scores in (first, second)])
    correlation = float(correlations(influence_2P @ influence_2P.T)[0, 1])
    return float(values[0] - values[1]), *paired_interval(values, lows, highs, correlation, patients=second.patients)


def confusion(prob_NK: Array, source: Codes, names: tuple[str, ...]) -> pd.DataFrame:
    """Return the confusion table: source, named (the predicted source), count, share (count / images of the source)."""
    count_KK = np.zeros((len(names), len(names)), np.int64)
    np.add.at(count_KK, (source, prob_NK.argmax(1)), 1)
    total_K = np.maximum(count_KK.sum(1), 1)
    table_rows = [
        (names[i], names[j], int(count_KK[i, j]), float(count_KK[i, j] / total_K[i]))
        for i in range(len(names))
        for j in range(len(names))
    ]
    return pd.DataFrame(table_rows, columns=["source", "named", "count", "share"])


def _hits_and_bits(prob_NK: Array, source: Codes) -> tuple[Array, Array]:
    """Return two arrays [N, 1] with the hit and the bits of each image.

    A hit is 1 if the prediction is correct, else 0. The bits are -log2 of the probability of the true source. Both are
    NaN for images without probabilities.
    """
    own_probability = prob_NK[np.arange(len(source)), source]
    bits = -np.log2(np.maximum(own_probability, FLOOR))
    hit = np.where(np.isfinite(own_probability), np.nan_to_num(prob_NK).argmax(1) == source, np.nan)
    return hit[:, None], bits[:, None]


def _over_repeats(
    hit_NR: Array, bits_NR: Array, source: Codes, sample: Sample
) -> tuple[dict[str, float], dict[str, Array], dict[str, tuple[float, float]], float]:
    """Return values, influences [P + R] and bounds of balanced_accuracy and bits, and the effective number of patients.

    Balanced accuracy is a mean of shares, so its interval comes from the intervals of the shares. A value is the mean over the images
    of each source, then over sources, then over repeats. The R repeats have influences, too, because other classifiers would
    have other scores.
    """
    rows_of_source = [np.flatnonzero(source == k) for k in range(int(source.max()) + 1)]
    value: dict[str, float] = {}
    influence: dict[str, Array] = {}
    bounds: dict[str, tuple[float, float]] = {}
    for metric, value_NR in (("balanced_accuracy", hit_NR), ("bits", bits_NR)):
        finite_NR = np.isfinite(value_NR).astype(np.float32)
        filled_NR = np.nan_to_num(value_NR).astype(np.float32)
        with np.errstate(invalid="ignore"):
            value_KR = np.array(
                [filled_NR[rows].sum(0, np.float64) / finite_NR[rows].sum(0) for rows in rows_of_source]
            )
            of_images = [
                ((filled_NR[rows] - mean_R * finite_NR[rows]) / finite_NR[rows].sum(0)).mean(1)
                for rows, mean_R in zip(rows_of_source, value_KR, strict=True)
            ]
        value[metric] = float(value_KR.mean())
        share_K = value_KR.mean(1)
        of_patients = [sample.sums(*of_source) for of_source in zip(of_images, rows_of_source, strict=True)]
        of_repeats = (value_KR - share_K[:, None]) / value_KR.shape[1]
        influence_K = np.concatenate([np.stack(of_patients), of_repeats], 1)
        influence[metric] = influence_K.mean(0)
        if metric == "balanced_accuracy":
            tested = [rows[finite_NR[rows].any(1)] for rows in rows_of_source]
            counts = [np.bincount(sample.patient[rows], minlength=sample.num_patients) for rows in tested]
            images_KP = np.array(counts)
            patients_K = effective_patients(images_KP)
            bounds_2K = share_interval(share_K, error_of(influence_K), images_KP.sum(1), patients_K)
            bounds[metric] = mean_interval(metric, share_K, bounds_2K, correlations(influence_K @ influence_K.T))
        else:
            low, high = positive_interval(np.array(value[metric]), half_width(influence[metric]))
            bounds[metric] = float(low), float(high)
    return value, influence, bounds, float(independent(patients_K))
