"""The hook `cohorts`: patient groups by race, ethnicity, insurance, and children apart from adults."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from bench.extensions.demographics.files import NAMES as OF_FILES
from bench.extensions.demographics.stored import FOLDER, KEY, people, read_people, write_people
from bench.planning.manifest import Manifest
from bench.planning.plan import Plan
from bench.planning.planned_grid import PlannedCohort
from bench.scoring.patient_groups import UNKNOWN, Text
from bench.store.checked_files import unreadable_files
from bench.store.store import Store

CHILD, ADULT_FROM = "child", 18
ATTRIBUTES = (*OF_FILES, CHILD)
FOLDERS = (FOLDER,)


def attributes(manifest: Manifest, cohort: PlannedCohort, table: pd.DataFrame) -> dict[str, Text]:
    """Return the attributes of each image [N] of a cohort's table, "" where unknown.

    The attribute `child` exists only in a table with children and adults. Raises StoreError for a damaged file of attributes.
    """
    out: dict[str, Text] = {}
    if file := manifest.extras.get(KEY, {}).get(cohort.name):
        of_images = people(manifest.store, file).reindex(table["patient_id"].astype(str))
        stated = [name for name in OF_FILES if of_images[name].any()]
        out = {name: of_images[name].fillna(UNKNOWN).to_numpy(object) for name in stated}
    age = table["age"].to_numpy(np.float64)
    is_child = age < ADULT_FROM
    is_adult = age >= ADULT_FROM  # neither of both if the age is unknown
    if is_child.any() and is_adult.any() and not manifest.of_bundles:  # a bundle has decades of ages
        group = np.where(is_child, f"below {ADULT_FROM}", f"from {ADULT_FROM}").astype(object)
        out[CHILD] = np.where(np.isfinite(age), group, UNKNOWN)
    return out


def key(manifest: Manifest) -> object:
    """Return what the attributes depend on, in addition to the cohort tables; None if there are none."""
    return manifest.extras.get(KEY)


def remarks(plan: Plan) -> list[str]:
    """Return a line for each cohort with a file: which attributes are known of how many patients."""
    lines = []
    for cohort, (table, paths) in read_people(plan).items():
        num = plan.cohorts[cohort].table["patient_id"].nunique()
        known = [f"{name} of {(table[name] != '').sum():,}" for name in table if (table[name] != "").any()]
        lines.append(f"{cohort}: {', '.join(known)} of {num:,} patients ({', '.join(p.name for p in paths)})")
    return lines


def facts(plan: Plan) -> dict[str, dict[str, str]]:
    """Write the attributes of each cohort into the store; return the hash of each file, {} without such files."""
    hashes = {cohort: write_people(plan.store, table) for cohort, (table, _) in read_people(plan).items()}
    return {KEY: hashes} if hashes else {}


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Return name, problem and fix of each file that is damaged or changed."""
    return unreadable_files(store.root / FOLDER, "*.parquet", partial(people, store))
