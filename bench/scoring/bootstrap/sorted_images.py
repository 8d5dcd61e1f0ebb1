"""`Column`: the images of one finding in the order of decreasing score, sorted once for all metrics.

The kind of an image has two bits: POSITIVE (its label is 1) and LAST_OF_TIE (the next image has a different score).
A cut is a number of images: the images before the cut are those with the highest scores, such as all positive calls. A
group has the images of some patients; each attribute of patients, such as sex, has its own groups. A pair of a positive
and a negative image is discordant if the negative image has the higher score.
Shapes: N images, n labeled images, Q cuts, G groups, A attributes.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.area_intervals import ClassSizes
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sort_scores import Rows, labeled_falling

Array = NDArray[np.float64]

POSITIVE, LAST_OF_TIE = 1, 2  # bits of an image's kind


@compiled
def _twice_discordant(kind: NDArray[np.uint8]) -> int:
    """Return twice the number of discordant pairs; a tied pair counts half, so only twice the number is an integer.

    A pair of a positive and a negative image is discordant if the negative image has the higher score.
    """
    negatives, tied_positives, tied_negatives, twice = 0, 0, 0, 0
    for i in range(kind.shape[0]):
        # Arithmetic replaces an `if` here: the order of labels is irregular, so the processor would often predict the
        # branch wrongly.
        positive = kind[i] & POSITIVE
        tied_positives += positive
        tied_negatives += 1 - positive
        if kind[i] & LAST_OF_TIE:
            twice += tied_positives * (2 * negatives + tied_negatives)
            negatives += tied_negatives
            tied_positives, tied_negatives = 0, 0
    return twice


@compiled
def _precision_sums(kind: NDArray[np.uint8]) -> Array:
    """Return for each distinct score: the precision with this score as threshold, times the number of positives with this score."""
    out, num = np.empty(kind.shape[0]), 0
    positives, before = 0, 0
    for i in range(kind.shape[0]):
        positives += kind[i] & POSITIVE
        if kind[i] & LAST_OF_TIE:
            out[num] = (positives - before) * (positives / (i + 1))
            before = positives
            num += 1
    return out[:num]


@compiled
def _starts(rows: Rows, code: NDArray[np.int32], num_groups: int) -> NDArray[np.int64]:
    """Return the index of the first image of each group, then the number of images [G + 1], for `Column.starts`.

    code [N, A]: index of each image's group for each attribute, -1 for no group.
    """
    start = np.zeros(num_groups + 1, np.int64)
    for i in range(rows.shape[0]):
        for a in range(code.shape[1]):
            if code[rows[i], a] >= 0:
                start[code[rows[i], a] + 1] += 1
    for g in range(num_groups):
        start[g + 1] += start[g]
    return start


@compiled
def _group_images(
    start: NDArray[np.int64],
    rows: Rows,
    patient: NDArray[np.int32],
    score: NDArray[np.floating],
    kind: NDArray[np.uint8],
    code: NDArray[np.int32],
    cut: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Return the patient of each image and the kind of each image, group by group, and a count for each group [G].

    The count is the number of the group's images before the cut. code [N, A]: index of each image's group for
    each attribute, -1 for no group. The indices of one image are adjacent in memory, so that they can be read fast.
    """
    num, num_groups = rows.shape[0], start.shape[0] - 1
    next_free, first = np.empty(num_groups, np.int64), np.zeros(num_groups, np.int64)
    for g in range(num_groups):
        next_free[g] = start[g]
    patients, kinds = np.empty(start[num_groups], np.int32), np.empty(start[num_groups], np.uint8)
    last_score = np.empty(num_groups, score.dtype)
    for i in range(num):
        if i == cut:
            for g in range(num_groups):
                first[g] = next_free[g] - start[g]
        groups, patient_of_image, x = code[rows[i]], patient[i], score[i]
        bits, tied = kind[i] & np.uint8(POSITIVE) | np.uint8(LAST_OF_TIE), i > 0 and kind[i - 1] & LAST_OF_TIE == 0
        for a in range(groups.shape[0]):
            g = groups[a]
            if g < 0:
                continue
            index = next_free[g]
            patients[index], kinds[index] = patient_of_image, bits
            if tied and index > start[g] and x == last_score[g]:
                kinds[index - 1] &= np.uint8(POSITIVE)
            last_score[g] = x
            next_free[g] = index + 1
    if cut >= num:
        for g in range(num_groups):
            first[g] = next_free[g] - start[g]
    return patients, kinds, first


@compiled
def _count_patients(
    start: NDArray[np.int64], patient: NDArray[np.int32], kind: NDArray[np.uint8], num_patients: int
) -> NDArray[np.int64]:
    """Count patients per group [2, G]: first all patients, then those with an image of the rarer class.

    The rarer class is the class (positive or negative) with fewer patients in the group. `entries` has a number for each
    patient: the number of the patient's latest group (from 1), followed by two bits, one for each label in this group.
    """
    out = np.zeros((2, start.shape[0] - 1), np.int64)
    entries, by_label = np.zeros(num_patients, np.int64), np.zeros(2, np.int64)
    for g in range(out.shape[1]):
        by_label[0], by_label[1] = 0, 0
        for i in range(start[g], start[g + 1]):
            positive = kind[i] & POSITIVE
            bit, entry = np.int64(1) << positive, entries[patient[i]]  # 1 for a negative image, 2 for a positive one
            latest_group, labels_seen = entry >> 2, entry & 3
            labels = labels_seen if latest_group == g + 1 else 0
            out[0, g] += labels == 0
            by_label[positive] += labels & bit == 0
            entries[patient[i]] = np.int64(g + 1) << 2 | labels | bit
        out[1, g] = min(by_label[0], by_label[1])
    return out


@compiled
def _count_positives(kind: NDArray[np.uint8]) -> int:
    """Count the images with the finding."""
    num = 0
    for i in range(kind.shape[0]):
        num += kind[i] & POSITIVE
    return num


@compiled
def _count_groups(start: NDArray[np.int64], kind: NDArray[np.uint8], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count per group [5, G]: images, positives, negatives before the cut, positives before the cut, 2 x discordant pairs.

    first [G]: number of images before the cut.
    """
    out = np.zeros((5, first.shape[0]), np.int64)
    for g in range(first.shape[0]):
        kinds = kind[start[g] : start[g + 1]]
        positives_before = _count_positives(kinds[: first[g]])
        out[0, g], out[1, g] = len(kinds), _count_positives(kinds)
        out[2, g], out[3, g] = first[g] - positives_before, positives_before
        out[4, g] = _twice_discordant(kinds)
    return out


@compiled
def _reaching(score: NDArray[np.floating], threshold: Array) -> NDArray[np.int64]:
    """Count for each threshold [Q] the scores >= threshold, by binary search in decreasing scores."""
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
    """Compute for each image [n] how many images of the other class the score ranks correctly; ties count half."""
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
    """The labeled images of one finding, sorted by decreasing score; all arrays are [n]."""

    rows: Rows  # index of each image in the split
    patient: NDArray[np.int32]
    score: NDArray[np.floating]
    kind: NDArray[np.uint8]  # bits POSITIVE and LAST_OF_TIE

    @classmethod
    def of(cls, patient: NDArray[np.int32], label: NDArray[np.int8], score: NDArray[np.floating]) -> Self:
        """Return the images whose label is 0 or 1, sorted by decreasing score.

        Raises ValueError if the score of one of these images is not finite.
        """
        rows = labeled_falling(label, score)
        scores = score[rows]
        is_last = np.ones(len(rows), bool)
        is_last[:-1] = scores[1:] != scores[:-1]
        kind = (label[rows] == 1) | is_last * np.uint8(LAST_OF_TIE)
        return cls(rows, patient[rows], scores, kind)

    @classmethod
    def listed(cls, rows: Rows, patient: NDArray[np.int32], positive: NDArray[np.bool_]) -> Self:
        """Return a column of images [n] in the given order; their scores fall from image to image, so there are no ties."""
        kind = positive.astype(np.uint8) | np.uint8(LAST_OF_TIE)
        # float32 like logits, so that numba does not compile the functions for another type
        score = -np.arange(len(rows), dtype=np.float32)
        return cls(rows, patient, score, kind)

    def starts(self, code_AN: NDArray[np.int32], num_groups: int) -> NDArray[np.int64]:
        """Return the index of each group's first image, then the number of images [G + 1], for `by_group`.

        The result depends on the labels, not on the scores, so all runs of a cohort can share it.
        """
        start: NDArray[np.int64] = _starts(self.rows, _by_image(code_AN), num_groups)
        return start

    def by_group(self, code_AN: NDArray[np.int32], start: NDArray[np.int64], cut: int) -> "GroupedImages":
        """Return the images group by group; `start` comes from `starts`.

        cut: number of images with the highest scores that are before the cut. code_AN: index of each image's group for each
        attribute, -1 for no group. An image occurs once in each of its groups.
        """
        columns = (self.rows, self.patient, self.score, self.kind)
        return GroupedImages(start, *_group_images(start, *columns, _by_image(code_AN), cut))

    @property
    def positive(self) -> NDArray[np.bool_]:
        """Return the mask [n] of the images with the finding."""
        return (self.kind & np.uint8(POSITIVE)).view(np.bool_)

    def areas(self) -> tuple[float, float]:
        """Compute AUROC and AUPRC; both are NaN if a class is absent."""
        positive = self.positive
        num_positive = int(np.count_nonzero(positive))
        twice_pairs = 2 * num_positive * (len(positive) - num_positive)
        if not twice_pairs:
            return float("nan"), float("nan")
        return (twice_pairs - _twice_discordant(self.kind)) / twice_pairs, float(
            _precision_sums(self.kind).sum() / num_positive
        )

    def placements(self) -> Array:
        """Compute the placement of each image [n]; ties count half.

        For a positive image: number of negatives with a lower score. For a negative image: number of positives with a higher
        score.
        """
        placements: Array = _placements(self.kind)
        return placements

    def reaching(self, threshold_Q: Array) -> NDArray[np.int64]:
        """Count for each threshold [Q] the images with score >= threshold, which are the first images of the column."""
        # a contiguous copy, because numba compiles the function again for each memory layout
        threshold_Q = np.ascontiguousarray(threshold_Q)
        num_reaching: NDArray[np.int64] = _reaching(self.score, threshold_Q)
        return num_reaching

    def counted(self, cut_Q: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count negatives and positives [Q, 2] among the first images, for each number of images in cut_Q."""
        positive = self.positive
        positives = np.array([np.count_nonzero(positive[:cut]) for cut in cut_Q], np.int64)
        return np.stack([cut_Q - positives, positives], 1)


def _by_image(code_AN: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the indices image by image [N, A]. Nothing is copied if they are those of `PatientGroups.codes`."""
    return np.ascontiguousarray(code_AN.T)


class GroupedImages(NamedTuple):
    """The labeled images of one finding, group by group; inside a group they are sorted by decreasing score."""

    start: NDArray[np.int64]  # [G + 1]: index of the first image of each group, then the number of images
    patient: NDArray[np.int32]  # patient of each image
    kind: NDArray[np.uint8]  # bits POSITIVE and LAST_OF_TIE of each image; images of different groups are never tied
    first: NDArray[np.int64]  # [G]: number of images in the group before the cut

    def patients(self, num_patients: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Count the patients of each group [G], and those with an image of the rarer class [G].

        The rarer class is the class (positive or negative) with fewer patients in the group.
        """
        total, of_rarer_class = _count_patients(self.start, self.patient, self.kind, num_patients)
        return total, of_rarer_class

    def class_sizes(self, num_patients: int) -> ClassSizes:
        """Compute the numbers of images and effective patients of both classes in each group [2, G]."""
        images = np.zeros((2, len(self.first), num_patients), np.int32)
        positive = (self.kind & np.uint8(POSITIVE)).view(np.bool_)
        for g, (first, last) in enumerate(pairwise(self.start.tolist())):
            of_group, present = self.patient[first:last], positive[first:last]
            for c, rows in enumerate((present, ~present)):
                images[c, g] = np.bincount(of_group[rows], minlength=num_patients)
        return ClassSizes.of(images)

    def tallied(self) -> "Tallied":
        """Compute the counts and the AUROC of each group."""
        num, positive, *reached, twice_discordant = _count_groups(self.start, self.kind, self.first)
        twice_pairs = 2 * positive * (num - positive)
        auroc = np.divide(
            twice_pairs - twice_discordant, twice_pairs, out=np.full(len(num), np.nan), where=twice_pairs > 0
        )
        return Tallied(num, positive, np.stack(reached), auroc)


class Tallied(NamedTuple):
    """Counts and AUROC of each group [G]."""

    num: NDArray[np.int64]  # images
    num_positive: NDArray[np.int64]
    reached: NDArray[np.int64]  # [2, G]: negatives and positives before the cut
    auroc: Array  # NaN if a group has no positive or no negative image
