"""Images of one finding in order of falling score, sorted once and read by everything that ranks, cuts or calls.

Shapes: n images that take part, Q cuts.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.compiled import compiled
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

POSITIVE, LAST_OF_TIE = 1, 2  # bits


@compiled
def _radix(bits: NDArray[np.uint32]) -> Rows:
    """Return the stable order of falling float32 from their bits: three passes over 11 of them each."""
    num = bits.shape[0]
    key = np.empty(num, np.uint32)
    for i in range(num):
        b = bits[i]
        if b == np.uint32(0x80000000):  # -0 is 0
            b = np.uint32(0)
        key[i] = b if b >> np.uint32(31) else np.uint32(0x7FFFFFFF) - b
    order, other = np.arange(num), np.empty(num, np.int64)
    for step in range(3):
        shift = np.uint32(11 * step)
        start = np.zeros(2049, np.int64)
        for i in range(num):
            start[np.int64((key[i] >> shift) & np.uint32(2047)) + 1] += 1
        for i in range(2048):
            start[i + 1] += start[i]
        for i in range(num):
            digit = np.int64((key[order[i]] >> shift) & np.uint32(2047))
            other[start[digit]] = order[i]
            start[digit] += 1
        order, other = other, order
    return order


def falling(score: NDArray[np.floating]) -> Rows:
    """Return the rows [N] from the highest score to the lowest, equal ones in their own order."""
    if score.dtype == np.float32:
        return np.asarray(_radix(np.ascontiguousarray(score).view(np.uint32)), np.intp)
    return np.argsort(-score, kind="stable")


@compiled
def _discordant(kind: NDArray[np.uint8]) -> int:
    """Return twice the pairs that stand the wrong way round, a tie being half of one."""
    negatives, tied_positives, tied_negatives, twice = 0, 0, 0, 0
    for i in range(kind.shape[0]):
        if kind[i] & POSITIVE:
            tied_positives += 1
        else:
            tied_negatives += 1
        if kind[i] & LAST_OF_TIE:
            twice += tied_positives * (2 * negatives + tied_negatives)
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    return twice


@compiled
def _last_of_ties(score: NDArray[np.floating], kind: NDArray[np.uint8]) -> None:
    """Set the bit of each image whose score the next one does not have."""
    for i in range(score.shape[0]):
        if i + 1 == score.shape[0] or score[i] != score[i + 1]:
            kind[i] |= np.uint8(LAST_OF_TIE)


@compiled
def _chosen(
    mask: NDArray[np.bool_],
    rows: Rows,
    patient: NDArray[np.int32],
    score: NDArray[np.floating],
    kind: NDArray[np.uint8],
) -> tuple[Rows, NDArray[np.int32], NDArray[np.floating], NDArray[np.uint8]]:
    """Return what a column keeps of itself where the mask [N] holds; ties are not marked."""
    num = 0
    for i in range(rows.shape[0]):
        num += mask[rows[i]]
    out = np.empty(num, rows.dtype), np.empty(num, np.int32), np.empty(num, score.dtype), np.empty(num, np.uint8)
    at = 0
    for i in range(rows.shape[0]):
        if mask[rows[i]]:
            out[0][at], out[1][at], out[2][at] = rows[i], patient[i], score[i]
            out[3][at] = kind[i] & np.uint8(POSITIVE)
            at += 1
    return out


@compiled
def _placements(kind: NDArray[np.uint8]) -> Array:
    """Return [n]: of a positive the negatives below it, of a negative the positives above it; a tie is half a one."""
    out = np.empty(kind.shape[0])
    num_negative = 0
    for i in range(kind.shape[0]):
        num_negative += 0 if kind[i] & POSITIVE else 1
    positives, negatives, tied_positives, tied_negatives, start = 0, 0, 0, 0, 0
    for i in range(kind.shape[0]):
        if kind[i] & POSITIVE:
            tied_positives += 1
        else:
            tied_negatives += 1
        if kind[i] & LAST_OF_TIE:
            for j in range(start, i + 1):
                if kind[j] & POSITIVE:
                    out[j] = num_negative - negatives - 0.5 * tied_negatives
                else:
                    out[j] = positives + 0.5 * tied_positives
            positives += tied_positives
            negatives += tied_negatives
            tied_positives, tied_negatives, start = 0, 0, i + 1
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """What takes part of one finding, by falling score: row, patient, score and kind (bits), [n] each."""

    rows: Rows
    patient: NDArray[np.int32]
    score: NDArray[np.floating]
    kind: NDArray[np.uint8]

    @classmethod
    def of(
        cls,
        patient: NDArray[np.int32],
        label: NDArray[np.int8],
        score: NDArray[np.floating],
    ) -> Self:
        """Sort the images whose label is 0 or 1; raises ValueError for a score of these that is not finite."""
        every = np.flatnonzero((label == 0) | (label == 1))
        require_finite(score[every], "scores")
        rows = every[falling(score[every])]
        positive = label[rows] == 1
        ranked = score[rows]
        kind = positive.astype(np.uint8)
        _last_of_ties(ranked, kind)
        return cls(rows, patient[rows], ranked, kind)

    def within(self, mask_N: NDArray[np.bool_]) -> Self:
        """Return the same without the images that the mask [N] leaves out."""
        found = _chosen(mask_N, self.rows, self.patient, self.score, self.kind)
        _last_of_ties(found[2], found[3])
        return type(self)(*found)

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Return which have the finding, [n]."""
        return np.asarray((self.kind & POSITIVE) == 1)

    def areas(self) -> tuple[float, float]:
        """Return AUROC and AUPRC; NaN without both classes."""
        positive = self.positive
        num_positive = int(positive.sum())
        twice_pairs = 2 * num_positive * (len(positive) - num_positive)
        if not twice_pairs:
            return float("nan"), float("nan")
        last = np.flatnonzero(self.kind & LAST_OF_TIE)
        found = np.cumsum(positive)[last]
        gained = (np.diff(found, prepend=0) * (found / (last + 1))).sum()
        return (twice_pairs - _discordant(self.kind)) / twice_pairs, float(gained / num_positive)

    def placements(self) -> tuple[Array, Array]:
        """Return how many negatives lie below each positive, and positives above each negative (ties count half)."""
        found, positive = _placements(self.kind), self.positive
        return found[positive], found[~positive]

    def reaching(self, threshold_Q: Array) -> NDArray[np.int64]:
        """Return how many images reach each threshold [Q]: they are the first ones."""
        rising = -self.score.astype(np.float64)
        return np.searchsorted(rising, -threshold_Q, side="right").astype(np.int64)

    def counted(self, cut_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return negatives and positives among the first images, [Q, 2]."""
        positives = np.append(0, np.cumsum(self.positive))[cut_Q]
        return np.stack([cut_Q - positives, positives], 1).astype(np.int64)
