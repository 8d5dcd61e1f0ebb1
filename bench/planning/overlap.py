"""Stop a grid whose internal and external cohorts share images or patients: an external test must use unseen patients.

Before this module raises the error, it writes a list of the shared images or patients into the store, below `cohorts/`.
If the data file names this list as `exclude:` of a cohort, the listed images or patients are left out of the cohort.
`bench.planning.external_overlap` compares the external cohorts with each other.

A population (`population:` in the data file) is a set of cohorts in which equal patient ids mean the same patient.
"""

from collections.abc import Collection, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bench.store.safe_csv import csv_text
from bench.store.store import Store, write_bytes
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.label_mapping import images_of
from harmonize.cohorts.pool_names import prefix_of
from harmonize.cohorts.pooled import hospital_of, members_of
from harmonize.cohorts.specs import CohortSpec
from harmonize.datasets import TABLE
from harmonize.datasets.ids import occurs_in
from harmonize.errors import ConfigError, DatasetError

if TYPE_CHECKING:
    from harmonize.checks.copies import Copies  # this module imports OpenCV

_FIX = "remove them from the external cohort, or name the list in the data file as `exclude:` of this cohort (docs/real-data.md)"


def are_of_one_hospital(one: Cohort, other: Cohort) -> bool:
    """Return whether two cohorts of different layouts have images of one hospital, such as RSNA and NIH."""
    return one.layout != other.layout and images_of(one.layout) == images_of(other.layout)


def refuse_internal_again(internal: Cohort, external: Sequence[Cohort]) -> None:
    """Raise ConfigError when an external cohort has images of the internal hospital: the same table, or another layout."""
    for cohort in external:
        if are_of_one_hospital(internal, cohort):
            what = f"the cohorts {internal.name!r} and {cohort.name!r} have images of one hospital, and maybe of the same patients"
            fix = f"remove {cohort.name} from the grid: it is not a hospital that the networks have never seen"
            raise ConfigError(what, f"{internal.root}, {cohort.root}", fix)
        if cohort.id == internal.id:
            what = f"the cohorts {internal.name!r} and {cohort.name!r} have the same table: they are the same images"
            fix = f"remove {cohort.name} from the grid, or correct its `root:` in the data file"
            raise ConfigError(what, f"{internal.root}, {cohort.root}", fix)


def shares_patient_ids(one: CohortSpec, other: CohortSpec) -> bool:
    """Return whether an equal patient id in two cohorts means the same patient.

    If both cohorts state a population, the populations must be equal. If a cohort states no population, both cohorts
    must have the same dataset layout. A cohort of the layout `table` can be of any hospital, so two cohorts of this
    layout must also have the same root folder.
    """
    if one.population and other.population:
        return one.population == other.population
    if one.layout == TABLE == other.layout:
        return one.root.resolve() == other.root.resolve()
    return one.layout == other.layout


def compared_cohorts(internal: Cohort, external: Sequence[Cohort]) -> list[str]:
    """Return the names of the external cohorts whose patient ids can be compared with the internal patient ids."""
    training = members_of(internal)
    return [cohort.name for cohort in external if any(shares_patient_ids(h.spec, cohort.spec) for h in training)]


def refuse_shared_patients(store: Store, internal: Cohort, external: Sequence[Cohort]) -> None:
    """Raise DatasetError when patients of the internal cohort are also in an external cohort.

    For each such cohort, a file in the store lists the shared patients. The message has an image id as an example, but no
    patient id.
    """
    problems = []
    for cohort in external:
        if not shares_patient_ids(internal.spec, cohort.spec):
            continue
        is_shared = occurs_in(cohort.table["patient_id"], internal.table["patient_id"])
        if is_shared.any():
            patients = cohort.table.loc[is_shared, ["patient_id"]].drop_duplicates()
            path = write_list(store, f"patients-{cohort.name}", cohort, patients)
            example = cohort.table.loc[is_shared, "image_id"].iloc[0]
            problems.append(
                f"{len(patients):,} patients of {internal.name} are also in {cohort.name} "
                f"(e.g. the patient of image {example}); the list is {path}"
            )
    if problems:
        fix = f"{_FIX}; if equal ids are different patients, give each cohort its own `population:` there"
        raise DatasetError("; ".join(problems), str(internal.root), fix)


def refuse_copies(store: Store, internal: Cohort, external: Sequence[Cohort], copies: "Copies") -> None:
    """Raise DatasetError when an external cohort contains copies of internal images.

    For each such cohort, a file in the store lists the copies.
    """
    problems = []
    for cohort in external:
        table = copies.tables[internal.name, cohort.name].rename(columns={"copy_of": "internal_image_id"})
        if len(table):
            patients = cohort.table[["image_id", "patient_id"]].astype(object)
            listed = table.merge(patients, on="image_id")[["image_id", "patient_id", "internal_image_id", "kind"]]
            path = write_list(store, f"copies-{cohort.name}", cohort, listed)
            kinds = table["kind"].value_counts()
            counts = ", ".join(f"{kinds[kind]:,} {kind}" for kind in ("exact", "near") if kind in kinds)
            example = f"{table['image_id'].iloc[0]} = {table['internal_image_id'].iloc[0]}"
            problems.append(
                f"{len(table):,} images of {cohort.name} are copies of images of {internal.name} ({counts}), "
                f"e.g. {example}; the list is {path}"
            )
    if problems:
        raise DatasetError("; ".join(problems), str(internal.root), _FIX)


def refuse_copies_of_left_out(store: Store, pool: Cohort, left_out: Collection[str], images: pd.DataFrame) -> None:
    """Raise DatasetError when a hospital that a run leaves out contains exact copies of images of the other training hospitals.

    `images`: columns image_id and print, for all images of the pool; copies have equal prints. For each such hospital, a file
    in the store lists the copies. A copy that two left-out hospitals share is listed once.
    """
    hospital = hospital_of(pool.name, images["image_id"])
    problems, listed = [], list[str]()
    for member in members_of(pool):
        if member.name not in left_out:
            continue
        listed.append(member.name)
        originals = images[~np.isin(hospital, listed)].drop_duplicates("print").rename(columns={"image_id": "copy_of"})
        copies = images[hospital == member.name].merge(originals, on="print")[["image_id", "copy_of"]]
        if len(copies):
            example = f"{copies['image_id'].iloc[0]} = {copies['copy_of'].iloc[0]}"
            copies["image_id"] = copies["image_id"].str.removeprefix(prefix_of(member.name))
            path = write_list(store, f"copies-{member.name}", member, copies)
            problems.append(
                f"{len(copies):,} images of {member.name} are copies of images of other training hospitals, e.g. {example}; "
                f"the list is {path}"
            )
    if problems:
        fix = (
            "a run that leaves a hospital out must not train on its images: "
            "name the list in the data file as `exclude:` of this hospital (docs/real-data.md)"
        )
        raise DatasetError("; ".join(problems), str(pool.root), fix)


def write_list(store: Store, name: str, cohort: Cohort, rows: pd.DataFrame) -> Path:
    """Write a list of a cohort's images or patients, for `exclude:`, into the store; return the path of the list.

    A list that the data file already names as `exclude:` of the cohort is not overwritten: the new list gets another
    name.
    """
    excluded = {path.resolve() for path in cohort.spec.exclude}
    folder = store.root.resolve() / "cohorts"
    # names of cohorts contain no "+", so no two cohorts have a list of the same name
    names = (f"{name}{f'+{number}' if number > 1 else ''}.csv" for number in count(1))
    path = next(folder / name for name in names if folder / name not in excluded)
    write_bytes(path, csv_text(rows).encode())
    return path
