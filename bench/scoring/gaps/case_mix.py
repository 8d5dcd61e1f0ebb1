"""Weights that give the images of an external hospital the prevalence and case mix of the internal hospital.

The weights depend on labels and patients only, so all runs share them.

Shapes: N images, G groups (cell x label: even groups are negatives, odd ones positives), B replicates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import bootstrap
from bench.scoring.bootstrap.weighted_metrics import Factors
from bench.scoring.gaps.gap_component import NEITHER
from bench.scoring.gaps.reweighting import case_mix_factor, effective_numbers, prevalence_factor
from bench.scoring.metrics_of_split import Measured
from bench.scoring.patient_groups import NUM_CELLS

Array = NDArray[np.float64]
Totals = dict[tuple[int, int], tuple[Array, Array]]  # finding and number of cells -> images of each group [G], [G, B]


@dataclass(frozen=True, slots=True, eq=False)
class Mix:
    """The weights of one finding and hospital.

    group [N]: index of each external image's group, among the groups that occur there. sample, drawn: weights of the
    labels [2] and of the groups, in the sample and in each replicate. reason: why the case mix cannot be matched, or "".
    effective: effective numbers of positives and negatives under the weights. covered: share of the internal images whose
    cell occurs externally.
    """

    group: NDArray[np.int32]
    sample: tuple[Array, Array]
    drawn: Factors
    reason: str
    effective: tuple[float, float]
    covered: float


def mix_of(internal: Measured, other: Measured, k: int, min_count: int, at_internal: Totals) -> Mix:
    """Compute the weights of finding k once for all runs; at_internal caches the internal counts between hospitals.

    The case mix is not matched where fewer than `min_count` effective positives or negatives would remain.
    """
    resamples = other.resamples
    what = ("mix", k, resamples.digest, resamples.num, internal.resamples.digest, min_count)
    return other.scored.once(
        what, lambda: _compute_mix(internal, other, k, min_count, at_internal), internal.scored.identity
    )


def _compute_mix(internal: Measured, other: Measured, k: int, min_count: int, at_internal: Totals) -> Mix:
    cells, reason = _cells(internal, other)
    num_cells = 1 if reason else NUM_CELLS
    if (k, num_cells) not in at_internal:
        at_internal[k, num_cells] = _totals(internal, k, cells[0], num_cells)
    (ours, ours_B), (theirs, theirs_B) = at_internal[k, num_cells], _totals(other, k, cells[1], num_cells)
    label, label_B = (factor[:2] for factor in (prevalence_factor(ours, theirs), prevalence_factor(ours_B, theirs_B)))
    group = (2 * cells[1] + (other.label[:, k] == 1)).astype(np.int32)  # unused for images that are not scored
    sample, drawn = (label, label), Factors.tiled(label_B, label_B)
    if reason:
        return Mix(group, sample, drawn, reason, NEITHER, float("nan"))
    factor = case_mix_factor(ours, theirs)
    effective = effective_numbers(factor, theirs)
    covered = float(ours[theirs > 0].sum() / ours.sum())
    if min(effective) < min_count:
        few = f"too few images like those at the internal hospital: an effective {min(effective):.0f}"
        return Mix(group % 2, sample, drawn, few, effective, covered)
    index = np.arange(2 * num_cells, dtype=np.int32)
    used = np.flatnonzero(theirs)  # a group without an external image needs no weight
    index[used] = np.arange(len(used))
    sample = (label, factor[used])
    drawn = Factors.tiled(label_B, case_mix_factor(ours_B, theirs_B)[used])
    return Mix(index[group], sample, drawn, "", effective, covered)


def _totals(measured: Measured, k: int, cell: NDArray[np.int64], num_cells: int) -> tuple[Array, Array]:
    """Count the images of each group in the sample [G] and in each replicate [G, B]."""
    rows = measured.columns[k].rows
    group = 2 * cell[rows] + measured.columns[k].positive
    ones = np.ones((len(rows), 1))
    resampled = bootstrap.grouped_sums(measured.resamples, rows, group, ones, 2 * num_cells)[:, 0]
    return np.bincount(group, minlength=2 * num_cells).astype(np.float64), resampled


def _cells(internal: Measured, other: Measured) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], str]:
    """Return the cell of each image on both sides, and the reason if all images share one cell (else "")."""
    cells = []
    for side in (internal, other):
        patient_groups = side.scored.patient_groups
        missing = patient_groups.missing if patient_groups else ["sex", "age", "view"]
        if patient_groups is None or missing:
            where = "at the internal hospital" if side is internal else "at the external hospital"
            what = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not recorded {where}"
            return (np.zeros(len(internal.label), np.int64), np.zeros(len(other.label), np.int64)), what
        cells.append(patient_groups.cells)
    return (cells[0], cells[1]), ""
