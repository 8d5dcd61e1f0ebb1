"""The evaluation protocol: the split of every row of a cohort, and which rows are predicted, scored and reported.

No other module decides this. A cohort is named by its role and its headline split, as a `CohortRef` of a plan and the
`CohortRole` of a manifest's entry have them:

    split = split_of(ref, table, config)
    table[headline_rows(ref, split)]  # the rows behind the numbers of the leaderboard

At the internal hospital val, test and the radiologists' splits are predicted and scored, and test is the headline. Of an
external cohort every image is predicted; its headline split (`all` or `test`) is scored. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.grid import split_of as shares_of
from bench.config.run_config import RunConfig
from harmonize.cohorts.cohort_filters import patients_within_limit
from harmonize.cohorts.splits import assign

INTERNAL_SPLITS = ("val", "test", "expert_valid", "expert_test")  # scored at the internal hospital
FEATURE_PATIENTS = 2000  # patients of a cohort whose features are stored
Splits: TypeAlias = "pd.Series[str] | NDArray[np.str_]"
Mask = NDArray[np.bool_]


class HasRole(Protocol):
    """A cohort with its place in the protocol."""

    @property
    def role(self) -> str:
        """Return internal or external."""

    @property
    def headline_split(self) -> str:
        """Return the scored split of an external cohort: all, or a split of the dataset."""


@dataclass(frozen=True, slots=True)
class CohortRole:
    """The place of a cohort in the protocol, without its files."""

    role: str  # internal or external
    headline_split: str

    @classmethod
    def of(cls, cohort: Mapping[str, Any]) -> Self:
        """Return the role of a cohort of a manifest."""
        return cls(str(cohort["role"]), str(cohort["headline_split"]))


def internal_split(table: pd.DataFrame, config: RunConfig) -> "pd.Series[str]":
    """Return the split of each row of the internal cohort; training patients beyond `cohort.limit` are in "unused".

    A table in which every row is "test" has no splits of its own: its patients are divided like those of any other cohort.
    """
    if (table["split"] == "test").all():
        table = table.assign(split="")
    split = assign(table, shares_of(config))
    if config.cohort.limit:
        train = split == "train"
        kept = patients_within_limit(table.loc[train, "patient_id"], config.cohort.limit).reindex(
            table.index, fill_value=False
        )
        split = split.where(kept | ~train, "unused")
    return split


def split_of(cohort: HasRole, table: pd.DataFrame, config: RunConfig) -> "pd.Series[str]":
    """Return the split of each row of a cohort table: assigned at the internal hospital, the dataset's own externally."""
    return internal_split(table, config) if cohort.role == "internal" else table["split"]


def headline_name(cohort: HasRole) -> str:
    """Return the name of the split behind the leaderboard: `test` at the internal hospital, else `all` or the dataset's own.

    >>> headline_name(CohortRole("internal", "all")), headline_name(CohortRole("external", "all"))
    ('test', 'all')
    """
    return "test" if cohort.role == "internal" else cohort.headline_split


def predicted_rows(cohort: HasRole, split: Splits) -> Mask:
    """Return which rows are predicted [N]: every external row, and the scored splits at the internal hospital."""
    return _in(split, INTERNAL_SPLITS) if cohort.role == "internal" else np.full(len(split), True)


def scored_rows(cohort: HasRole, split: Splits) -> Mask:
    """Return which rows are scored [N]: the headline split externally, every scored split at the internal hospital."""
    return _in(split, INTERNAL_SPLITS) if cohort.role == "internal" else headline_rows(cohort, split)


def headline_rows(cohort: HasRole, split: Splits) -> Mask:
    """Return which rows are behind the leaderboard [N]: the test split internally, the headline split externally."""
    name = headline_name(cohort)
    return np.full(len(split), True) if name == "all" else _in(split, (name,))


def held_out_rows(cohort: HasRole, split: Splits) -> Mask:
    """Return the scored rows that chose nothing [N]: val is left out, because it chose the epoch and the thresholds."""
    return scored_rows(cohort, split) & ~((cohort.role == "internal") & _in(split, ("val",)))


def scored_splits(cohort: HasRole, split: Splits) -> list[tuple[str, Mask]]:
    """Return name and rows [N] of each split that is scored by itself; a split may have no row."""
    if cohort.role == "internal":
        return [(name, _in(split, (name,))) for name in INTERNAL_SPLITS]
    return [(cohort.headline_split, headline_rows(cohort, split))]


def _in(split: Splits, names: tuple[str, ...]) -> Mask:
    values = np.asarray(split)
    mask: Mask = np.logical_or.reduce([values == name for name in names])
    return mask
