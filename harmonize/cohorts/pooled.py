"""Pool the cohorts of several training hospitals into one cohort, which keeps the hospital of every image."""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.hospital_names import HospitalName, hospital_name
from harmonize.cohorts.pool_names import hospitals_of, pool_name, prefix_of
from harmonize.datasets import TABLE

HOSPITAL = "hospital"  # column of a pool's table: the name of the hospital of an image
_IDS = ("image_id", "patient_id", "study_id")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files of a hospital are: its layout, its root folder, and the text before its ids in the cohort table."""

    layout: str
    root: Path
    prefix: str = ""


@dataclass(frozen=True, eq=False)
class PooledCohort(Cohort):
    """The cohort of several training hospitals, with its `members` in alphabetical order.

    The table has the columns that all members have, and the column HOSPITAL. Paths of images are relative to `root`, the
    deepest folder that contains the roots of all members.
    """

    members: tuple[Cohort, ...] = ()

    @cached_property
    def id(self) -> str:
        """Return 12 hex digits that change when a member changes. They do not depend on where the files are."""
        text = "\x1f".join(f"{member.name}\x1e{member.id}" for member in self.members)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def facts(self) -> dict[str, str]:
        """Return texts about the pool for pages: each joins the different texts of the members."""
        facts_of = [member.facts for member in self.members]
        names = [
            hospital_name(member.name, member.layout, facts, member.phantom)
            for member, facts in zip(self.members, facts_of, strict=True)
        ]
        return joined_facts(facts_of, names)


def joined_facts(facts_of: Sequence[Mapping[str, str]], names: Sequence[HospitalName]) -> dict[str, str]:
    """Return texts about several hospitals together: each joins the different texts of the hospitals; and their joined name."""
    keys = dict.fromkeys(key for facts in facts_of for key in facts)
    texts = {key: "; ".join(dict.fromkeys(facts[key] for facts in facts_of if key in facts)) for key in keys}
    if ";" in texts.get("reference", ""):
        texts["reference"] = "mixed"
    return texts | asdict(HospitalName.joined(names))


def pooled(members: Sequence[Cohort]) -> PooledCohort:
    """Return the pool of two or more cohorts with different names. Rows of a member keep their order."""
    members = sorted(members, key=lambda member: member.name)
    name = pool_name([member.name for member in members])
    root = Path(os.path.commonpath([member.root.resolve() for member in members]))
    shared = [column for column in members[0].table if all(column in member.table for member in members)]
    columns = [c for c in shared if not str(c).startswith("native:")]
    tables = [_prefixed(member.table[columns], member, root).assign(**{HOSPITAL: member.name}) for member in members]
    flow: dict[str, int] = {}
    for member in members:
        for key, number in member.flow.items():
            flow[key] = flow.get(key, 0) + number
    spec = replace(members[0].spec, name=name, layout=TABLE, root=root, exclude=())
    quarantine = pd.concat([_prefixed(member.quarantine, member, root) for member in members], ignore_index=True)
    doubts = pd.concat([_prefixed(member.doubts, member, root) for member in members], ignore_index=True)
    return PooledCohort(
        name,
        TABLE,
        root,
        pd.concat(tables, ignore_index=True),
        quarantine,
        flow,
        all(member.phantom for member in members),
        spec,
        doubts,
        tuple(remark._replace(what=f"{member.name}, {remark.what}") for member in members for remark in member.remarks),
        tuple(members),
    )


def hospital_of(pool: str, image_id: Iterable[Any]) -> NDArray[np.str_]:
    """Return the hospital [N] of N images of a cohort, from their ids.

    >>> hospital_of("mimic+nih", ["mimic/p1/s2", "nih/7"]).tolist(), hospital_of("nih", ["a/7"]).tolist()
    (['mimic', 'nih'], ['nih'])
    """
    hospitals, ids = hospitals_of(pool), list(image_id)
    if len(hospitals) == 1:
        return np.full(len(ids), hospitals[0])
    return np.array([str(value).partition("/")[0] for value in ids], f"U{max(map(len, hospitals))}")


def members_of(cohort: Cohort) -> tuple[Cohort, ...]:
    """Return the members of a pool; of another cohort, the cohort itself."""
    return cohort.members if isinstance(cohort, PooledCohort) else (cohort,)


def places_of(cohort: Cohort) -> tuple[Place, ...]:
    """Return the place of a cohort, or of each member of a pool."""
    pool = isinstance(cohort, PooledCohort)
    return tuple(Place(m.layout, m.root, prefix_of(m.name) if pool else "") for m in members_of(cohort))


def _prefixed(table: pd.DataFrame, member: Cohort, root: Path) -> pd.DataFrame:
    """Return rows of a member with the ids and the paths of the pool whose root is `root`."""
    relative = member.root.resolve().relative_to(root).as_posix()
    folder = "" if relative == "." else f"{relative}/"
    changed = {column: prefix_of(member.name) + table[column].astype(str) for column in _IDS if column in table}
    path = table["path"].astype(str)
    changed["path"] = (folder + path).where(path != "", "")
    return table.assign(**{name: values.astype(object) for name, values in changed.items()})
