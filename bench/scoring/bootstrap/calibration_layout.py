"""The images of a column, made ready for the pass that judges several of their probabilities at once.

Shapes: n images that take part, C probabilities, S runs of images.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from bench.scoring.bootstrap.fixed_point_sums import DIGITS, Words, words_of
from bench.scoring.bootstrap.kernels import AHEAD, NINE, SIDE_BY_SIDE
from bench.scoring.bootstrap.simd import fetch
from bench.scoring.calibration_metrics import Judged, equal_mass_bin_of, log_of_told
from bench.scoring.metrics import require_finite

Array = NDArray[np.float64]
Patients = NDArray[np.int32]
Positive = NDArray[np.bool_]


class Laid(NamedTuple):
    """Up to SIDE_BY_SIDE probabilities of the images of a column, as one pass over a tile of weights reads them.

    Neighbours that share every bin of every probability are a run, so that the weights of an image are read once for all
    of them; along the score there are fewest. Images go in pairs, the last of a run with nobody where their number is odd.
    """

    start: NDArray[np.int64]  # [S + 1], in pairs
    place: NDArray[np.int32]  # [S, C, 2]: equal-width and equal-mass bin
    pair: Patients  # [m, 2]
    images: Words  # [m]: 1 for each image
    excess: Words  # [C, DIGITS, m]: label - probability

    @classmethod
    def of(
        cls, patient: Patients, positive: Positive, judged: Sequence[Judged], bins: int, apart: Array
    ) -> tuple[Self, Array, Array]:
        """Return it with what the sample adds up to.

        These are of each run [S, C + 1] the excess under each probability and the images, and of all images [NINE]
        squared distances, log losses, those with the finding. `apart` [num_patients, NINE] gets what needs no bins.
        Raises ValueError for a probability that is not finite.
        """
        num, num_probs = len(patient), len(judged)
        assert num_probs <= SIDE_BY_SIDE, "one pass takes no more: see calibrators.FITS"
        mass = [equal_mass_bin_of(each.prob, bins) for each in judged]
        new = np.zeros(num, np.bool_)
        new[:1] = True
        for each, where in zip(judged, mass, strict=True):
            _divide(each.place, where, new)
        padding = [np.zeros(num)] * (SIDE_BY_SIDE - num_probs)
        prob = (*(each.prob for each in judged), *padding)
        told = (*(log_of_told(positive, each.prob) for each in judged), *padding)
        first = np.append(np.flatnonzero(new), num)
        total, run = np.empty(NINE), np.empty((len(first) - 1, SIDE_BY_SIDE + 1))
        _add_up(patient, positive, prob, told, first, apart, total, run)
        run[:, num_probs] = np.diff(first)
        if not np.isfinite(total).all():
            require_finite(np.stack(prob[:num_probs]), "probabilities")
        place = np.empty((len(run), num_probs, 2), np.int32)
        for c, each in enumerate(judged):
            place[:, c, 0], place[:, c, 1] = each.place[first[:-1]], mass[c][first[:-1]]
        start, pair, images = in_pairs(first, patient)
        words = np.empty((num_probs, DIGITS, len(pair)), np.int32)
        present, excess = positive.astype(np.float64), np.empty(num)
        for each, word in zip(judged, words, strict=True):
            spell(first, start, np.subtract(present, each.prob, out=excess), word)
        return cls(start, place, pair, images, words), np.ascontiguousarray(run[:, : num_probs + 1]), total


@compiled
def in_pairs(first: NDArray[np.int64], patient: Patients) -> tuple[NDArray[np.int64], Patients, Words]:
    """Return runs of images, first[s] to first[s + 1], in pairs: start, pair and images as in `Laid`."""
    num_runs = first.shape[0] - 1
    start = np.zeros(num_runs + 1, np.int64)
    for s in range(num_runs):
        start[s + 1] = start[s] + (first[s + 1] - first[s] + 1) // 2
    pair, images = np.empty((start[num_runs], 2), np.int32), np.full(start[num_runs], 1 << 16 | 1, np.int32)
    flat = pair.reshape(-1)
    for s in range(num_runs):
        num, at = first[s + 1] - first[s], 2 * start[s]
        flat[at : at + num] = patient[first[s] : first[s + 1]]
        if num % 2:
            flat[at + num], images[start[s + 1] - 1] = flat[at + num - 1], 1
    return start, pair, images


@compiled
def spell(first: NDArray[np.int64], start: NDArray[np.int64], excess: Array, words: Words) -> None:
    """Write the digits of excess [n], in pairs as `in_pairs` has them: words [DIGITS, m]."""
    beside = np.empty((words.shape[1], 2))
    flat = beside.reshape(-1)
    for s in range(first.shape[0] - 1):
        num, at = first[s + 1] - first[s], 2 * start[s]
        flat[at : at + num] = excess[first[s] : first[s + 1]]
        if num % 2:
            flat[at + num] = 0
    for i in range(beside.shape[0]):  # over all runs: many at a time
        words[0, i], words[1, i], words[2, i] = words_of(beside[i, 0], beside[i, 1])


@compiled
def _divide(wide: NDArray[np.int32], mass: NDArray[np.int32], new: NDArray[np.bool_]) -> None:
    """Note of each image [n] whether a bin of one probability is another than that of the image before."""
    for i in range(1, new.shape[0]):
        new[i] |= (wide[i] != wide[i - 1]) | (mass[i] != mass[i - 1])


@compiled
def _add_up(
    patient: Patients,
    positive: Positive,
    prob: tuple[Array, ...],
    told: tuple[Array, ...],
    first: NDArray[np.int64],
    apart: Array,
    total: Array,
    run: Array,
) -> None:
    """Fill what is known of SIDE_BY_SIDE probabilities [n], added up by patient and in all, [NINE] each.

    told is the logarithm of what each gave to what was there; run [S, .] gets the excess of each run of images.
    """
    s0, s1, s2, s3, l0, l1, l2, l3, every = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0  # in registers
    last, flat = patient.shape[0] - 1, apart.reshape(-1)
    flat[:] = 0
    for s in range(run.shape[0]):
        e0, e1, e2, e3 = 0.0, 0.0, 0.0, 0.0
        for i in range(first[s], first[s + 1]):
            ahead = patient[min(i + 2 * AHEAD, last)] * NINE
            fetch(flat, ahead)
            fetch(flat, ahead + NINE - 1)
            present, of = 1.0 if positive[i] else 0.0, apart[patient[i]]
            x0, x1, x2, x3 = present - prob[0][i], present - prob[1][i], present - prob[2][i], present - prob[3][i]
            e0, e1, e2, e3 = e0 + x0, e1 + x1, e2 + x2, e3 + x3
            x0, x1, x2, x3 = x0 * x0, x1 * x1, x2 * x2, x3 * x3
            y0, y1, y2, y3 = -told[0][i], -told[1][i], -told[2][i], -told[3][i]
            of[0], of[1], of[2], of[3] = of[0] + x0, of[1] + x1, of[2] + x2, of[3] + x3
            of[4], of[5], of[6], of[7] = of[4] + y0, of[5] + y1, of[6] + y2, of[7] + y3
            of[8] += present
            s0, s1, s2, s3 = s0 + x0, s1 + x1, s2 + x2, s3 + x3
            l0, l1, l2, l3 = l0 + y0, l1 + y1, l2 + y2, l3 + y3
            every += present
        run[s, 0], run[s, 1], run[s, 2], run[s, 3] = e0, e1, e2, e3
    total[:] = np.array([s0, s1, s2, s3, l0, l1, l2, l3, every])
