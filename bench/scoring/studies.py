"""Scores of studies: a study has the highest predicted probability of its images, as CheXpert's own metric has it.

Source: Irvin et al. 2019, doi:10.1609/aaai.v33i01.3301590. Shapes: N images, M studies, K findings.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN, UNMAPPED_CODE

# the state of a study is the first of these that an image of it has
_ORDER = np.array([PRESENT, UNCERTAIN, ABSENT, NOT_MENTIONED, UNMAPPED_CODE], np.int8)


@dataclass(frozen=True, slots=True, eq=False)
class Studies:
    """The images of each study: `order` [N], the rows of images, study by study; `start` [M], where in `order` a study begins."""

    order: NDArray[np.intp]
    start: NDArray[np.intp]

    @classmethod
    def of(cls, table: pd.DataFrame) -> Self:
        """Return the studies in a cohort table, in the order of their first images."""
        code = table.groupby(["patient_id", "study_id"], sort=False, dropna=False).ngroup().to_numpy()
        order = np.argsort(code, kind="stable")
        return cls(order, np.flatnonzero(np.diff(code[order], prepend=-1)))

    def states(self, state_NK: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the label states [M, K]: present if an image is, otherwise uncertain, absent, not mentioned or null."""
        rank_NK = np.argmax(state_NK[self.order, :, None] == _ORDER, axis=2)
        return _ORDER[np.minimum.reduceat(rank_NK, self.start)]

    def attributes(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the studies' first images [M], without view and device where the images of a study differ."""
        rows = table.iloc[self.order]
        first = rows.iloc[self.start].copy()
        study = np.repeat(np.arange(len(self.start)), np.diff(self.start, append=len(rows)))
        for name in ("view", "device"):
            differs = rows[name].fillna("").groupby(study).nunique().to_numpy() > 1
            first[name] = first[name].mask(differs, "")
        return first
