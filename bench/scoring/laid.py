"""The images of a column, made ready for the pass that judges several of their probabilities at once.

Shapes: n images that take part, C probabilities, S runs of images.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import Judged, equal_mass_bin_of, log_loss
from bench.scoring.compiled import compiled
from bench.scoring.kernels import SIDE_BY_SIDE
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Patients = NDArray[np.int32]
Positive = NDArray[np.bool_]


class Laid(NamedTuple):
    """Up to SIDE_BY_SIDE probabilities of the images of a column, as one pass over a tile of weights reads them.

    Neighbours that share every bin of every probability are a run, so that the weights of an image are read once for all
    of them; along the score there are fewest. What needs no bins is added up per patient: `present` are those with an image.
    """

    patient: Patients  # [n]
    start: NDArray[np.int64]  # [S + 1]
    place: NDArray[np.int64]  # [S, C, 2]: equal-width and equal-mass bin
    excess: Array  # [n, SIDE_BY_SIDE]: label - probability
    present: Patients
    apart: (
        Array  # [., 2 SIDE_BY_SIDE + 1] of each who is present: squared distances, log losses, images with the finding
    )

    @classmethod
    def of(
        cls, patient: Patients, positive: Positive, judged: Sequence[Judged], bins: int, num_patients: int
    ) -> tuple[Self, Array]:
        """Return it with the sums of the sample [1 + 2 C]: positive images, then squared distance and log loss of each.

        Raises ValueError for a probability that is not finite.
        """
        prob = np.stack([each.prob for each in judged])
        require_finite(prob, "probabilities")
        mass = np.stack([equal_mass_bin_of(own, bins) for own in prob])
        start, place = _runs(np.stack([each.place for each in judged]), mass)
        present, apart, total = _per_patient(patient, positive, prob, log_loss(positive, prob), num_patients)
        return cls(patient, start, place, _excess(prob, positive), present, apart), total


@compiled
def _runs(wide: NDArray[np.int64], mass: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where each run begins [S + 1], the number of images last, and its bins [S, C, 2]; bins [C, n] of each kind."""
    num_probs, num = wide.shape
    start = np.empty(num + 1, np.int64)
    found = 0
    for i in range(num):
        new = i == 0
        for c in range(num_probs):
            new = new or wide[c, i] != wide[c, i - 1] or mass[c, i] != mass[c, i - 1]
        if new:
            start[found] = i
            found += 1
    start[found] = num
    place = np.empty((found, num_probs, 2), np.int64)
    for s in range(found):
        for c in range(num_probs):
            place[s, c, 0], place[s, c, 1] = wide[c, start[s]], mass[c, start[s]]
    return start[: found + 1].copy(), place


@compiled
def _excess(prob: Array, positive: Positive) -> Array:
    """Return label - probability [n, SIDE_BY_SIDE] of probabilities [C, n]; 0 where there are fewer."""
    out = np.zeros((prob.shape[1], SIDE_BY_SIDE))
    for i in range(prob.shape[1]):
        label = 1.0 if positive[i] else 0.0
        for c in range(prob.shape[0]):
            out[i, c] = label - prob[c, i]
    return out


@compiled
def _per_patient(
    patient: Patients, positive: Positive, prob: Array, loss: Array, num_patients: int
) -> tuple[Patients, Array, Array]:
    """Return who has an image, per patient his squared distances, log losses and positive images, and all sums [1 + 2 C]."""
    num_probs = prob.shape[0]
    place = np.full(num_patients, -1, np.int32)
    for p in patient:
        place[p] = 0
    present = np.flatnonzero(place == 0).astype(np.int32)
    place[present] = np.arange(len(present))
    apart, total = np.zeros((len(present), 2 * SIDE_BY_SIDE + 1)), np.zeros(1 + 2 * num_probs)
    for i in range(patient.shape[0]):
        at, label = place[patient[i]], 1.0 if positive[i] else 0.0
        apart[at, 2 * SIDE_BY_SIDE] += label
        total[0] += label
        for c in range(num_probs):
            squared = (label - prob[c, i]) ** 2
            apart[at, c] += squared
            apart[at, SIDE_BY_SIDE + c] += loss[c, i]
            total[1 + 2 * c] += squared
            total[2 + 2 * c] += loss[c, i]
    return present, apart, total
