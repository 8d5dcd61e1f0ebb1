"""The scores that recipes can be ranked by: the key of a ranking in the table `ranks`, in the replicates and on the page."""

from typing import NamedTuple

import numpy as np
import pandas as pd

_EXTERNAL, _MACRO = "external", "macro"


class Criterion(NamedTuple):
    """The score that decides a ranking: a metric (`gap` is the gap in AUROC) of a finding at a hospital."""

    metric: str
    dataset: str
    finding: str

    @property
    def key(self) -> str:
        """The name of the ranking in the page's address.

        >>> DEFAULT.key, Criterion("auroc", "external", "Edema").key
        ('auroc.external', 'auroc.external.Edema')
        """
        return ".".join(self[:2] if self.finding == _MACRO else self)

    @property
    def replicates(self) -> str:
        """The name of the replicates of this score.

        >>> DEFAULT.replicates, Criterion("auroc", "external", "Edema").replicates
        ('auroc/external', 'auroc/external/Edema')
        """
        return "/".join(self[:2] if self.finding == _MACRO else self)

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table with this criterion, such as one ranking of the table `ranks`."""
        return table[np.logical_and.reduce([table[name] == part for name, part in self._asdict().items()])]


DEFAULT = Criterion("auroc", _EXTERNAL, _MACRO)  # the ranking that the page shows first
MEAN_GAP = Criterion("gap", _EXTERNAL, _MACRO)
