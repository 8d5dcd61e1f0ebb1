"""What is scored: the logits of one run on one split of one cohort, with the labels.

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

DROPPED = -1  # takes no part: uncertain, unmapped, or in a finding with too few patients


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the numbers besides logits and labels; mapping, subgroup and selection are written into every row."""

    min_count: int = 10  # patients with a positive image, and patients with a negative one, for a finding to be scored
    num_resamples: int = 1000
    bins: int = 15
    seed: int = 0
    mapping: str = "default"
    subgroup: str = "all"
    selection: str = "best_val"
    threshold: str = "f1_max"  # the rule at which subgroups are called, and that pages show
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

    Raises ValueError for shapes that do not fit, an image named twice, an unknown state, or a logit that is not finite.
    """

    dataset: str
    split: str
    reference: str  # who labelled: report, radiologist, phantom
    image_id: NDArray[np.object_]
    patient_id: NDArray[np.object_]
    logit: NDArray[np.float32]
    state: NDArray[np.int8]
    labeller_blank_is_absent: bool = True  # -2 reads as 0; else it takes no part
    patient_groups: PatientGroups | None = None  # who the images are of, aligned with them
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
        """Return the same images and labels with the logits [N, K] of another run; both share what is `once` found.

        Raises ValueError as a new part does.
        """
        if logit.shape != self.logit.shape:
            raise ValueError(f"{self.name}: logits {logit.shape} for {self.logit.shape}")
        require_finite(logit, f"logits of {self.name}")
        scored = copy(self)
        object.__setattr__(scored, "logit", logit)
        return scored

    def once(self, what: Hashable, find: Callable[[], Found], of: object = None) -> Found:
        """Return what is found out about images and labels, whatever the logits: found once for all runs that share them.

        `of`: what else it hangs on; for another one it is found again, and the former is let go.
        """
        known = self._known.get(what)
        if known is None or known[0] is not of:
            known = self._known[what] = (of, find())
        found: Found = known[1]
        return found

    def labels(self) -> NDArray[np.int8]:
        """Return what scoring reads [N, K]: 1, 0, or DROPPED for uncertain, unmapped and (by rule) not mentioned.

        It cannot be written to: runs share it.
        """
        return self.once("labels", self._labels)

    @property
    def identity(self) -> object:
        """Return what is one and the same for parts that share images and labels, and for no others."""
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
    """How much there is per finding: [K] each."""

    n: NDArray[np.int64]  # images that take part
    num_positive: NDArray[np.int64]
    num_negative: NDArray[np.int64]
    num_patients: NDArray[np.int64]
    available: NDArray[np.bool_]  # enough patients on both sides


def count(label_NK: NDArray[np.int8], patient: NDArray[np.int32], min_count: int) -> Counts:
    """Return the counts; patient [N] are codes from 0."""

    def patients(chosen_NK: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.array([np.count_nonzero(np.bincount(patient[column])) for column in chosen_NK.T], np.int64)

    positive, negative = label_NK == 1, label_NK == 0
    num_positive, num_negative = positive.sum(0).astype(np.int64), negative.sum(0).astype(np.int64)
    available = (patients(positive) >= min_count) & (patients(negative) >= min_count)
    return Counts(num_positive + num_negative, num_positive, num_negative, patients(positive | negative), available)
