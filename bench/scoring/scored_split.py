"""`ScoredSplit`, the input of scoring: logits of one run on one split of one cohort, with label states and patient ids.

Shapes: N images, K findings.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.settings import STANDARD
from bench.scoring.metrics import require_finite
from bench.scoring.patient_groups import PatientGroups
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, STATES, UNCERTAIN, UNMAPPED_CODE

Result = TypeVar("Result")

DROPPED = -1  # label that is not scored, for example of a finding with too few patients

# readings: the label of each state that is scored; the labels of all other states are DROPPED
_STATED = {PRESENT: 1, ABSENT: 0}
_REPORTED = {**_STATED, NOT_MENTIONED: 0}
READINGS: Mapping[str, Mapping[int, int]] = MappingProxyType(
    {
        STANDARD: _REPORTED,
        "uncertain-present": {**_REPORTED, UNCERTAIN: 1},
        "uncertain-absent": {**_REPORTED, UNCERTAIN: 0},
        "unmentioned-dropped": _STATED,
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSplit:
    """One split of one cohort: logit [N, K] float32, state [N, K] int8 (label states; the state null is -3).

    Raises ValueError for shapes that do not match, a repeated image, an unknown state, or a logit that is not finite.
    """

    dataset: str
    split: str
    reference: str  # source of the labels: report (read by a program), radiologist, or phantom (the program that drew the images)
    image_id: NDArray[np.object_]
    patient_id: NDArray[np.object_]
    logit: NDArray[np.float32]
    state: NDArray[np.int8]
    patient_groups: PatientGroups | None = None  # patient attributes of each image
    of_children: bool = False  # whether all patients are children; means over external hospitals leave such a split out
    reading: str = STANDARD  # a name in READINGS
    _cache: dict[Hashable, tuple[object, Any]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        num = len(self.image_id)
        if (
            self.logit.ndim != 2
            or self.logit.shape != self.state.shape
            or len(self.logit) != num
            or len(self.patient_id) != num
        ):
            shapes = (
                f"{num} images, {len(self.patient_id)} patients, logits {self.logit.shape}, states {self.state.shape}"
            )
            raise ValueError(f"{self.name}: the shapes do not match: {shapes}")
        if self.patient_groups is not None and len(self.patient_groups.sex) != num:
            raise ValueError(f"{self.name}: patient_groups has {len(self.patient_groups.sex)} rows for {num} images")
        if num_repeated := num - len(set(self.image_id.tolist())):
            raise ValueError(f"{self.name}: {num_repeated} images are listed twice")
        unknown = set(np.unique(self.state).tolist()) - {*STATES, UNMAPPED_CODE}
        if unknown:
            raise ValueError(f"{self.name}: unknown label states {sorted(unknown)}")
        if self.logit.dtype.kind != "f":
            raise ValueError(f"{self.name}: logits of type {self.logit.dtype} instead of float32")
        if pd.isna(self.patient_id).any():
            raise ValueError(f"{self.name}: an image has no patient")
        require_finite(self.logit, f"logits of {self.name}")

    @property
    def name(self) -> str:
        """Return "dataset/split", which also names the sample of patients."""
        return f"{self.dataset}/{self.split}"

    def of_run(self, logit: NDArray[np.float32]) -> "ScoredSplit":
        """Return a copy with the logits [N, K] of another run; both share the cache of `cached`.

        Raises ValueError for another shape, or a logit that is not finite.
        """
        if logit.shape != self.logit.shape:
            raise ValueError(f"{self.name}: logits of shape {logit.shape} instead of {self.logit.shape}")
        require_finite(logit, f"logits of {self.name}")
        scored = copy(self)
        object.__setattr__(scored, "logit", logit)
        return scored

    def cached(self, key: Hashable, compute: Callable[[], Result], depends_on: object = None) -> Result:
        """Return the result of compute(), which is cached under `key` for all runs on the same images and labels.

        `compute` must not use logits. If the result depends on another object, pass that object as `depends_on`: if the
        object is not the same as at the last call, the result is computed again.
        """
        entry = self._cache.get(key)
        if entry is None or entry[0] is not depends_on:
            entry = self._cache[key] = (depends_on, compute())
        result: Result = entry[1]
        return result

    def labels(self) -> NDArray[np.int8]:
        """Return labels [N, K]: 1, 0, or DROPPED, as `reading` states. The array is read-only, because all runs share it."""
        return self.cached("labels", self._labels)

    @property
    def identity(self) -> object:
        """Return an object to compare with `is`; two splits have the same object only if they share images and labels."""
        return self._cache

    def _labels(self) -> NDArray[np.int8]:
        label_of_state = READINGS[self.reading]
        lowest = min(*STATES, UNMAPPED_CODE)
        lookup = np.array([label_of_state.get(state, DROPPED) for state in range(lowest, max(STATES) + 1)], np.int8)
        label: NDArray[np.int8] = lookup[self.state - np.int8(lowest)]
        label.flags.writeable = False
        return label


def without(scored: ScoredSplit, excluded: Sequence[str], findings: Sequence[str]) -> ScoredSplit:
    """Return the split without labels of the excluded findings, so that these findings get no scores."""
    columns = [k for k, finding in enumerate(findings) if finding in excluded]
    if not columns:
        return scored

    def unlabeled() -> ScoredSplit:
        groups = scored.patient_groups
        if groups:
            mapped = {name: _unmapped(state, columns) for name, state in groups.mapped.items()}
            groups = replace(groups, mapped=mapped)
        return replace(scored, state=_unmapped(scored.state, columns), patient_groups=groups)

    return scored.cached(("without", *columns), unlabeled).of_run(scored.logit)


def _unmapped(state: NDArray[np.int8], columns: Sequence[int]) -> NDArray[np.int8]:
    """Return label states [N, K] in which the findings in `columns` are unmapped."""
    state = state.copy()
    state[:, columns] = UNMAPPED_CODE
    return state


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Numbers of images and patients for each finding, [K] each."""

    n: NDArray[np.int64]  # scored images
    num_positive: NDArray[np.int64]
    num_negative: NDArray[np.int64]
    num_patients: NDArray[np.int64]
    available: NDArray[np.bool_]  # whether enough patients have a positive image, and enough patients a negative image


def count(label_NK: NDArray[np.int8], patient: NDArray[np.int32], min_count: int) -> Counts:
    """Count images and patients for each finding.

    patient [N]: code of each image's patient, from 0. min_count: see `Settings`.
    """

    def patients(mask_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.array([np.count_nonzero(np.bincount(patient[column])) for column in mask_NK.T], np.int64)

    positive, negative = label_NK == 1, label_NK == 0
    num_positive, num_negative = positive.sum(0).astype(np.int64), negative.sum(0).astype(np.int64)
    available = (patients(positive) >= min_count) & (patients(negative) >= min_count)
    return Counts(num_positive + num_negative, num_positive, num_negative, patients(positive | negative), available)
