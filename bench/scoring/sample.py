"""The independent patients of a split, over which standard errors are computed."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.seeds import stream

Array = NDArray[np.float64]
Ids = NDArray[np.object_] | NDArray[np.str_]

# Patients beyond this number are joined at random to this many groups. The groups are independent, too, so a variance from their
# sums is right on average; the standard error that follows varies by 2 %. So no array grows with the number of patients.
MOST_GROUPS = 1024
MAX_SAMPLES = 32  # maximum number of samples in the cache


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """The patients of N images, and the groups of patients whose influences are stored.

    patient [N] int32: code of each image's patient, 0 to num_patients - 1. Codes follow the sorted ids, so the order of the
    images has no effect. group [N] int32: the same with at most MOST_GROUPS patients; else the patient's group. name: equal
    for the samples of equal splits. digest: equal digests mean the same patients, whose scores can be compared in pairs.
    """

    name: str
    patient: NDArray[np.int32]
    group: NDArray[np.int32]
    num_patients: int
    num_groups: int
    digest: int

    @classmethod
    def of(cls, patient_ids: Ids, name: str = "") -> "Sample":
        """Return the sample of the patients of N images.

        If the array of ids is read-only, the result is kept, because all runs of a cohort share this array, and sorting
        takes time.
        """
        key = (id(patient_ids), name)
        with _lock:
            if key in _samples and _samples[key][0] is patient_ids:
                return _samples[key][1]
        codes, ids = pd.factorize(np.asarray(patient_ids, dtype=object), sort=True)
        digest = int.from_bytes(hashlib.sha256("\x1f".join([name, *map(str, ids)]).encode()).digest()[:4], "big")
        patient, num = codes.astype(np.int32), len(ids)
        group = patient
        if num > MOST_GROUPS:
            group = (stream(0, "patient groups", name).permutation(num) % MOST_GROUPS).astype(np.int32)[patient]
        sample = cls(name, patient, group, num, min(num, MOST_GROUPS), digest)
        if not patient_ids.flags.writeable:
            with _lock:
                # the entry keeps the array in memory, so that no other array gets the same id()
                _samples[key] = patient_ids, sample
                while len(_samples) > MAX_SAMPLES:
                    _samples.popitem(last=False)
        return sample

    @property
    def key(self) -> str:
        """Return the name under which the influences of these patients are stored; other patients have another key."""
        return f"{self.name}#{self.digest:08x}"

    def sums(self, value: NDArray[Any], rows: NDArray[np.intp] | slice = slice(None)) -> Array:
        """Return the sums [..., P] of numbers of images [..., n] over each group of patients; rows: indices of these n images."""
        group, value = self.group[rows], np.asarray(value, np.float64)
        out = np.empty((*value.shape[:-1], self.num_groups))
        for index in np.ndindex(value.shape[:-1]):
            out[index] = np.bincount(group, value[index], self.num_groups)
        return out


_samples: OrderedDict[tuple[int, str], tuple[Ids, Sample]] = OrderedDict()  # cache of `Sample.of`
_lock = Lock()
