"""Weights that give the images of an external hospital the prevalence and case mix of the internal hospital.

The weights depend only on labels and patients, so all runs share them.

A cell is one combination of sex, age decade and view. A group has the images of one cell with one label: groups with an
even index are negative, groups with an odd index positive. The effective number of weighted images is the number of
equally weighted images with the same precision.
Shapes: N images, G groups, B replicates.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.weighted_metrics import Factors
from bench.scoring.gaps.gap_component import NEITHER
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.patient_groups import NUM_CELLS

Array = NDArray[np.float64]
MOST = 10.0  # largest allowed ratio of a cell's internal share to its external share


@dataclass(frozen=True, slots=True, eq=False)
class GroupCounts:
    """Number of images of each group in the original sample [G], and in each replicate [G, B].

    A group has the images with the same sex, age decade, view and label.
    """

    sample: Array
    replicates: Array


CountsCache = dict[tuple[int, int], GroupCounts]  # (index of the finding, number of cells) -> counts of internal images


class Weights(NamedTuple):
    """Weights of images in the original sample.

    label [2]: weight of a negative image, weight of a positive image. group [G]: weight of an image of each group.
    """

    label: Array
    group: Array


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """The weights of the external images of one hospital, for one finding."""

    group: NDArray[np.int32]  # [N] index of each external image's weight in `sample.group`
    sample: Weights
    replicates: Factors  # weights of the images in each replicate
    reason: str  # why the case mix cannot be matched; "" if it is matched
    effective: tuple[float, float]  # effective numbers of positives and negatives under the weights
    covered: float  # share of the internal images whose group also has external images


def mix_of(internal: SplitMetrics, external: SplitMetrics, k: int, min_count: int, internal_counts: CountsCache) -> Mix:
    """Return the weights for finding k, computed once for all runs.

    internal_counts is a cache of counts that all external hospitals share. Only the prevalence is matched if an
    attribute is not recorded at a hospital, or if the effective number of positives or of negatives would be below
    `min_count`.
    """
    resamples = external.resamples
    key = ("mix", k, resamples.digest, resamples.num, internal.resamples.digest, min_count)
    return external.scored.cached(
        key, lambda: _compute_mix(internal, external, k, min_count, internal_counts), internal.scored.identity
    )


def _compute_mix(
    internal: SplitMetrics, external: SplitMetrics, k: int, min_count: int, internal_counts: CountsCache
) -> Mix:
    (internal_cell, external_cell), reason = _cells(internal, external)
    num_cells = 1 if reason else NUM_CELLS
    if (k, num_cells) not in internal_counts:
        internal_counts[k, num_cells] = _group_counts(internal, k, internal_cell, num_cells)
    inside, outside = internal_counts[k, num_cells], _group_counts(external, k, external_cell, num_cells)
    label = prevalence_factor(inside.sample, outside.sample)[:2]
    label_B = prevalence_factor(inside.replicates, outside.replicates)[:2]
    # The group is wrong for an image whose label is neither 0 nor 1, but such an image is not scored.
    group = (2 * external_cell + (external.label[:, k] == 1)).astype(np.int32)
    sample, replicates = Weights(label, label), Factors.tiled(label_B, label_B)
    if reason:
        return Mix(group, sample, replicates, reason, NEITHER, float("nan"))
    factor = case_mix_factor(inside.sample, outside.sample)
    effective = effective_numbers(factor, outside.sample)
    covered = float(inside.sample[outside.sample > 0].sum() / inside.sample.sum())
    if min(effective) < min_count:
        too_few = f"not measured, because too few external images are like the internal images: an effective number of {min(effective):.0f}"
        return Mix(group % 2, sample, replicates, too_few, effective, covered)
    index = np.arange(2 * num_cells, dtype=np.int32)
    used = np.flatnonzero(outside.sample)  # a group without an external image needs no weight
    index[used] = np.arange(len(used))
    sample = Weights(label, factor[used])
    replicates = Factors.tiled(label_B, case_mix_factor(inside.replicates, outside.replicates)[used])
    return Mix(index[group], sample, replicates, "", effective, covered)


def _group_counts(measured: SplitMetrics, k: int, cell: NDArray[np.int64], num_cells: int) -> GroupCounts:
    """Count the images of each group, in the original sample and in each replicate."""
    rows = measured.columns[k].rows
    group = 2 * cell[rows] + measured.columns[k].positive
    ones = np.ones((1, len(rows)))
    resampled = bootstrap.grouped_sums(measured.resamples, rows, group, ones, 2 * num_cells)[:, 0]
    return GroupCounts(np.bincount(group, minlength=2 * num_cells).astype(np.float64), resampled)


def _cells(internal: SplitMetrics, external: SplitMetrics) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], str]:
    """Return the cell of each internal image [N], the cell of each external image [N], and a reason or "".

    A cell is one combination of sex, age decade and view, given by its index. If one of these attributes is not
    recorded at a hospital, all images are in cell 0, and the reason names the attribute and the hospital.
    """
    cells = []
    for split in (internal, external):
        patient_groups = split.scored.patient_groups
        missing = patient_groups.missing if patient_groups else ["sex", "age", "view"]
        if patient_groups is None or missing:
            hospital = "at the internal hospital" if split is internal else "at the external hospital"
            names = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
            reason = f"not measured, because {names} {'is' if len(missing) == 1 else 'are'} not recorded {hospital}"
            return (np.zeros(len(internal.label), np.int64), np.zeros(len(external.label), np.int64)), reason
        cells.append(patient_groups.cells)
    return (cells[0], cells[1]), ""


def prevalence_factor(internal: Array, external: Array) -> Array:
    """Compute weights of the groups, [G] or [G, B], that give the external images the internal prevalence.

    internal and external are the numbers of images of each group, [G] or [G, B]; groups with an even index are
    negative, groups with an odd index positive. The weights of all images sum to 1.
    Source: Storkey 2009, Dataset Shift in Machine Learning, prior shift.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        with np.errstate(divide="ignore", invalid="ignore"):
            out[sign::2] = internal[sign::2].sum(0) / internal.sum(0) / external[sign::2].sum(0)
    return out


def case_mix_factor(internal: Array, external: Array) -> Array:
    """Compute weights of the groups, [G] or [G, B], that give the external images the internal prevalence and case mix.

    internal and external are the numbers of images of each group, [G] or [G, B]: group 2 c has the negative images of
    cell c (a combination of sex, age decade and view), group 2 c + 1 the positive images. Among positives and among
    negatives, each cell gets its internal share. The ratio of a cell's internal share to its external share is limited
    to 10.
    Internal cells without external images cannot be matched. External cells without internal images get the weight 0.
    The weights of all images sum to 1.
    """
    out = np.full(external.shape, np.nan)
    for sign in (0, 1):
        inside, outside = internal[sign::2], external[sign::2]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(outside > 0, (inside / inside.sum(0)) / (outside / outside.sum(0)), 0.0)
            ratio = np.minimum(ratio, MOST)
            out[sign::2] = inside.sum(0) / internal.sum(0) * ratio / (outside * ratio).sum(0)
    return out


def effective_numbers(factor: Array, total: Array) -> tuple[float, float]:
    """Compute the effective numbers of positives and of negatives if the images of each group have the weight in factor [G].

    The effective number of weighted images is the number of equally weighted images with the same precision. total [G]:
    number of images of each group.
    Source: Kish 1965, Survey Sampling: (sum of weights)^2 / sum of squared weights.
    """
    numbers = []
    for sign in (1, 0):
        weight, count = factor[sign::2], total[sign::2]
        squares = float((count * weight**2).sum())
        numbers.append(float((count * weight).sum()) ** 2 / squares if squares > 0 else 0.0)
    return numbers[0], numbers[1]
