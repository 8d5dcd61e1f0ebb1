"""Triage with thresholds from a few labeled patients of the new hospital.

A hospital with all its labels plays the part of a hospital with n labeled patients: in each draw, n random patients set
the thresholds (`bench.scoring.conformal`), and the other patients are measured. Labeled and measured patients are exchangeable, so
the mean error rate over draws is at most the stated rate at every hospital. Rare findings need many labels: with fewer than
1 / level - 1 labeled patients with the finding, no image is released.
Shapes: N images sorted by falling logit, P patients, D draws, M numbers of labeled patients, L stated rates, V
quantities.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, Column
from bench.scoring.conformal import LEVELS, ROUNDING
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.triage import QUANTITIES
from harmonize.seeds import stream

Array = NDArray[np.float64]
Orders = NDArray[np.int64]
Row = tuple[Any, ...]

NUM_LABELED = (50, 100, 200, 500)  # values of n; a hospital uses those up to half of its patients
DRAWS = 20
SPREAD = np.array([0.1, 0.9])  # quantiles of the draws
NUM_QUANTITIES = len(QUANTITIES)
BITS = 3  # of a key, for the index of a value of n
MASK = (1 << BITS) - 1


class _Images(NamedTuple):
    """The images of one finding, prepared for draws of patients; positions are those in the column.

    first, last [N]: position of the first image with the same logit, and of the first image with a lower logit. weight [N]: 1 /
    number of the patient's images of this class. reached [2, N + 1]: sums of the weights of negative and of positive images before
    each position. start [P + 1], position [N]: the images of patient p are position[start[p] : start[p + 1]]. images_of [2, P]:
    numbers of negative and positive images of each patient.
    """

    positive: NDArray[np.bool_]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    weight: Array
    reached: Array
    start: NDArray[np.int64]
    position: NDArray[np.int64]
    images_of: NDArray[np.int64]

    @classmethod
    def of(cls, column: Column, num_patients: int) -> Self:
        """Prepare the images of a column."""
        positive, patient = column.positive, column.patient
        images_of = np.stack([np.bincount(patient[mask], minlength=num_patients) for mask in (~positive, positive)])
        weight = 1 / images_of[positive.astype(np.intp), patient]
        ends = np.flatnonzero(column.kind & LAST_OF_TIE) + 1
        sizes = np.diff(ends, prepend=0)
        sums = [np.append(0.0, np.cumsum(weight * mask)) for mask in (~positive, positive)]
        start = np.append(0, np.cumsum(images_of.sum(0)))
        first, last = np.repeat(ends - sizes, sizes), np.repeat(ends, sizes)
        return cls(positive, first, last, weight, np.stack(sums), start, _by_patient(patient, start), images_of)


@compiled
def _by_patient(patient: NDArray[np.int32], start: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions of the images [N], patient by patient; the first image of patient p is at `start`[p]."""
    out, next_free = np.empty(patient.shape[0], np.int64), start.copy()
    for i in range(patient.shape[0]):
        out[next_free[patient[i]]] = i
        next_free[patient[i]] += 1
    return out


@compiled
def _decided(
    positive: NDArray[np.bool_],
    edge: NDArray[np.int64],
    weight: Array,
    labeled: NDArray[np.int64],
    own: int,
    room: float,
    limit: int,
    rounding: float,
) -> tuple[int, float, int]:
    """Return where decisions end, and the weight of class `own` and number of labeled images among the decided images.

    labeled: positions of the labeled images, in the order in which they are decided. edge [N]: where decisions end if the labeled
    image there uses up `room`. limit: where they end if no image does; also the furthest end. rounding: see `conformal.ROUNDING`.
    """
    end, total = limit, 0.0
    for position in labeled:
        if positive[position] == own:
            total += weight[position]
            if total > room + rounding:
                end = max(edge[position], limit) if own else min(edge[position], limit)
                break
    found, num = 0.0, 0
    for position in labeled:
        if (position < end) if own else (position >= end):
            break
        found += weight[position] if positive[position] == own else 0.0
        num += 1
    return end, found, num


@compiled
def _draw(
    positive: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    weight: Array,
    reached: Array,
    labeled: NDArray[np.int64],
    patients: Array,
    levels: Array,
    rounding: float,
    out: Array,
) -> None:
    """Write the QUANTITIES of measured patients into out [L, V]. labeled: positions of the labeled images, rising.

    patients [2, 2]: labeled, then all patients with a negative image, and with a positive image.
    """
    num_images = positive.shape[0]
    num_measured = num_images - labeled.shape[0]
    for k in range(levels.shape[0]):
        room = levels[k] * (patients[0] + 1) - 1
        cut, start, false, missed, flagged, released = 0, num_images, 0.0, 0.0, 0, 0
        if room[0] >= -rounding:
            cut, found, num = _decided(positive, first, weight, labeled, 0, room[0], num_images, rounding)
            false, flagged = reached[0, cut] - found, cut - num
        if room[1] >= -rounding:  # an image that both thresholds allow is flagged
            start, found, num = _decided(positive, last, weight, labeled[::-1], 1, room[1], cut, rounding)
            missed, released = reached[1, -1] - reached[1, start] - found, num_images - start - num
        measured = patients[1] - patients[0]
        out[k, 0] = max(missed, 0.0) / measured[1] if measured[1] else np.nan
        out[k, 1] = max(false, 0.0) / measured[0] if measured[0] else np.nan
        out[k, 2] = released / num_measured if num_measured else np.nan
        out[k, 3] = flagged / num_measured if num_measured else np.nan
        out[k, 4] = 1 - out[k, 2] - out[k, 3]
        for index in range(2):  # sums of weights have rounding errors
            out[k, index] = 0.0 if out[k, index] < rounding else out[k, index]


@compiled
def _draws(
    positive: NDArray[np.bool_],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    weight: Array,
    reached: Array,
    start: NDArray[np.int64],
    position: NDArray[np.int64],
    images_of: NDArray[np.int64],
    order: Orders,
    num_labeled: NDArray[np.int64],
    levels: Array,
    rounding: float,
) -> tuple[Array, Array]:
    """Return the quantities [D, M, L, V], and the labeled patients with a positive and with a negative image [D, M, 2].

    Arrays are copied number by number, because numba takes seconds to compile an assignment of arrays.
    """
    num_draws, num = order.shape[0], num_labeled.shape[0]
    out = np.empty((num_draws, num, levels.shape[0], NUM_QUANTITIES))
    labeled_patients = np.zeros((num_draws, num, 2))
    patients, keys = np.zeros((2, 2)), np.empty(positive.shape[0], np.int64)
    chosen = np.empty(positive.shape[0], np.int64)
    for own in range(2):
        patients[1, own] = np.count_nonzero(images_of[own])
    for d in range(num_draws):
        patients[0] = 0
        size, before = 0, 0
        for m in range(num):  # a key has the position of an image and the first m whose patients include its patient
            for p in order[d, before : num_labeled[m]]:
                for own in range(2):
                    patients[0, own] += images_of[own, p] > 0
                for i in range(start[p], start[p + 1]):
                    keys[size] = (position[i] << BITS) | m
                    size += 1
            before = num_labeled[m]
            labeled_patients[d, m, 0], labeled_patients[d, m, 1] = patients[0, 1], patients[0, 0]
        rising = np.sort(keys[:size])  # once for all m: sorting takes most of the time
        for m in range(num):
            num_chosen = 0
            for key in rising:
                chosen[num_chosen] = key >> BITS  # overwritten by the next key if its patient is not labeled yet
                num_chosen += (key & MASK) <= m
            patients[0, 0], patients[0, 1] = labeled_patients[d, m, 1], labeled_patients[d, m, 0]
            labeled = chosen[:num_chosen]
            _draw(positive, first, last, weight, reached, labeled, patients, levels, rounding, out[d, m])
    return out, labeled_patients


class LabeledDraws(NamedTuple):
    """Random draws of labeled patients. order [D, P]: the patients in random order; the first n patients of a draw are labeled."""

    order: Orders

    @classmethod
    def of(cls, num_patients: int, name: str, draws: int = DRAWS) -> Self:
        """Draw the orders; `name` names the random stream."""
        generator = stream(0, "triage repair", name)
        return cls(np.stack([generator.permutation(num_patients) for _ in range(draws)]))

    def quantities(
        self, column: Column, num_labeled: Sequence[int], levels: Sequence[float] = LEVELS
    ) -> tuple[Array, Array]:
        """Return the QUANTITIES of all draws [D, M, L, V], and the labeled patients with and without the finding [D, M, 2].

        num_labeled [M]: values of n, rising.
        """
        images, num = _Images.of(column, self.order.shape[1]), np.array(num_labeled, np.int64)
        drawn: tuple[Array, Array] = _draws(*images, self.order, num, np.array(levels), ROUNDING)
        return drawn


def rows(run_id: str, findings: Sequence[str], external: Sequence[SplitMetrics]) -> list[Row]:
    """Return the rows of the table `triage_repair`: each hospital, then all hospitals; no rows if all have too few patients."""
    # (dataset, finding, n) -> (hospital, draws) of each hospital and finding
    drawn: dict[tuple[str, str, int], list[tuple[str, Array, Array]]] = {}
    for split in external:
        scored, num_patients = split.scored, split.resamples.num_patients
        num_labeled = [n for n in NUM_LABELED if 2 * n <= num_patients]
        if not num_labeled:
            continue
        draws = scored.cached("triage draws", lambda: LabeledDraws.of(num_patients, scored.name))  # noqa: B023
        for finding, column in zip(findings, split.columns, strict=True):
            if not len(column.rows):
                continue
            quantities, labeled = draws.quantities(column, num_labeled)
            for m, n in enumerate(num_labeled):
                for key in ((scored.dataset, finding), (scored.dataset, MACRO), (EXTERNAL, finding), (EXTERNAL, MACRO)):
                    drawn.setdefault((*key, n), []).append((scored.dataset, quantities[:, m], labeled[:, m]))
    return [(run_id, *row) for key, parts in drawn.items() for row in _rows(*key, parts)]


def _rows(dataset: str, finding: str, n: int, parts: Sequence[tuple[str, Array, Array]]) -> list[Row]:
    """Return one row for each level; none if no draw left a patient with the finding, or one without, to measure."""
    hospitals, quantities, labeled = zip(*parts, strict=True)
    all_draws, patients = np.concatenate(quantities), np.concatenate(labeled)  # [D, L, 5], [D, 2]
    out: list[Row] = []
    for k, level in enumerate(LEVELS):
        values = all_draws[:, k][np.isfinite(all_draws[:, k]).all(1)]
        if not len(values):
            continue
        rising = np.sort(values, 0)
        at = SPREAD * (len(values) - 1)
        below, above = np.floor(at).astype(int), np.ceil(at).astype(int)
        spread = rising[below] + (rising[above] - rising[below]) * (at - below)[:, None]  # faster than np.quantile
        numbers = np.stack([values.mean(0), *spread], 1)
        too_few = (level * (patients + 1) - 1 < -ROUNDING).mean(0)
        counts = (*patients.mean(0).tolist(), *too_few.tolist(), len(set(hospitals)), len(values))
        out.append((dataset, finding, level, n, *numbers.ravel().tolist(), *counts))
    return out
