"""The members of a mean external AUROC: the findings and hospitals in the mean, and the findings that it leaves out."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Self

import numpy as np

from reports.formatting import of_all, plural
from reports.report_data.headline_rows import EXTERNAL, MACRO, MISSING, Estimate
from reports.schemas.common_findings import common_findings, no_mean

Cells = Mapping[tuple[str, str, str], Estimate]  # (run id, dataset, finding) -> estimate


@dataclass(frozen=True, slots=True)
class Members:
    """The members of the mean external AUROC of one run or recipe.

    A hospital scores a finding if its scored split has at least min_count patients with and without the finding. The
    mean is over `common_findings`; those that a hospital does not score are estimated from the other hospitals. left_out:
    (hospital, finding) -> AUROC that is not in the mean, lowest first; all AUROCs if there is no mean.
    """

    findings: tuple[str, ...]  # in the mean of at least one hospital
    num_findings: int  # all findings of the page
    left_out: Mapping[tuple[str, str], Estimate]
    # numbers of findings in the mean of each hospital, ascending; without hospitals with none
    per_hospital: tuple[int, ...]
    num_external: int  # all external hospitals
    reason: str = ""  # why there is no mean

    @classmethod
    def of(
        cls, run: str, cells: Cells, gaps: Cells, hospitals: Iterable[str], findings: Sequence[str], num_external: int
    ) -> Self:
        """Return the members of a run's mean. cells: AUROCs; gaps: gaps in AUROC; hospitals: the external ones."""
        keys = list(hospitals)
        pairs = product(keys, findings)
        known = {pair: cells[run, *pair] for pair in pairs if cells.get((run, *pair), MISSING).has_value}
        # without an internal test split there are no gaps, and the mean uses every finding
        inside = [any((run, h, f) not in gaps or gaps[run, h, f].has_value for h in keys) for f in findings]
        scored = np.array([[(h, f) in known for f in findings] for h in keys], bool).reshape(len(keys), len(findings))
        averaged = common_findings(scored, np.array(inside, bool))
        has_mean = cells.get((run, EXTERNAL, MACRO), MISSING).has_value
        reason = no_mean(scored, averaged, len(findings)) if known and not has_mean else ""
        common = {f for f, used in zip(findings, averaged, strict=True) if used and not reason}
        used = {(hospital, finding): area for (hospital, finding), area in known.items() if finding in common}
        left_out = [(pair, area) for pair, area in known.items() if pair not in used]
        return cls(
            findings=tuple(dict.fromkeys(finding for _, finding in used)),
            num_findings=len(findings),
            left_out=dict(sorted(left_out, key=lambda item: item[1].value)),
            per_hospital=tuple(sorted(Counter(hospital for hospital, _ in used).values())),
            num_external=num_external,
            reason=reason,
        )

    def scored(self, num: int) -> str:
        """State how many findings of the mean a hospital scores; the others are estimated.

        >>> members = Members(("Edema", "Mass"), 3, {}, (1, 2), 2)
        >>> members.scored(1), members.scored(2)
        ('1 of 2 findings', '2 findings')
        """
        total = len(self.findings)
        return of_all(num, total, "finding") if num < total else plural(num, "finding")

    @property
    def macro_name(self) -> str:
        """The name of the mean over findings in a table that also lists findings outside this mean."""
        return "Macro mean, internally scored findings" if self.left_out else "Macro mean"

    @property
    def num_hospitals(self) -> int:
        """Number of external hospitals in the mean."""
        return len(self.per_hospital)
