"""The evaluation protocol: the split of every row of a cohort, and which rows are predicted, scored and reported.

No other module decides which rows these are. The rows follow from the role of a cohort (internal or external) and its
headline split, which the leaderboard shows. `CohortRef`, a cohort of a plan, is a subclass of `CohortRole`;
`CohortRole.of` returns the role of a cohort in a manifest. Example:

    split = ref.split_of(table, config)
    table[ref.headline_rows(split)]  # the rows behind the numbers of the leaderboard

At the internal hospital, the splits val, test, expert_valid and expert_test are predicted and scored; test is the
headline split. At an external hospital, every image is predicted, and only the headline split is scored.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.config.run_config import RunConfig
from bench.planning.planned_grid import PlannedCohort
from harmonize.cohorts.cohort_filters import patients_within_limit
from harmonize.cohorts.pool_names import hospitals_of, is_pool, prefix_of
from harmonize.cohorts.pooled import hospital_of
from harmonize.cohorts.splits import assign, resampled

INTERNAL_SPLITS = ("val", "test", "expert_valid", "expert_test")  # scored at the internal hospital
# split of a pool: the headline images of the hospital that a run leaves out, which is an external hospital of the run
LEFT_OUT = "left_out"
_PREDICTED = (*INTERNAL_SPLITS, LEFT_OUT)
FEATURE_PATIENTS = 2000  # maximum number of patients of a cohort whose features are stored
Splits: TypeAlias = "pd.Series[str] | NDArray[np.str_]"
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortRole:
    """The role of a cohort in the protocol, and the rules that follow from this role."""

    role: str  # internal or external
    headline_split: str  # scored split of an external cohort: all, or a split of the dataset
    # only for a pool: each hospital, and its headline split in a run that leaves the hospital out
    headline_splits: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, cohort: PlannedCohort) -> "CohortRole":
        """Return the role of a cohort in a manifest."""
        splits = tuple((hospital.name, hospital.headline_split) for hospital in cohort.hospitals)
        return CohortRole(role=cohort.role, headline_split=cohort.headline_split, headline_splits=splits)

    @property
    def headline_name(self) -> str:
        """Return the split that the leaderboard shows: `test` if internal, else `all` or the dataset's own test split.

        >>> CohortRole(role="internal", headline_split="all").headline_name
        'test'
        """
        return "test" if self.role == "internal" else self.headline_split

    def split_of(self, table: pd.DataFrame, config: RunConfig) -> "pd.Series[str]":
        """Return the split of each row of a cohort table.

        The internal cohort gets the splits of `internal_split`; an external cohort has the splits of its dataset.
        """
        return internal_split(table, config, dict(self.headline_splits)) if self.role == "internal" else table["split"]

    def predicted_rows(self, split: Splits) -> Mask:
        """Return a mask [N] of the predicted rows: every row if external, the scored splits if internal."""
        return _in(split, _PREDICTED) if self.role == "internal" else np.full(len(split), True)

    def scored_rows(self, split: Splits) -> Mask:
        """Return a mask [N] of the scored rows: the headline split if external, every scored split if internal."""
        return _in(split, _PREDICTED) if self.role == "internal" else self.headline_rows(split)

    def headline_rows(self, split: Splits) -> Mask:
        """Return a mask [N] of the rows behind the leaderboard: the headline split if external, `test` if internal."""
        name = self.headline_name
        return np.full(len(split), True) if name == "all" else _in(split, (name,))

    def held_out_rows(self, split: Splits) -> Mask:
        """Return a mask [N] of the scored rows without the internal split `val`, which chooses epoch and thresholds.

        The rows of a pool are from the hospitals on which the run trained. `left_out_rows` has the others.
        """
        return self.scored_rows(split) & ~((self.role == "internal") & _in(split, ("val", LEFT_OUT)))

    @staticmethod
    def left_out_rows(split: Splits) -> Mask:
        """Return a mask [N] of the scored rows of the hospital that a run leaves out, which is external to the run."""
        return _in(split, (LEFT_OUT,))

    def scored_splits(self, split: Splits) -> list[tuple[str, Mask]]:
        """Return (name, mask [N]) of each split that gets scores of its own. A mask may select no row."""
        if self.role == "internal":
            names = _PREDICTED if self.headline_splits else INTERNAL_SPLITS  # only a pool can leave a hospital out
            return [(name, _in(split, (name,))) for name in names]
        return [(self.headline_split, self.headline_rows(split))]


def internal_split(
    table: pd.DataFrame, config: RunConfig, headline_splits: Mapping[str, str] | None = None
) -> "pd.Series[str]":
    """Return the split of each row of the internal cohort; training patients beyond `cohort.limit` are in "unused".

    If the dataset has only the split "test", this split is ignored: the patients are divided as if the dataset had no
    splits. In a pool, every hospital has the splits that it has as the only training hospital. Of a hospital that the run
    leaves out, the images of the headline split are in LEFT_OUT, and all others are "unused"; `headline_splits` has the
    headline splits of hospitals for which it is not "all".
    """
    if not is_pool(config.train_on):
        return _split_of_hospital(table, config)
    hospital = hospital_of(config.train_on, table["image_id"])
    split = pd.Series("", table.index, dtype=object, name="split")
    for name in hospitals_of(config.train_on):
        rows = table[hospital == name]
        if name == config.leave_out:
            headline = (headline_splits or {}).get(name, "all")
            split.loc[rows.index] = np.where((headline == "all") | (rows["split"] == headline), LEFT_OUT, "unused")
            continue
        patients = rows["patient_id"].astype(str).str.removeprefix(prefix_of(name))
        split.loc[rows.index] = _split_of_hospital(rows.assign(patient_id=patients), config)
    return split.astype(str)


def _split_of_hospital(table: pd.DataFrame, config: RunConfig) -> "pd.Series[str]":
    """Return the split of each row of one training hospital."""
    if (table["split"] == "test").all():
        table = table.assign(split="")
    split = assign(table, asdict(config.split))
    if config.resample == "split":
        val_share = config.split.val / (config.split.train + config.split.val)
        split = resampled(table, split, val_share, config.seed)
    if config.cohort.limit:
        train = split == "train"
        kept = patients_within_limit(table.loc[train, "patient_id"], config.cohort.limit).reindex(
            table.index, fill_value=False
        )
        split = split.where(kept | ~train, "unused")
    return split


def _in(split: Splits, names: tuple[str, ...]) -> Mask:
    values = np.asarray(split)
    mask: Mask = np.logical_or.reduce([values == name for name in names])
    return mask
