"""The scores by which recipes can be ranked.

A criterion identifies a ranking in the table `ranks`, among the stored influences and on the page.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd

from reports import extensions, hooks

_EXTERNAL, _MACRO = "external", "macro"


class Criterion(NamedTuple):
    """The score that decides a ranking: a metric of a finding at a hospital.

    metric: auroc, auprc, ece, gap (the gap in AUROC), a metric of an extension or a custom metric. dataset: name of a cohort, or "external" (mean
    over external hospitals). finding: one finding, or "macro" (mean over findings).
    """

    metric: str
    dataset: str
    finding: str

    @property
    def key(self) -> str:
        """The name of the ranking in the web address of the page.

        >>> DEFAULT.key, Criterion("auroc", "external", "Edema").key
        ('auroc.external', 'auroc.external.Edema')
        """
        return ".".join(self[:2] if self.finding == _MACRO else self)

    @property
    def of_finding(self) -> str:
        """Words after the name of the metric if the score is that of one finding; else ""."""
        return "" if self.finding == _MACRO else f" of {self.finding}"

    @property
    def estimate(self) -> str:
        """The name under which the influences of patients on this score are stored.

        >>> DEFAULT.estimate, Criterion("auroc", "external", "Edema").estimate
        ('auroc/external', 'auroc/external/Edema')
        """
        return "/".join(self[:2] if self.finding == _MACRO else self)

    def rows(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a table that have the metric, dataset and finding of this criterion."""
        return table[np.logical_and.reduce([table[name] == part for name, part in self._asdict().items()])]


DEFAULT = Criterion("auroc", _EXTERNAL, _MACRO)  # the ranking that the page shows first
# the ranking by the macro gap, averaged over external hospitals
MEAN_GAP = Criterion("gap", _EXTERNAL, _MACRO)


def further_scores() -> list[hooks.RankedScore]:
    """Return the scores of extensions by which recipes can be ranked."""
    return [module.SCORE for module in extensions.modules(hooks.Rankings) if module.SCORE]
