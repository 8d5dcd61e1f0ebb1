"""The images of a column, made ready for the pass that judges several of their probabilities at once.

Shapes: n images that take part, C probabilities, S runs of images.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import Judged, equal_mass_bin_of, log_of_told
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
        num, num_probs = len(patient), len(judged)
        present, slot, apart = _present(patient, positive, num_patients)
        excess, total = np.zeros((num, SIDE_BY_SIDE)), np.zeros(1 + 2 * num_probs)
        new, mass = np.zeros(num, np.bool_), np.empty((num_probs, num), np.int64)
        new[:1], total[0] = True, positive.sum()
        for c, each in enumerate(judged):
            mass[c] = equal_mass_bin_of(each.prob, bins)
            _divide(each.place, mass[c], new)
            told = log_of_told(positive, each.prob)
            total[1 + 2 * c : 3 + 2 * c] = _add_up(c, slot, positive, each.prob, told, excess, apart)
        if not np.isfinite(total).all():
            require_finite(np.stack([each.prob for each in judged]), "probabilities")
        start = np.flatnonzero(new)
        place = np.empty((len(start), num_probs, 2), np.int64)
        for c, each in enumerate(judged):
            place[:, c, 0], place[:, c, 1] = each.place[start], mass[c, start]
        return cls(patient, np.append(start, num), place, excess, present, apart), total


@compiled
def _present(patient: Patients, positive: Positive, num_patients: int) -> tuple[Patients, NDArray[np.int32], Array]:
    """Return who has an image, where each image's patient stands among them [n], and `apart` with the positive images alone."""
    place = np.full(num_patients, -1, np.int32)
    for p in patient:
        place[p] = 0
    present, found = np.empty(num_patients, np.int32), 0
    for p in range(num_patients):
        if place[p] == 0:
            place[p], present[found] = found, p
            found += 1
    slot, apart = np.empty(patient.shape[0], np.int32), np.zeros((found, 2 * SIDE_BY_SIDE + 1))
    for i in range(patient.shape[0]):
        slot[i] = place[patient[i]]
        apart[slot[i], 2 * SIDE_BY_SIDE] += 1.0 if positive[i] else 0.0
    return present[:found].copy(), slot, apart


@compiled
def _divide(wide: NDArray[np.int64], mass: NDArray[np.int64], new: NDArray[np.bool_]) -> None:
    """Note of each image [n] whether a bin of one probability is another than that of the image before."""
    for i in range(1, new.shape[0]):
        new[i] |= (wide[i] != wide[i - 1]) | (mass[i] != mass[i - 1])


@compiled
def _add_up(
    c: int, slot: NDArray[np.int32], positive: Positive, prob: Array, told: Array, excess: Array, apart: Array
) -> tuple[float, float]:
    """Fill what is known of probability c, and return its sums; told [n] is the logarithm of what it gave to what was there."""
    squares, losses = 0.0, 0.0
    for i in range(prob.shape[0]):
        far = (1.0 if positive[i] else 0.0) - prob[i]
        excess[i, c] = far
        squared = far * far
        apart[slot[i], c] += squared
        apart[slot[i], SIDE_BY_SIDE + c] -= told[i]
        squares += squared
        losses -= told[i]
    return squares, losses
