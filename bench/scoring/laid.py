"""The images of a column, made ready for the pass that judges several of their probabilities at once.

Shapes: n images that take part, C probabilities, S runs of images.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.calibration import Judged, equal_mass_bin_of, log_of_told
from bench.scoring.compiled import compiled
from bench.scoring.kernels import NINE, SIDE_BY_SIDE
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Patients = NDArray[np.int32]
Positive = NDArray[np.bool_]


class Laid(NamedTuple):
    """Up to SIDE_BY_SIDE probabilities of the images of a column, as one pass over a tile of weights reads them.

    Neighbours that share every bin of every probability are a run, so that the weights of an image are read once for all
    of them; along the score there are fewest.
    """

    patient: Patients  # [n]
    start: NDArray[np.int64]  # [S + 1]
    place: NDArray[np.int64]  # [S, C, 2]: equal-width and equal-mass bin
    excess: Array  # [n, SIDE_BY_SIDE]: label - probability

    @classmethod
    def of(
        cls, patient: Patients, positive: Positive, judged: Sequence[Judged], bins: int, apart: Array
    ) -> tuple[Self, Array]:
        """Return it with the sums of the sample [NINE]: squared distances, log losses, images with the finding.

        What needs no bins is added to `apart` [num_patients, NINE]. Raises ValueError for a probability that is not finite.
        """
        num, num_probs = len(patient), len(judged)
        assert num_probs <= SIDE_BY_SIDE, "one pass takes no more: see calibrators.FITS"
        prob, told = np.empty((2, SIDE_BY_SIDE, num))
        prob[num_probs:], told[num_probs:] = 0, 0
        new, mass = np.zeros(num, np.bool_), np.empty((num_probs, num), np.int64)
        new[:1] = True
        for c, each in enumerate(judged):
            mass[c] = equal_mass_bin_of(each.prob, bins)
            _divide(each.place, mass[c], new)
            prob[c], told[c] = each.prob, log_of_told(positive, each.prob)
        excess, total = np.empty((num, SIDE_BY_SIDE)), np.empty(NINE)
        _add_up(patient, positive, prob, told, excess, apart, total)
        if not np.isfinite(total).all():
            require_finite(prob[:num_probs], "probabilities")
        start = np.flatnonzero(new)
        place = np.empty((len(start), num_probs, 2), np.int64)
        for c, each in enumerate(judged):
            place[:, c, 0], place[:, c, 1] = each.place[start], mass[c, start]
        return cls(patient, np.append(start, num), place, excess), total


@compiled
def _divide(wide: NDArray[np.int64], mass: NDArray[np.int64], new: NDArray[np.bool_]) -> None:
    """Note of each image [n] whether a bin of one probability is another than that of the image before."""
    for i in range(1, new.shape[0]):
        new[i] |= (wide[i] != wide[i - 1]) | (mass[i] != mass[i - 1])


@compiled
def _add_up(
    patient: Patients, positive: Positive, prob: Array, told: Array, excess: Array, apart: Array, total: Array
) -> None:
    """Fill what is known of probabilities [SIDE_BY_SIDE, n], and add it up by patient and in all, [NINE] each.

    told is the logarithm of what each gave to what was there.
    """
    s0, s1, s2, s3, l0, l1, l2, l3, every = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0  # in registers
    for i in range(patient.shape[0]):
        present, of, far = 1.0 if positive[i] else 0.0, apart[patient[i]], excess[i]
        x0, x1, x2, x3 = present - prob[0, i], present - prob[1, i], present - prob[2, i], present - prob[3, i]
        far[0], far[1], far[2], far[3] = x0, x1, x2, x3
        x0, x1, x2, x3 = x0 * x0, x1 * x1, x2 * x2, x3 * x3
        y0, y1, y2, y3 = -told[0, i], -told[1, i], -told[2, i], -told[3, i]
        of[0], of[1], of[2], of[3] = of[0] + x0, of[1] + x1, of[2] + x2, of[3] + x3
        of[4], of[5], of[6], of[7] = of[4] + y0, of[5] + y1, of[6] + y2, of[7] + y3
        of[8] += present
        s0, s1, s2, s3 = s0 + x0, s1 + x1, s2 + x2, s3 + x3
        l0, l1, l2, l3 = l0 + y0, l1 + y1, l2 + y2, l3 + y3
        every += present
    total[:] = np.array([s0, s1, s2, s3, l0, l1, l2, l3, every])
