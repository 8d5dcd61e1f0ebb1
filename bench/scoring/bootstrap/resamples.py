"""Draws of patients with replacement.

All runs of a cohort share the draws, so that the scores of two runs can be compared on the same patients.
Shapes: N images, T tiles. A tile is a group of LANES replicates (bootstrap samples) that are computed together.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.bootstrap.compiled import compiled
from harmonize.seeds import stream

LANES = 64  # replicates per tile; a patient's weights (one byte per replicate) fill one cache line of the processor
# number of replicates for subgroups, gap components and detailed calibration; fewer replicates are faster, and their
# bounds slightly less precise
FOR_DETAIL = 5 * LANES
WORDS_AT_ONCE = 2**14  # number of random 64-bit words that are drawn at once; they fit into the processor's cache
Ids = NDArray[np.object_] | NDArray[np.str_]
PatientCodes = tuple[NDArray[np.int32], int, int]


@dataclass(frozen=True, slots=True)
class Resamples:
    """Number of times that each patient was drawn in each replicate, and the patient of each image.

    patient [N] int32: code of each image's patient, 0 to num_patients - 1. Codes follow the sorted ids, so the order of the
    images has no effect.
    weight [T, num_patients, LANES] uint8: replicate r is weight[r // LANES, :, r % LANES]. All weights after the first `num`
    replicates are 0.
    digest: equal digests mean equal draws of the same patients, so the replicates can be compared in pairs.
    """

    patient: NDArray[np.int32]
    weight: NDArray[np.uint8]
    num: int
    digest: int

    @property
    def num_patients(self) -> int:
        """Return the number of distinct patients."""
        return int(self.weight.shape[1])

    @classmethod
    def draw(cls, patient_ids: Ids, num: int = 1000, name: str = "", seed: int = 0) -> Self:
        """Draw `num` replicates, each with as many patients as `patient_ids` has.

        Patients are drawn with replacement, each with all images of the patient. The draws depend only on the number of
        patients, on `name` and on `seed`, not on models or labels. A larger `num` only adds replicates and does not
        change the others. Memory: num bytes per patient.
        """
        codes, num_patients, digest = _encode_patients(patient_ids, f"{name}\x1f{seed}\x1f{num}")
        return cls(codes, _draw_weights(num_patients, num, name, seed), num, digest)

    def tile(self, index: int) -> NDArray[np.uint8]:
        """Return the weights of one tile of replicates [num_patients, LANES]."""
        weight: NDArray[np.uint8] = self.weight[index]
        return weight

    def first(self, num: int) -> Self:
        """Return the resamples with only the first `num` replicates, or with all if there are fewer."""
        smaller = min(num, self.num)
        return replace(self, weight=self.weight[: -(-smaller // LANES)], num=smaller)

    def counts(self, replicate: int) -> NDArray[np.uint8]:
        """Return how often each image occurs in one replicate [N]."""
        return np.asarray(self.weight[replicate // LANES, :, replicate % LANES][self.patient], np.uint8)


_weights: OrderedDict[tuple[int, int, str, int], NDArray[np.uint8]] = OrderedDict()  # cache of `_draw_weights`
_lock = Lock()
MAX_BYTES = 400_000_000  # maximum size of all cached weights
_patient_codes: OrderedDict[tuple[int, str], tuple[Ids, PatientCodes]] = OrderedDict()  # cache of `_encode_patients`
MAX_COHORTS = 32  # maximum number of entries in the cache of patient codes


def _encode_patients(patient_ids: Ids, text: str) -> PatientCodes:
    """Return the patient code of each image, the number of patients, and a digest of their ids and `text`.

    If the array of ids is read-only, the result is cached, because all runs of a cohort share this array, and sorting
    takes time.
    """
    key = (id(patient_ids), text)
    with _lock:
        if key in _patient_codes and _patient_codes[key][0] is patient_ids:
            return _patient_codes[key][1]
    codes, ids = pd.factorize(np.asarray(patient_ids, dtype=object), sort=True)
    digest = int.from_bytes(hashlib.sha256("\x1f".join([text, *map(str, ids)]).encode()).digest()[:4], "big")
    result = codes.astype(np.int32), len(ids), digest
    if not patient_ids.flags.writeable:
        with _lock:
            # the entry keeps the array in memory, so that no other array gets the same id()
            _patient_codes[key] = patient_ids, result
            while len(_patient_codes) > MAX_COHORTS:
                _patient_codes.popitem(last=False)
    return result


@compiled
def draw_index(half: np.uint32, num: int) -> np.int64:
    """Return an index from 0 to num - 1 for 32 random bits, or -1 if the bits must be rejected.

    Rejecting some bits makes all indices equally probable. The indices are those of numpy's `Generator.integers`.
    Source: Lemire 2019, doi:10.1145/3230636.
    """
    bound = np.uint64(num)
    product = np.uint64(half) * bound
    accepted = product & np.uint64(0xFFFFFFFF) >= (np.uint64(2**32) - bound) % bound
    return np.int64(product >> np.uint64(32)) if accepted else np.int64(-1)


@compiled
def _count_draws(halves: NDArray[np.uint32], count: NDArray[np.uint8], missing: int) -> tuple[int, int]:
    """Draw `missing` patients, and add 1 to `count` for each draw; stop if no random numbers are left.

    Return the number of used random numbers, and the number of draws that are still missing.
    """
    used = 0
    while missing and used < halves.shape[0]:
        patient = draw_index(halves[used], count.shape[0])
        used += 1
        if patient >= 0:
            count[patient] += 1
            missing -= 1
    return used, missing


def one_replicate(num_patients: int) -> NDArray[np.uint8]:
    """Return the weights of the original sample [num_patients, 1]: each patient once."""
    weight = np.ones((num_patients, 1), np.uint8)
    # Drawn weights are read-only, too. numba would compile each function again for writable weights.
    weight.flags.writeable = False
    return weight


def _draw_weights(num_patients: int, num: int, name: str, seed: int) -> NDArray[np.uint8]:
    """Draw the weights [T, num_patients, LANES], or return them from the cache that all runs of a cohort share."""
    key = (num_patients, num, name, seed)
    with _lock:
        if key in _weights:
            _weights.move_to_end(key)
            return _weights[key]
    num_tiles = -(-num // LANES)
    weight = np.empty((num_tiles, num_patients, LANES), np.uint8)
    words, halves = stream(seed, "resamples", name).bit_generator, np.empty(0, np.uint32)
    for tile in range(len(weight) if num_patients else 0):
        # uint8 is enough: the probability that a patient is drawn 256 times is below 1e-500
        counts = np.zeros((LANES, num_patients), np.uint8)
        for lane in range(min(LANES, num - tile * LANES)):
            missing = num_patients
            while missing:
                if not len(halves):
                    # the lower 32 bits of each word come first
                    halves = words.random_raw(WORDS_AT_ONCE).view(np.uint32)
                used, missing = _count_draws(halves, counts[lane], missing)
                halves = halves[used:]
        weight[tile] = counts.T
    weight.flags.writeable = False
    with _lock:
        _weights[key] = weight
        while len(_weights) > 1 and sum(cached.nbytes for cached in _weights.values()) > MAX_BYTES:
            _weights.popitem(last=False)
    return weight
