"""Arrays with the readable images of a cohort and their labels, selected for training, prediction or stored features.

Headline images are the images from which the scores on the leaderboard are computed. An auxiliary head is an additional
output of a network, such as the sex of the patient.
Legend: N images, K findings, T auxiliary heads.
"""

import hashlib
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.planning.auxiliary_targets import targets
from bench.planning.plan import CohortRef, training_labels
from bench.planning.protocol import FEATURE_PATIENTS
from bench.planning.training_groups import group_indices
from harmonize.cache.cache import ImageCache
from harmonize.cohorts.pooled import hospital_of
from harmonize.labels.states import states


@dataclass(frozen=True, slots=True)
class Examples:
    """Readable images of a cohort, with their label states."""

    image_id: NDArray[np.object_]  # [N]
    patient_id: NDArray[np.object_]  # [N]
    rows: NDArray[np.int64]  # [N], indices of the images in the cache
    state_NK: NDArray[np.int8]  # 1 present, 0 absent, -1 uncertain, -2 not mentioned, -3 null
    head_NT: NDArray[np.float32] | None = None  # targets of auxiliary heads: 1, 0, NaN (unknown); None: not read
    headline_N: NDArray[np.bool_] | None = None  # True for a headline image; None: not read
    group_N: NDArray[np.int64] | None = None  # index of the group of a training image; None: not read

    @classmethod
    def of(
        cls, table: pd.DataFrame, cache: ImageCache, config: RunConfig, *, with_targets: bool = False, groups: str = ""
    ) -> Self:
        """Return the images of a cohort table that are readable, in the order of the table.

        With `with_targets`, the targets of the auxiliary heads are read, too. With `groups`, the values of this column are the
        groups of the images, and images without a known value are left out.
        """
        rows = cache.rows(table["image_id"])
        group_N = group_indices(table, groups) if groups else None
        used_N = rows >= 0 if group_N is None else (rows >= 0) & (group_N >= 0)
        table = table[used_N]
        auxiliary = targets(table, config) if with_targets else None
        ids, patients = (table[c].to_numpy(object) for c in ("image_id", "patient_id"))
        group_N = None if group_N is None else group_N[used_N]
        return cls(ids, patients, rows[used_N], states(table, config.findings), auxiliary, group_N=group_N)

    @classmethod
    def training(
        cls, internal: CohortRef, config: RunConfig, cache: ImageCache, groups: str = ""
    ) -> tuple[Self, dict[str, Self]]:
        """Return the internal training images, and {split: images} for the splits that are predicted after each epoch.

        `groups`: column with the groups of the training images, "" for an algorithm without groups.
        """
        table = internal.read()
        split_N = internal.split_of(table, config)
        watched = config.schedule.watched
        if config.schedule.audit and (split_N == "expert_test").any():
            watched = (*watched, "expert_test")
        by_split = {split: cls.of(table[split_N == split], cache, config, with_targets=True) for split in watched}
        train = training_labels(table[split_N == "train"], config)
        return cls.of(train, cache, config, with_targets=True, groups=groups), by_split

    @classmethod
    def predicted(cls, ref: CohortRef, config: RunConfig, cache: ImageCache) -> Self:
        """Return the images to predict: all images of an external cohort, or the scored splits of the internal cohort."""
        table = ref.read()
        split_N = ref.split_of(table, config)
        predicted = cls.of(table[ref.predicted_rows(split_N)], cache, config)
        headline = table["image_id"][ref.headline_rows(split_N)].to_numpy(str)
        return replace(predicted, headline_N=np.isin(predicted.image_id.astype(str), headline))

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the images at `indices`."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self)}
        taken: dict[str, Any] = {name: None if array is None else array[indices] for name, array in arrays.items()}
        return type(self)(**taken)

    def __len__(self) -> int:
        return len(self.rows)

    def by_hospital(self, config: RunConfig) -> dict[str, NDArray[np.int64]]:
        """Return {training hospital: indices of its images} for images of the internal cohort."""
        hospital = hospital_of(config.train_on, self.image_id)
        return {name: np.flatnonzero(hospital == name) for name in config.hospitals}

    @property
    def headline_indices(self) -> NDArray[np.int64]:
        """Return the indices of the headline images. This property works only for a result of `predicted`."""
        assert self.headline_N is not None
        return np.flatnonzero(self.headline_N)

    @property
    def feature_indices(self) -> NDArray[np.int64]:
        """Return the indices of the images with stored features: one headline image of up to FEATURE_PATIENTS patients."""
        return self.headline_indices[probe_rows(self.patient_id[self.headline_indices])]


def probe_rows(patient_id: NDArray[np.object_], most: int = FEATURE_PATIENTS) -> NDArray[np.int64]:
    """Return the indices of a fixed sample of images: the first image of each patient, for up to `most` patients.

    If there are more patients, those with the lowest hashes of their ids are selected.
    """
    _, first = np.unique(patient_id.astype(str), return_index=True)
    hashes = [hashlib.sha256(str(patient_id[i]).encode()).digest() for i in first]
    order = sorted(range(len(first)), key=hashes.__getitem__)[:most]
    return np.sort(first[order]).astype(np.int64)
