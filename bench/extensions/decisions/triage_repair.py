"""Triage with thresholds from a few labeled patients of the new hospital.

A hospital with all its labels plays the part of a hospital with n labeled patients: in each draw, n random patients set
the thresholds (module `conformal`), and the other patients are measured. Labeled and measured patients are exchangeable, so
the mean error rate over draws is at most the stated rate at every hospital. Rare findings need many labels: with fewer than
1 / level - 1 labeled patients with the finding, no image is released.
Shapes: N images sorted by falling logit, P patients, D draws, M numbers of labeled patients, L stated rates, V
quantities.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.extensions.decisions.conformal import LEVELS, ROUNDING
from bench.extensions.decisions.triage import QUANTITIES
from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.sorted_images import LAST_OF_TIE, Column
from bench.scoring.gaps.gap import EXTERNAL, MACRO
from bench.scoring.score_run import RunMetrics
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

    edge [2, N]: position of the first image with the same logit, and of the first image with a lower logit. weight [N]: 1 /
    number of the patient's images of this class. reached [2, N + 1]: sums of the weights of negative and of positive images before
    each position. start [P + 1], position [N]: the images of patient p are position[start[p] : start[p + 1]]. images_of [2, P]:
    numbers of negative and positive images of each patient.
    """

    positive: NDArray[np.bool_]
    edge: NDArray[np.int64]
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
        edge = np.stack([np.repeat(ends - sizes, sizes), np.repeat(ends, sizes)])
        return cls(positive, edge, weight, np.stack(sums), start, _by_patient(patient, start), images_of)


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

    own: 0 if the images with the highest logits are decided (flagged), 1 if those with the lowest are (released). labeled: positions
    of the labeled images, rising. edge [N]: where decisions end if the labeled image there uses up `room`. limit: where they end if
    no image does; also the furthest end. rounding: see `conformal.ROUNDING`.
    """
    num_labeled = labeled.shape[0]
    end, total = limit, 0.0
    for i in range(num_labeled):
        position = labeled[num_labeled - 1 - i if own else i]
        if positive[position] == own:
            total += weight[position]
            if total > room + rounding:
                end = max(edge[position], limit) if own else min(edge[position], limit)
                break
    found, num = 0.0, 0
    for i in range(num_labeled):
        position = labeled[num_labeled - 1 - i if own else i]
        if (position < end) if own else (position >= end):
            break
        found += weight[position] if positive[position] == own else 0.0
        num += 1
    return end, found, num


@compiled
def _measure(
    positive: NDArray[np.bool_],
    edge: NDArray[np.int64],
    weight: Array,
    reached: Array,
    labeled: NDArray[np.int64],
    patients: Array,
    levels: Array,
    rounding: float,
    out: Array,
) -> None:
    """Write the QUANTITIES of measured patients into out [L, V]. labeled: positions of the labeled images, rising.

    patients [2, 2]: labeled, then all patients with a negative image, and with a positive image. Other arguments: see `_Images`.
    """
    num_images = positive.shape[0]
    num_measured = num_images - labeled.shape[0]
    for k in range(levels.shape[0]):
        cut = 0
        for own in range(2):  # images are flagged, and then released; an image that both thresholds allow is flagged
            end, wrong, decided = num_images if own else 0, 0.0, 0
            room = levels[k] * (patients[0, own] + 1) - 1
            if room >= -rounding:
                limit = cut if own else num_images
                end, found, num = _decided(positive, edge[own], weight, labeled, own, room, limit, rounding)
                wrong = (reached[1, num_images] - reached[1, end] if own else reached[0, end]) - found
                decided = (num_images - end if own else end) - num
            cut = end
            measured = patients[1, own] - patients[0, own]
            wrong = max(wrong, 0.0) / measured if measured else np.nan
            out[k, 1 - own] = 0.0 if wrong < rounding else wrong  # sums of weights have rounding errors
            out[k, 3 - own] = decided / num_measured if num_measured else np.nan
        out[k, 4] = 1 - out[k, 2] - out[k, 3]


@compiled
def _keys(
    start: NDArray[np.int64],
    position: NDArray[np.int64],
    images_of: NDArray[np.int64],
    order: NDArray[np.int64],
    num_labeled: NDArray[np.int64],
    key: NDArray[np.int64],
    patients: Array,
) -> int:
    """Write a key for each labeled image into `key`, and return the number of keys.

    A key has the position of an image and the first m whose patients include the image's patient. order [P]: patients in random
    order. patients [M, 2, 2] gets the numbers of labeled patients with a negative and with a positive image.
    """
    size, before = 0, 0
    for m in range(num_labeled.shape[0]):
        for own in range(2):
            patients[m, 0, own] = patients[m - 1, 0, own] if m else 0
        for i in range(before, num_labeled[m]):
            p = order[i]
            for own in range(2):
                patients[m, 0, own] += images_of[own, p] > 0
            for j in range(start[p], start[p + 1]):
                key[size] = (position[j] << BITS) | m
                size += 1
        before = num_labeled[m]
    return size


@compiled
def _labeled(key: NDArray[np.int64], m: int, out: NDArray[np.int64]) -> int:
    """Write the positions of the images that are labeled at `m` into `out`, and return their number. key: rising."""
    num = 0
    for i in range(key.shape[0]):
        out[num] = key[i] >> BITS  # overwritten by the next key if its patient is not labeled yet
        num += (key[i] & MASK) <= m
    return num


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
        images, labeled_at = _Images.of(column, self.order.shape[1]), np.array(num_labeled, np.int64)
        num_draws, num, rates = len(self.order), len(num_labeled), np.array(levels)
        out = np.empty((num_draws, num, len(rates), NUM_QUANTITIES))
        # axis 2: the labeled patients, all patients; axis 3: without, with the finding
        patients = np.empty((num_draws, num, 2, 2))
        patients[:, :, 1] = np.count_nonzero(images.images_of, axis=1)
        key, chosen = np.empty((2, len(images.positive)), np.int64)
        for d, order in enumerate(self.order):
            size = _keys(images.start, images.position, images.images_of, order, labeled_at, key, patients[d])
            # once for all m; by numpy, because numba would compile its own sort for more than a second
            key[:size].sort()
            for m in range(num):
                labeled = chosen[: _labeled(key[:size], m, chosen)]
                _measure(
                    images.positive,
                    images.edge,
                    images.weight,
                    images.reached,
                    labeled,
                    patients[d, m],
                    rates,
                    ROUNDING,
                    out[d, m],
                )
        return out, patients[:, :, 0, ::-1]


def rows(run: RunMetrics) -> list[Row]:
    """Return the rows of the table `triage_repair`: each hospital, then all hospitals; no rows if all have too few patients."""
    # (dataset, finding, n) -> (hospital, draws) of each hospital and finding
    drawn: dict[tuple[str, str, int], list[tuple[str, Array, Array]]] = {}
    for split in run.external:
        scored, num_patients = split.scored, split.resamples.num_patients
        num_labeled = [n for n in NUM_LABELED if 2 * n <= num_patients]
        if not num_labeled:
            continue
        draws = scored.cached("triage draws", lambda: LabeledDraws.of(num_patients, scored.name))  # noqa: B023
        for finding, column in zip(run.findings, split.columns, strict=True):
            if not len(column.rows):
                continue
            quantities, labeled = draws.quantities(column, num_labeled)
            for m, n in enumerate(num_labeled):
                for key in ((scored.dataset, finding), (scored.dataset, MACRO), (EXTERNAL, finding), (EXTERNAL, MACRO)):
                    drawn.setdefault((*key, n), []).append((scored.dataset, quantities[:, m], labeled[:, m]))
    return [(run.run_id, *row) for key, parts in drawn.items() for row in _rows(*key, parts)]


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
