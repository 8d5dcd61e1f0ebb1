"""Patient groups by race, ethnicity, insurance, and children apart from adults."""

import numpy as np
import pandas as pd

from bench.extensions.demographics.files import NAMES as OF_FILES
from bench.extensions.demographics.stored import KEY, people
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort
from bench.scoring.patient_groups import UNKNOWN, Text

CHILD, ADULT_FROM = "child", 18
NAMES = (*OF_FILES, CHILD)


def of(manifest: Manifest, cohort: PlannedCohort, table: pd.DataFrame) -> dict[str, Text]:
    """Return the attributes of each image [N] of a cohort's table, "" where unknown.

    The attribute `child` exists only in a table with children and adults. Raises StoreError for a damaged file of attributes.
    """
    out: dict[str, Text] = {}
    if name := manifest.extras.get(KEY, {}).get(cohort.name):
        rows = people(manifest.store, name).reindex(table["patient_id"].astype(str))
        out = {column: rows[column].fillna(UNKNOWN).to_numpy(object) for column in OF_FILES if rows[column].any()}
    age = table["age"].to_numpy(np.float64)
    if (
        not manifest.of_bundles and (age < ADULT_FROM).any() and (age >= ADULT_FROM).any()
    ):  # a bundle has decades of ages
        group = np.where(age < ADULT_FROM, f"below {ADULT_FROM}", f"from {ADULT_FROM}").astype(object)
        out[CHILD] = np.where(np.isfinite(age), group, UNKNOWN)
    return out


def key(manifest: Manifest) -> object:
    """Return what the attributes depend on, in addition to the cohort tables; None if there are none."""
    return manifest.extras.get(KEY)
