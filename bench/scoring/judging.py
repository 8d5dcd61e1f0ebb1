"""Calibration errors of each replicate, of several probabilities of the same images in one pass.

Shapes: n images that take part, C probabilities, S runs of images, B replicates, G bins.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.scoring.bootstrap import Labels, Scores, each, over, taking_part
from bench.scoring.calibration import ERRORS, Judged, equal_mass_bin_of, fill_errors, parts_of_sums
from bench.scoring.compiled import compiled
from bench.scoring.kernels import SIDE_BY_SIDE, fold, sum_runs, sum_runs_of_one
from bench.scoring.metrics import require_finite
from bench.scoring.resamples import LANES, Resamples

Array = NDArray[np.float64]
Patients = NDArray[np.int32]


def calibration_metrics(
    resamples: Resamples, label_NC: Labels, prob_NC: Scores, bins: int = 15, num_threads: int = 1
) -> dict[str, Array]:
    """Return every error of `calibration.errors_of`, [C, B] each. Equal-mass bins are those of the images, not redrawn."""
    num_columns = label_NC.shape[1]
    out = {name: np.full((num_columns, resamples.num), np.nan) for name in ERRORS}

    def work(column: int) -> None:
        rows = taking_part(label_NC, column)
        rows = rows[np.argsort(-prob_NC[rows, column], kind="stable")]
        judged = Judged.of(np.asarray(prob_NC[rows, column], np.float64), bins)
        [found] = column_errors(resamples, resamples.patient[rows], label_NC[rows, column], [judged], bins)
        for name in ERRORS:
            out[name][column] = found[name][1:]

    each(work, num_columns, num_threads)
    return out


def column_errors(
    resamples: Resamples,
    patient: Patients,
    label: NDArray[np.integer],
    judged: Sequence[Judged],
    bins: int,
) -> list[dict[str, Array]]:
    """Return the errors of several probabilities of the same images [n]: [1 + B] each, of the sample, then of the replicates.

    One pass serves all: neighbours that share every bin of every probability are a run, and the weights of an image are
    read once for all of them. What needs no bins is added up per patient first. Order of the images: any; along the
    score there are fewest runs. Raises ValueError for a probability that is not finite.
    """
    found: list[dict[str, Array]] = []
    for first in range(0, len(judged), SIDE_BY_SIDE):
        found += _together(resamples, patient, label, judged[first : first + SIDE_BY_SIDE], bins)
    return found


def _together(
    resamples: Resamples, patient: Patients, label: NDArray[np.integer], judged: Sequence[Judged], bins: int
) -> list[dict[str, Array]]:
    """Return the same for as many probabilities as are summed side by side, or fewer."""
    for prob, _ in judged:
        require_finite(prob, "probabilities")
    places = np.stack([of for own in judged for of in (own.place, equal_mass_bin_of(own.prob, bins))], 1)
    start = _starts(places)
    place = np.ascontiguousarray(places[start[:-1]]).reshape(len(start) - 1, len(judged), 2)
    excess, squared, loss = np.zeros((3, len(label), SIDE_BY_SIDE))
    for c, (prob, _) in enumerate(judged):
        excess[:, c] = label - prob
        squared[:, c], loss[:, c] = parts_of_sums(label, prob)
    positive = np.asarray(label == 1)
    of_patient = _per_patient(patient, positive, squared, loss, resamples.num_patients)
    num_tiles = resamples.weight.shape[0]
    out = np.empty((len(judged), len(ERRORS), 1 + num_tiles * LANES))
    _judge_sample(start, place, excess, positive, squared, loss, bins, out)
    for tile in range(num_tiles):
        lanes = out[..., 1 + tile * LANES : 1 + (tile + 1) * LANES]
        _judge(patient, start, place, excess, *of_patient, resamples.tile(tile), bins, lanes)
    return [dict(zip(ERRORS, of, strict=True)) for of in out[..., : 1 + resamples.num]]


@compiled
def _per_patient(
    patient: Patients, positive: NDArray[np.bool_], squared: Array, loss: Array, num_patients: int
) -> tuple[Patients, Array, Array, Array]:
    """Return who has an image, and the sums of each over his images."""
    place = np.full(num_patients, -1, np.int32)
    for p in patient:
        place[p] = 0
    present = np.flatnonzero(place == 0).astype(np.int32)
    place[present] = np.arange(len(present))
    ones, sums = np.zeros(len(present)), np.zeros((2, len(present), squared.shape[1]))
    for i in range(patient.shape[0]):
        at = place[patient[i]]
        ones[at] += 1.0 if positive[i] else 0.0
        for c in range(squared.shape[1]):
            sums[0, at, c] += squared[i, c]
            sums[1, at, c] += loss[i, c]
    return present, ones, sums[0], sums[1]


@compiled
def _judge_sample(
    start: NDArray[np.int64],
    place: NDArray[np.int64],
    excess: Array,
    positive: NDArray[np.bool_],
    squared: Array,
    loss: Array,
    bins: int,
    out: Array,
) -> None:
    """Fill the errors [C, len(ERRORS), 0] of the sample itself."""
    run, total = np.zeros((place.shape[0], SIDE_BY_SIDE + 1, 1)), np.zeros((3, 1))
    for s in range(place.shape[0]):
        run[s, SIDE_BY_SIDE, 0] = start[s + 1] - start[s]
        for i in range(start[s], start[s + 1]):
            for c in range(SIDE_BY_SIDE):
                run[s, c, 0] += excess[i, c]
    binned = np.zeros((place.shape[1], 2, bins, 2, 1))
    fold(run, place, binned)
    total[0, 0] = positive.sum()
    for c in range(place.shape[1]):
        total[1, 0], total[2, 0] = squared[:, c].sum(), loss[:, c].sum()
        fill_errors(binned[c, 0], binned[c, 1], total, out[c])


@compiled
def _judge(
    patient: Patients,
    start: NDArray[np.int64],
    place: NDArray[np.int64],
    excess: Array,
    present: Patients,
    positive: Array,
    squared: Array,
    loss: Array,
    weight: NDArray[np.uint8],
    bins: int,
    out: Array,
) -> None:
    """Fill the errors [C, len(ERRORS), LANES] of one tile."""
    every = np.array([0, present.shape[0]])
    run, whole = np.zeros((place.shape[0], SIDE_BY_SIDE + 1, LANES)), np.zeros((2, 1, SIDE_BY_SIDE + 1, LANES))
    total = np.zeros((3, LANES))
    sum_runs(patient, start, excess, weight, run)
    sum_runs(present, every, squared, weight, whole[0])
    sum_runs(present, every, loss, weight, whole[1])
    sum_runs_of_one(present, every, positive, weight, total[:1])
    binned = np.zeros((place.shape[1], 2, bins, 2, LANES))
    fold(run, place, binned)
    for c in range(place.shape[1]):
        total[1], total[2] = whole[0, 0, c], whole[1, 0, c]
        fill_errors(binned[c, 0], binned[c, 1], total, out[c])


def headline_errors(
    resamples: Resamples, patient: Patients, label: NDArray[np.integer], judged: Judged, bins: int, num_B: Array
) -> dict[str, Array]:
    """Return Brier score and ECE of each replicate [B], as `column_errors` does; num_B counts the images of each."""
    prob, where = judged
    start = _starts(where[:, None])
    squared = np.bincount(patient, (label - prob) ** 2, resamples.num_patients).astype(np.float64)
    present = np.flatnonzero(squared).astype(np.int32)
    whole, excess = np.array([0, len(present)]), label - prob
    num_tiles = resamples.weight.shape[0]
    distance, total = np.zeros((num_tiles, LANES)), np.zeros((num_tiles, 1, LANES))
    for tile in range(num_tiles):
        weight, run, binned = resamples.tile(tile), np.zeros((len(start) - 1, LANES)), np.zeros((bins, LANES))
        sum_runs_of_one(patient, start, excess, weight, run)
        np.add.at(binned, where[start[:-1]], run)  # one run a bin along the score, more in another order
        distance[tile] = np.abs(binned).sum(0)
        sum_runs_of_one(present, whole, squared[present], weight, total[tile])
    found = {"brier": total, "ece": distance}
    return {name: over(sums.ravel()[: resamples.num], num_B) for name, sums in found.items()}


def _starts(place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each run begins [S + 1], the number of images last, of images with these bins [n, P]."""
    new = (place[1:] != place[:-1]).any(1)
    return np.concatenate([[0] * bool(len(place)), np.flatnonzero(new) + 1, [len(place)]]).astype(np.int64)
