"""A cohort and the places of its images in the cache, as arrays that training and prediction index.

Legend: N images, K findings, T further heads.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.planning.auxiliary_targets import targets
from bench.planning.plan import states
from bench.planning.protocol import FEATURE_PATIENTS
from harmonize.cache.cache import ImageCache


@dataclass(frozen=True, slots=True)
class Examples:
    """The readable images of one part of a cohort, with their label states."""

    image_id: NDArray[np.object_]  # [N]
    patient_id: NDArray[np.object_]  # [N]
    rows: NDArray[np.int64]  # [N] places in the cache
    state_NK: NDArray[np.int8]  # 1, 0, -1, -2, and -3 for null
    head_NT: NDArray[np.float32] | None = None  # what further heads are taught: 1, 0, NaN; None = there are none

    def __len__(self) -> int:
        return len(self.rows)


def examples(table: pd.DataFrame, cache: ImageCache, config: RunConfig, *, taught: bool = False) -> Examples:
    """Return the rows of a cohort table whose images can be read, in its order; `taught`: with targets for all heads."""
    rows = cache.rows(table["image_id"])
    table = table[rows >= 0]
    further = targets(table, config) if taught else None
    ids, patients = (table[c].to_numpy(object) for c in ("image_id", "patient_id"))
    return Examples(ids, patients, rows[rows >= 0], states(table, config.findings), further)


def probe_rows(patient_id: NDArray[np.object_], most: int = FEATURE_PATIENTS) -> NDArray[np.int64]:
    """Return the places of a fixed sample: the first image of each patient, `most` patients by hash of their id."""
    _, first = np.unique(patient_id.astype(str), return_index=True)
    digest = [hashlib.sha256(str(patient_id[i]).encode()).digest() for i in first]
    order = sorted(range(len(first)), key=digest.__getitem__)[:most]
    return np.sort(first[order]).astype(np.int64)
