"""AUROC, AUPRC and calibration error of images that count differently: a weight per group, new in each replicate.

Shapes: n images that take part, G groups, B replicates.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import grouped_sums
from bench.scoring.calibration import bin_of
from bench.scoring.compiled import compiled
from bench.scoring.ranking import LAST_OF_TIE, POSITIVE
from bench.scoring.resamples import LANES, Resamples

Array = NDArray[np.float64]


@compiled
def _walk(
    patient: NDArray[np.int32],
    kind: NDArray[np.uint8],
    group: NDArray[np.int32],
    factor: Array,
    weight: NDArray[np.uint8],
    auroc: Array,
    auprc: Array,
) -> None:
    """Fill both metrics [LANES] from images sorted by falling score; an image weighs weight[patient] * factor[group]."""
    positives, negatives = np.zeros(LANES), np.zeros(LANES)
    tied_positives, tied_negatives = np.zeros(LANES), np.zeros(LANES)
    discordant, gained = np.zeros(LANES), np.zeros(LANES)
    in_tie = False
    for i in range(patient.shape[0]):
        w, f = weight[patient[i]], factor[group[i]]
        if kind[i] == LAST_OF_TIE and not in_tie:  # a negative alone at its score: by far the most common
            for j in range(LANES):
                negatives[j] += w[j] * f[j]
            continue
        if kind[i] & POSITIVE:
            for j in range(LANES):
                tied_positives[j] += w[j] * f[j]
        else:
            for j in range(LANES):
                tied_negatives[j] += w[j] * f[j]
        in_tie = kind[i] & LAST_OF_TIE == 0
        if not in_tie:
            for j in range(LANES):
                new = tied_positives[j]
                discordant[j] += new * (negatives[j] + 0.5 * tied_negatives[j])
                positives[j] += new
                negatives[j] += tied_negatives[j]
                gained[j] += new * positives[j] / max(positives[j] + negatives[j], 1e-300)
                tied_positives[j] = 0.0
                tied_negatives[j] = 0.0
    for j in range(LANES):
        pairs = positives[j] * negatives[j]
        auroc[j] = 1.0 - discordant[j] / pairs if pairs > 0 else np.nan
        auprc[j] = gained[j] / positives[j] if pairs > 0 else np.nan


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The images of one finding in order of falling score: patient, kind (bits of `bootstrap`), group, [n] each."""

    patient: NDArray[np.int32]
    kind: NDArray[np.uint8]
    group: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        patient: NDArray[np.int32],
        label: NDArray[np.integer],
        score: NDArray[np.floating],
        group: NDArray[np.integer],
    ) -> Self:
        """Sort images whose labels are 0 or 1."""
        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        last = np.append(ranked[1:] != ranked[:-1], True) if len(order) else np.zeros(0, bool)
        kind = np.where(label[order] == 1, POSITIVE, 0) + np.where(last, LAST_OF_TIE, 0)
        return cls(patient[order], kind.astype(np.uint8), group[order].astype(np.int32))

    def metrics(self, factor_G: Array) -> tuple[float, float]:
        """Return AUROC and AUPRC of the images as they are, those of group g weighing factor[g]."""
        num_patients = int(self.patient.max()) + 1 if len(self.patient) else 0
        auroc, auprc = np.full(LANES, np.nan), np.full(LANES, np.nan)
        lanes = np.repeat(factor_G[:, None], LANES, axis=1)
        _walk(self.patient, self.kind, self.group, lanes, np.ones((num_patients, LANES), np.uint8), auroc, auprc)
        return float(auroc[0]), float(auprc[0])

    def replicates(self, resamples: Resamples, factor_GB: Array) -> tuple[Array, Array]:
        """Return both of each replicate [B]; NaN where a class is absent."""
        num_tiles = resamples.weight.shape[0]
        padded = np.zeros((len(factor_GB), num_tiles * LANES))
        padded[:, : resamples.num] = factor_GB
        lanes = np.ascontiguousarray(padded.reshape(len(factor_GB), num_tiles, LANES).transpose(1, 0, 2))
        auroc, auprc = np.full((num_tiles, LANES), np.nan), np.full((num_tiles, LANES), np.nan)
        for tile in range(num_tiles):
            weight = resamples.tile(tile)
            _walk(self.patient, self.kind, self.group, lanes[tile], weight, auroc[tile], auprc[tile])
        return auroc.ravel()[: resamples.num], auprc.ravel()[: resamples.num]


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """Label minus probability of one finding, summed by bin and group: [bins, G], and [bins, G, B] of the replicates."""

    excess: Array
    resampled: Array

    @classmethod
    def of(
        cls,
        resamples: Resamples,
        rows: NDArray[np.intp],
        label: NDArray[np.integer],
        prob: Array,
        group: NDArray[np.integer],
        num_groups: int,
        bins: int,
    ) -> Self:
        """Sum the images `rows` [n]; label, prob and group [n] are theirs."""
        cell = bin_of(prob, bins) * num_groups + group
        distance = label - prob
        excess: Array = np.bincount(cell, distance, bins * num_groups).astype(np.float64).reshape(bins, num_groups)
        resampled = grouped_sums(resamples, rows, cell, distance[:, None], bins * num_groups)
        return cls(excess, resampled.reshape(bins, num_groups, resamples.num))

    def ece(self, factor_G: Array, factor_GB: Array) -> tuple[float, Array]:
        """Return the expected calibration error, and of each replicate [B]; the factors must make the weights sum to 1."""
        value = float(np.abs(self.excess @ factor_G).sum())
        return value, np.abs(np.einsum("cgb,gb->cb", self.resampled, factor_GB)).sum(0)
