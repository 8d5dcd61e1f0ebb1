"""The input of scoring: logits of one run on one split of one cohort, with labels and patient ids.

Shapes: N images, K findings.
"""

from collections.abc import Callable, Hashable
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.scoring.metrics import require_finite
from bench.scoring.patient_groups import PatientGroups
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, STATES, UNMAPPED_CODE

Found = TypeVar("Found")

DROPPED = -1  # label of a pair that is not scored: uncertain, unmapped, or of a finding with too few patients


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that affect scores besides logits and labels; mapping, subgroup and selection are columns of every row."""

    min_count: int = 10  # patients with a positive image, and patients with a negative one, for a finding to be scored
    num_resamples: int = 1000
    bins: int = 15
    seed: int = 0
    mapping: str = "default"
    subgroup: str = "all"
    selection: str = "best_val"
    threshold: str = "f1_max"  # the threshold rule of subgroups and of the page
    custom_metrics: tuple[Entry, ...] = ()  # metrics without a kernel: scored by the function that the registry names

    def __post_init__(self) -> None:
        if self.min_count < 1:
            raise ValueError(f"min_count must be at least 1, not {self.min_count}")
        if self.num_resamples < 0:
            raise ValueError(f"num_resamples must not be negative, as {self.num_resamples} is")
        if self.bins < 1:
            raise ValueError(f"bins must be at least 1, not {self.bins}")


@dataclass(frozen=True, slots=True, eq=False)
class ScoredSplit:
    """One split of one cohort: logit [N, K] float32, state [N, K] int8 (label states, null as -3).

    Raises ValueError for shapes that do not match, a repeated image, an unknown state, or a logit that is not finite.
    """

    dataset: str
    split: str
    reference: str  # source of the labels: report, radiologist or phantom
    image_id: NDArray[np.object_]
    patient_id: NDArray[np.object_]
    logit: NDArray[np.float32]
    state: NDArray[np.int8]
    labeller_blank_is_absent: bool = True  # whether -2 (not mentioned) is scored as 0; else it is not scored
    patient_groups: PatientGroups | None = None  # patient attributes of each image
    _known: dict[Hashable, tuple[object, Any]] = field(default_factory=dict, init=False, repr=False)

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
            raise ValueError(f"{self.name}: shapes do not fit: {shapes}")
        if self.patient_groups is not None and len(self.patient_groups.sex) != num:
            raise ValueError(f"{self.name}: patient groups of {len(self.patient_groups.sex)} images for {num}")
        if twice := num - len(set(self.image_id.tolist())):
            raise ValueError(f"{self.name}: {twice} images are listed twice")
        unknown = set(np.unique(self.state).tolist()) - {*STATES, UNMAPPED_CODE}
        if unknown:
            raise ValueError(f"{self.name}: unknown label states {sorted(unknown)}")
        require_finite(self.logit, f"logits of {self.name}")

    @property
    def name(self) -> str:
        """Return "dataset/split": the name its resamples are drawn under."""
        return f"{self.dataset}/{self.split}"

    def of_run(self, logit: NDArray[np.float32]) -> "ScoredSplit":
        """Return a copy with the logits [N, K] of another run; both share the cache of `once`.

        Raises ValueError for another shape, or a logit that is not finite.
        """
        if logit.shape != self.logit.shape:
            raise ValueError(f"{self.name}: logits {logit.shape} for {self.logit.shape}")
        require_finite(logit, f"logits of {self.name}")
        scored = copy(self)
        object.__setattr__(scored, "logit", logit)
        return scored

    def once(self, what: Hashable, find: Callable[[], Found], of: object = None) -> Found:
        """Return find(), cached under the key `what` for all runs on the same images and labels; it must not use logits.

        `of`: an object that the result also depends on; another object replaces the cached result.
        """
        known = self._known.get(what)
        if known is None or known[0] is not of:
            known = self._known[what] = (of, find())
        found: Found = known[1]
        return found

    def labels(self) -> NDArray[np.int8]:
        """Return labels [N, K]: 1, 0, or DROPPED for uncertain, unmapped and, by `labeller_blank_is_absent`, not mentioned.

        The array is read-only, because runs share it.
        """
        return self.once("labels", self._labels)

    @property
    def identity(self) -> object:
        """Return an object that is identical only for splits that share images and labels."""
        return self._known

    def _labels(self) -> NDArray[np.int8]:
        read = {PRESENT: 1, ABSENT: 0} | ({NOT_MENTIONED: 0} if self.labeller_blank_is_absent else {})
        lowest = min(*STATES, UNMAPPED_CODE)
        known = np.array([read.get(state, DROPPED) for state in range(lowest, max(STATES) + 1)], np.int8)
        label: NDArray[np.int8] = known[self.state - np.int8(lowest)]
        label.flags.writeable = False
        return label


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Counts per finding, [K] each."""

    n: NDArray[np.int64]  # scored images
    num_positive: NDArray[np.int64]
    num_negative: NDArray[np.int64]
    num_patients: NDArray[np.int64]
    available: NDArray[np.bool_]  # enough patients of both classes


def count(label_NK: NDArray[np.int8], patient: NDArray[np.int32], min_count: int) -> Counts:
    """Count images and patients per finding; patient [N] are codes from 0."""

    def patients(chosen_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.array([np.count_nonzero(np.bincount(patient[column])) for column in chosen_NK.T], np.int64)

    positive, negative = label_NK == 1, label_NK == 0
    num_positive, num_negative = positive.sum(0).astype(np.int64), negative.sum(0).astype(np.int64)
    available = (patients(positive) >= min_count) & (patients(negative) >= min_count)
    return Counts(num_positive + num_negative, num_positive, num_negative, patients(positive | negative), available)
