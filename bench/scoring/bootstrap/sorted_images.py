"""Images of one finding in order of falling score, sorted once and read by everything that ranks, cuts or calls.

Shapes: n images that take part, Q cuts.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sort_scores import Rows, known_falling

Array = NDArray[np.float64]

POSITIVE, LAST_OF_TIE = 1, 2  # bits


@compiled
def _discordant(kind: NDArray[np.uint8]) -> int:
    """Return twice the pairs that stand the wrong way round, a tie being half of one."""
    negatives, tied_positives, tied_negatives, twice = 0, 0, 0, 0
    for i in range(kind.shape[0]):
        positive = kind[i] & POSITIVE  # added without a branch: labels are a toss
        tied_positives += positive
        tied_negatives += 1 - positive
        if kind[i] & LAST_OF_TIE:
            twice += tied_positives * (2 * negatives + tied_negatives)
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    return twice


@compiled
def _gained(kind: NDArray[np.uint8]) -> Array:
    """Return of each score that some image has its positives, times the precision from there on up."""
    out, num = np.empty(kind.shape[0]), 0
    found, before = 0, 0
    for i in range(kind.shape[0]):
        found += kind[i] & POSITIVE
        if kind[i] & LAST_OF_TIE:
            out[num] = (found - before) * (found / (i + 1))
            before = found
            num += 1
    return out[:num]


@compiled
def _along(
    rows: Rows, patient: NDArray[np.int32], label: NDArray[np.int8], score: NDArray[np.floating]
) -> tuple[NDArray[np.int32], NDArray[np.floating], NDArray[np.uint8]]:
    """Return patient, score and kind of rows by falling score, [n] each."""
    num = rows.shape[0]
    who, ranked, kind = np.empty(num, np.int32), np.empty(num, score.dtype), np.empty(num, np.uint8)
    for i in range(num):
        row = rows[i]
        who[i], ranked[i], kind[i] = patient[row], score[row], label[row] == 1
        if i > 0 and ranked[i] != ranked[i - 1]:
            kind[i - 1] |= np.uint8(LAST_OF_TIE)
    if num:
        kind[num - 1] |= np.uint8(LAST_OF_TIE)
    return who, ranked, kind


@compiled
def _starts(rows: Rows, code: NDArray[np.int32], num_groups: int) -> NDArray[np.int64]:
    """Return where each group begins [G + 1] when its images lie together."""
    start = np.zeros(num_groups + 1, np.int64)
    for a in range(code.shape[0]):
        for i in range(rows.shape[0]):
            if code[a, rows[i]] >= 0:
                start[code[a, rows[i]] + 1] += 1
    for g in range(num_groups):
        start[g + 1] += start[g]
    return start


@compiled
def _parted(
    start: NDArray[np.int64],
    rows: Rows,
    patient: NDArray[np.int32],
    score: NDArray[np.floating],
    kind: NDArray[np.uint8],
    code: NDArray[np.int32],
    cut: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Return patient and kind of the images of each group in their order, and how many of the first `cut` it has [G].

    code [N, A]: the groups of an image lie together, so that they are found at once.
    """
    num, num_groups = rows.shape[0], start.shape[0] - 1
    free, first = np.empty(num_groups, np.int64), np.zeros(num_groups, np.int64)
    for g in range(num_groups):
        free[g] = start[g]
    who, what = np.empty(start[num_groups], np.int32), np.empty(start[num_groups], np.uint8)
    before = np.empty(num_groups, score.dtype)
    for i in range(num):
        if i == cut:
            for g in range(num_groups):
                first[g] = free[g] - start[g]
        of, whose, x = code[rows[i]], patient[i], score[i]
        bits, tied = kind[i] & np.uint8(POSITIVE) | np.uint8(LAST_OF_TIE), i > 0 and kind[i - 1] & LAST_OF_TIE == 0
        for a in range(of.shape[0]):
            g = of[a]
            if g < 0:
                continue
            at = free[g]
            who[at], what[at] = whose, bits
            if tied and at > start[g] and x == before[g]:
                what[at - 1] &= np.uint8(POSITIVE)
            before[g] = x
            free[g] = at + 1
    if cut >= num:
        for g in range(num_groups):
            first[g] = free[g] - start[g]
    return who, what, first


@compiled
def _patients(
    start: NDArray[np.int64], patient: NDArray[np.int32], kind: NDArray[np.uint8], num_patients: int
) -> NDArray[np.int64]:
    """Return [2, G]: patients, and the fewer of those with a negative and of those with a positive."""
    out = np.zeros((2, start.shape[0] - 1), np.int64)
    seen, of_sign = np.zeros(num_patients, np.int64), np.zeros(2, np.int64)
    for g in range(out.shape[1]):
        of_sign[0], of_sign[1] = 0, 0
        for i in range(start[g], start[g + 1]):
            positive = kind[i] & POSITIVE
            bit, mark = np.int64(1) << positive, seen[patient[i]]
            has = mark & 3 if mark >> 2 == g + 1 else 0
            out[0, g] += has == 0
            of_sign[positive] += has & bit == 0
            seen[patient[i]] = np.int64(g + 1) << 2 | has | bit
        out[1, g] = min(of_sign[0], of_sign[1])
    return out


@compiled
def _positives(kind: NDArray[np.uint8]) -> int:
    """Return how many have the finding."""
    num = 0
    for i in range(kind.shape[0]):
        num += kind[i] & POSITIVE
    return num


@compiled
def _tallied(start: NDArray[np.int64], kind: NDArray[np.uint8], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [5, G]: images; positives; negatives and positives among the `first`; twice the wrong pairs."""
    out = np.zeros((5, first.shape[0]), np.int64)
    for g in range(first.shape[0]):
        some = kind[start[g] : start[g + 1]]
        reached = _positives(some[: first[g]])
        out[0, g], out[1, g] = len(some), _positives(some)
        out[2, g], out[3, g] = first[g] - reached, reached
        out[4, g] = _discordant(some)
    return out


@compiled
def _reaching(score: NDArray[np.floating], threshold: Array) -> NDArray[np.int64]:
    """Return how many of falling scores are at least each threshold."""
    out = np.empty(threshold.shape[0], np.int64)
    for q in range(threshold.shape[0]):
        first, stop = 0, score.shape[0]
        while first < stop:
            middle = (first + stop) // 2
            if score[middle] >= threshold[q]:
                first = middle + 1
            else:
                stop = middle
        out[q] = first
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
        rows = known_falling(label, score)
        return cls(rows, *_along(rows, patient, label, score))

    @classmethod
    def listed(cls, rows: Rows, patient: NDArray[np.int32], positive: NDArray[np.bool_]) -> Self:
        """Return images [n] in the order given, none tied with another."""
        kind = positive.astype(np.uint8) | np.uint8(LAST_OF_TIE)
        return cls(rows, patient, -np.arange(len(rows), dtype=np.float32), kind)  # float32 as logits: compiled for them

    def starts(self, code_AN: NDArray[np.int32], num_groups: int) -> NDArray[np.int64]:
        """Return where each group begins [G + 1] among the images by group: the same for all scores of the same labels."""
        found: NDArray[np.int64] = _starts(self.rows, code_AN, num_groups)
        return found

    def by_group(self, code_AN: NDArray[np.int32], start: NDArray[np.int64], cut: int) -> "GroupedImages":
        """Return the images by group, as `starts` says; `cut` of them, the highest, are told apart.

        code_AN are the groups of each image, -1 for none; an image comes once for each group that it is in.
        """
        code_NA = np.ascontiguousarray(code_AN.T)  # as it is: see `Background.codes`
        return GroupedImages(start, *_parted(start, self.rows, self.patient, self.score, self.kind, code_NA, cut))

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Return which have the finding, [n]."""
        return (self.kind & np.uint8(POSITIVE)).view(np.bool_)

    def areas(self) -> tuple[float, float]:
        """Return AUROC and AUPRC; NaN without both classes."""
        positive = self.positive
        num_positive = int(np.count_nonzero(positive))
        twice_pairs = 2 * num_positive * (len(positive) - num_positive)
        if not twice_pairs:
            return float("nan"), float("nan")
        return (twice_pairs - _discordant(self.kind)) / twice_pairs, float(_gained(self.kind).sum() / num_positive)

    def placements(self) -> Array:
        """Return [n]: of a positive how many negatives lie below it, of a negative the positives above it (ties count half)."""
        found: Array = _placements(self.kind)
        return found

    def reaching(self, threshold_Q: Array) -> NDArray[np.int64]:
        """Return how many images reach each threshold [Q]: they are the first ones."""
        threshold_Q = np.ascontiguousarray(threshold_Q)  # compiled for these alone
        found: NDArray[np.int64] = _reaching(self.score, threshold_Q)
        return found

    def counted(self, cut_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return negatives and positives among the first images, [Q, 2]."""
        positive = self.positive
        positives = np.array([np.count_nonzero(positive[:cut]) for cut in cut_Q], np.int64)
        return np.stack([cut_Q - positives, positives], 1)


class GroupedImages(NamedTuple):
    """The images of one finding, group after group, each by falling score: start [G + 1], patient and kind, first [G]."""

    start: NDArray[np.int64]
    patient: NDArray[np.int32]
    kind: NDArray[np.uint8]  # ties are those within the group
    first: NDArray[np.int64]  # how many images of the group are among the highest of all

    def patients(self, num_patients: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the patients of each group [G], and the fewer of those with and without the finding."""
        every, fewest = _patients(self.start, self.patient, self.kind, num_patients)
        return every, fewest

    def tallied(self) -> "Tallied":
        """Count the images of each group."""
        num, positive, *reached, twice_wrong = _tallied(self.start, self.kind, self.first)
        twice_pairs = 2 * positive * (num - positive)
        auroc = np.divide(twice_pairs - twice_wrong, twice_pairs, out=np.full(len(num), np.nan), where=twice_pairs > 0)
        return Tallied(num, positive, np.stack(reached), auroc)


class Tallied(NamedTuple):
    """Of each group [G]: images, positive ones, and the AUROC. reached [2, G]: negatives and positives among the highest."""

    num: NDArray[np.int64]
    num_positive: NDArray[np.int64]
    reached: NDArray[np.int64]
    auroc: Array
