"""The readable images of a cohort as arrays, and which of them are predicted, reported, or keep their features.

Legend: N images, K findings, T auxiliary heads.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.planning.auxiliary_targets import targets
from bench.planning.plan import CohortRef, states
from bench.planning.protocol import FEATURE_PATIENTS, headline_rows, predicted_rows, split_of
from harmonize.cache.cache import ImageCache


@dataclass(frozen=True, slots=True)
class Examples:
    """Readable images of a cohort, with their label states."""

    image_id: NDArray[np.object_]  # [N]
    patient_id: NDArray[np.object_]  # [N]
    rows: NDArray[np.int64]  # [N] indices into the cache
    state_NK: NDArray[np.int8]  # 1, 0, -1, -2, and -3 for null
    head_NT: NDArray[np.float32] | None = None  # targets of auxiliary heads: 1, 0, NaN; None = not read

    def __len__(self) -> int:
        return len(self.rows)


def examples(table: pd.DataFrame, cache: ImageCache, config: RunConfig, *, taught: bool = False) -> Examples:
    """Return the rows of a cohort table whose images are readable, in the table's order.

    taught: with targets of the auxiliary heads.
    """
    rows = cache.rows(table["image_id"])
    table = table[rows >= 0]
    further = targets(table, config) if taught else None
    ids, patients = (table[c].to_numpy(object) for c in ("image_id", "patient_id"))
    return Examples(ids, patients, rows[rows >= 0], states(table, config.findings), further)


def probe_rows(patient_id: NDArray[np.object_], most: int = FEATURE_PATIENTS) -> NDArray[np.int64]:
    """Return the indices of a fixed sample: the first image of each patient, of at most `most` patients by hash of their id."""
    _, first = np.unique(patient_id.astype(str), return_index=True)
    digest = [hashlib.sha256(str(patient_id[i]).encode()).digest() for i in first]
    order = sorted(range(len(first)), key=digest.__getitem__)[:most]
    return np.sort(first[order]).astype(np.int64)


def predicted_examples(ref: CohortRef, config: RunConfig, cache: ImageCache) -> Examples:
    """Return the images of a cohort that are predicted: all external images, the scored splits at the internal hospital."""
    table = pd.read_parquet(ref.table)
    return examples(table[predicted_rows(ref, split_of(ref, table, config))], cache, config)


def headline_indices(ref: CohortRef, config: RunConfig, predicted: Examples) -> NDArray[np.int64]:
    """Return the indices of the headline images among the predicted images of a cohort."""
    table = pd.read_parquet(ref.table, columns=["image_id", "patient_id", "split"])
    headline = table["image_id"][headline_rows(ref, split_of(ref, table, config))]
    return np.flatnonzero(np.isin(predicted.image_id.astype(str), headline.to_numpy(str)))


def feature_indices(ref: CohortRef, config: RunConfig, predicted: Examples) -> NDArray[np.int64]:
    """Return the indices of the images whose features are stored: one headline image per patient."""
    headline = headline_indices(ref, config, predicted)
    return headline[probe_rows(predicted.patient_id[headline])]
