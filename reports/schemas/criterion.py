"""The class Criterion: the score by which a ranking sorts the recipes.

A criterion is the key of a ranking in the table `ranks`, in the bootstrap replicates of runs, and on the page.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

_EXTERNAL, _MACRO = "external", "macro"


class Criterion(NamedTuple):
    """The score that decides a ranking.

    metric: name of a metric, or `gap` (the gap in AUROC). dataset: name of a cohort, or "external" for the mean over the
    external cohorts. finding: one finding, or "macro" for the mean over findings.
    """

    metric: str
    dataset: str
    finding: str

    @property
    def key(self) -> str:
        """The name of the ranking in the page's address; the finding is left out for "macro".

        >>> DEFAULT.key, Criterion("auroc", "external", "Edema").key
        ('auroc.external', 'auroc.external.Edema')
        """
        return ".".join(self[:2] if self.finding == _MACRO else self)

    @property
    def replicates(self) -> str:
        """The name under which a run's bootstrap replicates of this score are stored.

        >>> DEFAULT.replicates, Criterion("auroc", "external", "Edema").replicates
        ('auroc/external', 'auroc/external/Edema')
        """
        return "/".join(self[:2] if self.finding == _MACRO else self)

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `table` whose metric, dataset and finding are those of the criterion.

        In the table `ranks`, these rows are one ranking.
        """
        return table[np.logical_and.reduce([table[name] == part for name, part in self._asdict().items()])]


DEFAULT = Criterion("auroc", _EXTERNAL, _MACRO)  # the ranking that the page shows first
# the ranking by the macro gap, averaged over external hospitals
MEAN_GAP = Criterion("gap", _EXTERNAL, _MACRO)
