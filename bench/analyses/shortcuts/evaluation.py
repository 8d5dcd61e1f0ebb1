"""Computation of the scores of source classifiers: balanced accuracy, AUROC and cross-entropy, with bootstrap replicates.

A source classifier predicts the source (cohort) of an image.

Shapes: N images, K sources, B replicates of patients, R repeats of a classifier.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.area_intervals import (
    ClassSizes,
    area_interval,
    effective_patients,
    mean_interval,
    paired_interval,
)
from bench.scoring.bootstrap.intervals import independent, positive_interval, share_interval
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.metrics import auroc

Array = NDArray[np.float64]
Codes = NDArray[np.int64]

NUM_RESAMPLES = 1000
FLOOR = 1e-6  # minimum probability of the true source, so that the cross-entropy of one image is at most 20 bits


@dataclass(frozen=True, slots=True, eq=False)
class ProbeScores:
    """Scores of a source classifier for n images: metric -> value, and metric -> replicates [B] over patients."""

    value: Mapping[str, float]
    replicates: Mapping[str, Array]
    num_sources: int
    n: int
    bounds: Mapping[str, tuple[float, float]]  # 95 % intervals of all metrics but bits
    patients: float  # the effective number of patients behind the balanced accuracy

    def rows(self) -> pd.DataFrame:
        """Return a table with one row per metric: metric, value, low, high (95 % interval), chance, num_sources, n.

        balanced_accuracy: chance is 1/K. bits: cross-entropy per image; chance is log2 K; lower is better. auroc: AUROC
        of one source against all others, averaged over the sources; chance is 1/2. `score_repeats` gives no auroc.
        """
        chance = {"balanced_accuracy": 1 / self.num_sources, "bits": float(np.log2(self.num_sources)), "auroc": 0.5}
        table_rows = []
        for metric, value in self.value.items():
            if metric in self.bounds:
                low, high = self.bounds[metric]
            else:
                (low,), (high,) = positive_interval(np.array([value]), self.replicates[metric][None])
            table_rows.append((metric, value, float(low), float(high), chance[metric], self.num_sources, self.n))
        return pd.DataFrame(table_rows, columns=["metric", "value", "low", "high", "chance", "num_sources", "n"])


def score_probe(
    prob_NK: Array, source: Codes, ids: NDArray[np.object_], seed: int = 0, auc: bool = True
) -> ProbeScores:
    """Return the scores of a source classifier from out-of-fold probabilities.

    `source` [N] is the true source of each image, `ids` [N] its patient. Without `auc`, the metric auroc is left out.
    """
    source_NK = (source[:, None] == np.arange(prob_NK.shape[1])).astype(np.int8)
    resamples = Resamples.draw(ids, NUM_RESAMPLES, "source_probe", seed)
    value, replicates, bounds, patients = _over_repeats(*_hits_and_bits(prob_NK, source), source, resamples, None)
    if auc:
        area, _ = bootstrap.rank_metrics(resamples, source_NK, prob_NK)
        of_sources = np.array([auroc(source_NK[:, k], prob_NK[:, k]) for k in range(prob_NK.shape[1])])
        sizes = ClassSizes.of_labels(source_NK, resamples.patient)
        value["auroc"], replicates["auroc"] = float(of_sources.mean()), area.mean(0)
        bounds["auroc"] = mean_interval("auroc", of_sources, area_interval("auroc", of_sources, area, sizes), area)
    return ProbeScores(value, replicates, prob_NK.shape[1], len(source), bounds, patients)


def score_repeats(prob_RNK: Array, source: Codes, ids: NDArray[np.object_], seed: int = 0) -> ProbeScores:
    """Return the mean scores of R classifiers; a replicate resamples both patients and classifiers.

    In prob_RNK, the probabilities of a classifier are NaN for the images on which it was trained.
    """
    hits_and_bits = [_hits_and_bits(prob_NK, source) for prob_NK in prob_RNK]
    hit_NR, bits_NR = (np.concatenate([pair[i] for pair in hits_and_bits], axis=1) for i in (0, 1))
    resamples = Resamples.draw(ids, NUM_RESAMPLES, "source_probe", seed)
    draws_BR = np.random.default_rng(seed).multinomial(
        len(hits_and_bits), np.full(len(hits_and_bits), 1 / len(hits_and_bits)), NUM_RESAMPLES
    )
    value, replicates, bounds, patients = _over_repeats(hit_NR, bits_NR, source, resamples, draws_BR)
    return ProbeScores(value, replicates, prob_RNK.shape[2], len(source), bounds, patients)


def difference(first: ProbeScores, second: ProbeScores) -> tuple[float, float, float]:
    """Return the balanced accuracy of `first` minus that of `second`, two classifiers on the same images, with its bounds.

    The 95 % interval combines those of both numbers with the correlation of their replicates, corrected for few differences
    (`paired_interval`).
    """
    metric = "balanced_accuracy"
    numbers = ((of.value[metric], *of.bounds[metric], of.replicates[metric]) for of in (first, second))
    values, lows, highs, replicates = map(np.array, zip(*numbers, strict=True))
    return float(values[0] - values[1]), *paired_interval(values, lows, highs, replicates, patients=second.patients)


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
    hit_NR: Array, bits_NR: Array, source: Codes, resamples: Resamples, draws_BR: NDArray[np.int64] | None
) -> tuple[dict[str, float], dict[str, Array], dict[str, tuple[float, float]], float]:
    """Return the values and the replicates [B] of the metrics balanced_accuracy and bits, and of the former bounds and patients.

    Balanced accuracy is a mean of shares, so its interval comes from those of the shares. A value is the mean over the images
    of each source, then over sources, then over repeats. A replicate without images of a source is NaN. draws_BR [B, R] is
    how often each repeat is drawn; None means once each.
    """
    weight_PB = resamples.weight.transpose(1, 0, 2).reshape(resamples.num_patients, -1)[:, : resamples.num]
    drawn_NB = weight_PB[resamples.patient].astype(np.float32)
    rows_of_source = [np.flatnonzero(source == k) for k in range(int(source.max()) + 1)]
    value: dict[str, float] = {}
    replicates: dict[str, Array] = {}
    for metric, value_NR in (("balanced_accuracy", hit_NR), ("bits", bits_NR)):
        finite_NR = np.isfinite(value_NR).astype(np.float32)
        filled_NR = np.nan_to_num(value_NR).astype(np.float32)
        with np.errstate(invalid="ignore"):
            value_KR = np.array(
                [filled_NR[rows].sum(0, np.float64) / finite_NR[rows].sum(0) for rows in rows_of_source]
            )
            source_KBR = [
                (drawn_NB[rows].T @ filled_NR[rows]) / (drawn_NB[rows].T @ finite_NR[rows]) for rows in rows_of_source
            ]
        value[metric] = float(value_KR.mean())
        weight_BR = np.ones(source_KBR[0].shape) if draws_BR is None else draws_BR
        of_source_KB = (np.array(source_KBR, np.float64) * weight_BR).sum(2) / weight_BR.sum(1)
        replicates[metric] = of_source_KB.mean(0)
        if metric == "balanced_accuracy":
            share_K = value_KR.mean(1)
            tested = [rows[finite_NR[rows].any(1)] for rows in rows_of_source]
            counts = [np.bincount(resamples.patient[rows], minlength=resamples.num_patients) for rows in tested]
            images_KP = np.array(counts)
            patients_K = effective_patients(images_KP)
            bounds_2K = share_interval(share_K, of_source_KB, images_KP.sum(1), patients_K)
            bounds = {metric: mean_interval(metric, share_K, bounds_2K, of_source_KB)}
    return value, replicates, bounds, float(independent(patients_K))
