"""Patients drawn with replacement: the replicates that every run of a cohort shares."""

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

LANES = 64  # replicates side by side: one byte each, one cache line per patient
# replicates behind subgroups, parts of a gap and calibration in detail: a third of the time, bounds a little rougher
FOR_DETAIL = 5 * LANES
WORDS_AT_ONCE = 2**14  # words of 64 bits that are drawn before they are counted: the processor's cache holds them
Ids = NDArray[np.object_] | NDArray[np.str_]
Numbered = tuple[NDArray[np.int32], int, int]


@dataclass(frozen=True, slots=True)
class Resamples:
    """How often each patient was drawn in each replicate, and which image belongs to which patient.

    patient [N] int32: 0 .. num_patients - 1 in the sorted order of the ids, so the order of the images does not matter.
    weight [T, num_patients, LANES] uint8: replicate r is weight[r // LANES, :, r % LANES]; lanes beyond `num` are 0.
    digest: equal digests mean equal draws of equal patients, hence replicates that can be paired.
    """

    patient: NDArray[np.int32]
    weight: NDArray[np.uint8]
    num: int
    digest: int

    @property
    def num_patients(self) -> int:
        """Return how many distinct patients there are."""
        return int(self.weight.shape[1])

    @classmethod
    def draw(cls, patient_ids: Ids, num: int = 1000, name: str = "", seed: int = 0) -> Self:
        """Draw as many patients as there are, `num` times; a patient comes with all of its images.

        The draws depend on the number of patients, `name` (of the cohort) and `seed` only: never on a model or a label.
        More replicates begin with the same ones. Memory: num bytes per patient.
        """
        codes, num_patients, digest = _patients(patient_ids, f"{name}\x1f{seed}\x1f{num}")
        return cls(codes, _drawn(num_patients, num, name, seed), num, digest)

    def tile(self, at: int) -> NDArray[np.uint8]:
        """Return the weights of LANES replicates [num_patients, LANES]."""
        weight: NDArray[np.uint8] = self.weight[at]
        return weight

    def first(self, num: int) -> Self:
        """Return the first replicates alone, or all where there are no more."""
        kept = min(num, self.num)
        return replace(self, weight=self.weight[: -(-kept // LANES)], num=kept)

    def counts(self, replicate: int) -> NDArray[np.uint8]:
        """Return how often each image [N] occurs in one replicate."""
        return np.asarray(self.weight[replicate // LANES, :, replicate % LANES][self.patient], np.uint8)


_kept: OrderedDict[tuple[int, int, str, int], NDArray[np.uint8]] = OrderedDict()
_lock = Lock()
KEPT_BYTES = 400_000_000
_numbered: OrderedDict[tuple[int, str], tuple[Ids, Numbered]] = OrderedDict()
KEPT_COHORTS = 32


def _patients(patient_ids: Ids, text: str) -> Numbered:
    """Return the code of each image's patient, how many there are, and a digest of their ids and a text.

    Remembered for an array that cannot be written to, as the runs of a cohort share: sorting its names once is enough.
    """
    key = (id(patient_ids), text)
    with _lock:
        if key in _numbered and _numbered[key][0] is patient_ids:
            return _numbered[key][1]
    codes, ids = pd.factorize(np.asarray(patient_ids, dtype=object), sort=True)
    digest = int.from_bytes(hashlib.sha256("\x1f".join([text, *map(str, ids)]).encode()).digest()[:4], "big")
    found = codes.astype(np.int32), len(ids), digest
    if not patient_ids.flags.writeable:
        with _lock:
            _numbered[key] = patient_ids, found  # the array, too: another could take its place in memory
            while len(_numbered) > KEPT_COHORTS:
                _numbered.popitem(last=False)
    return found


@compiled
def place(half: np.uint32, num: int) -> np.int64:
    """Return which of `num` places 32 bits draw, -1 where they are to be thrown away: as numpy draws with `integers`.

    Source: Lemire 2019, doi:10.1145/3230636.
    """
    bound = np.uint64(num)
    product = np.uint64(half) * bound
    fair = product & np.uint64(0xFFFFFFFF) >= (np.uint64(2**32) - bound) % bound
    return np.int64(product >> np.uint64(32)) if fair else np.int64(-1)


@compiled
def _count(half: NDArray[np.uint32], times: NDArray[np.uint8], missing: int) -> tuple[int, int]:
    """Add how often each patient is drawn until none is missing; return how many halves that took, and how many are missing."""
    taken = 0
    while missing and taken < half.shape[0]:
        patient = place(half[taken], times.shape[0])
        taken += 1
        if patient >= 0:
            times[patient] += 1
            missing -= 1
    return taken, missing


def one_replicate(num_patients: int) -> NDArray[np.uint8]:
    """Return the weights [num_patients, 1] of the sample itself: each patient once."""
    weight = np.ones((num_patients, 1), np.uint8)
    weight.flags.writeable = False  # the same type as weights that are drawn: compiled once for both
    return weight


def _drawn(num_patients: int, num: int, name: str, seed: int) -> NDArray[np.uint8]:
    """Return the draws [T, num_patients, LANES], remembered between calls: the hundredth run of a cohort does not draw again."""
    key = (num_patients, num, name, seed)
    with _lock:
        if key in _kept:
            _kept.move_to_end(key)
            return _kept[key]
    num_tiles = -(-num // LANES)
    weight = np.empty((num_tiles, num_patients, LANES), np.uint8)
    words, half = stream(seed, "resamples", name).bit_generator, np.empty(0, np.uint32)
    for tile in range(len(weight) if num_patients else 0):
        times = np.zeros((LANES, num_patients), np.uint8)
        # 255 holds: a count of 256 needs 256 patients, and is then rarer than 1e-500
        for lane in range(min(LANES, num - tile * LANES)):
            missing = num_patients
            while missing:
                if not len(half):
                    half = words.random_raw(WORDS_AT_ONCE).view(np.uint32)  # the low half of each word comes first
                taken, missing = _count(half, times[lane], missing)
                half = half[taken:]
        weight[tile] = times.T
    weight.flags.writeable = False
    with _lock:
        _kept[key] = weight
        while len(_kept) > 1 and sum(each.nbytes for each in _kept.values()) > KEPT_BYTES:
            _kept.popitem(last=False)
    return weight
