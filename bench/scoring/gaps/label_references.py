"""The gap against each labeled split of the internal hospital: the test split, and the splits labeled by radiologists.

The splits are never mixed. Rows are per hospital, for their mean, and for the worst hospital (the largest gap).
"""

from collections.abc import Sequence

import numpy as np

from bench.scoring.bootstrap.max_intervals import largest
from bench.scoring.gaps.gap import EXTERNAL, MACRO, Gap, gaps
from bench.scoring.metrics_of_split import Measured
from bench.scoring.score_rows import Row

WORST = "worst"


def rows(
    run_id: str,
    findings: Sequence[str],
    internals: Sequence[Measured],
    external: Sequence[Measured],
    test_gaps: Sequence[Gap],
) -> list[Row]:
    """Build the rows of the table `references`; `test_gaps` are the gaps against `internals[0]`, the test split.

    Each row names who labeled the hospital, to separate gaps between the same kind of labels from gaps between two kinds.
    """
    out: list[Row] = []
    labelled = {each.scored.dataset: each.scored.reference for each in external} | {EXTERNAL: _reference(external)}
    for internal in internals:
        gaps_of_split = list(test_gaps) if internal is internals[0] else gaps(findings, internal, external)
        prefix = (run_id, internal.scored.split, internal.scored.reference)
        out += [
            (*prefix, gap.dataset, labelled[gap.dataset], "", gap.finding, gap.value, gap.low, gap.high, *_facts(gap))
            for gap in gaps_of_split
        ]
        for finding in (MACRO, *findings):
            of_finding = [gap for gap in gaps_of_split if gap.finding == finding and gap.dataset != EXTERNAL]
            if not of_finding:
                continue
            at, value, low, high = largest(
                np.array([gap.value for gap in of_finding]), np.stack([gap.replicates for gap in of_finding])
            )
            named = (labelled[of_finding[at].dataset], of_finding[at].dataset) if at >= 0 else ("", "")
            out.append((*prefix, WORST, *named, finding, value, low, high, *_facts(of_finding[at])))
    return out


def _facts(gap: Gap) -> tuple[float, float, int, int, int, int]:
    return gap.internal, gap.external, gap.num_findings, gap.n, gap.num_positive, gap.num_patients


def _reference(external: Sequence[Measured]) -> str:
    """Return the one reference of all hospitals, or "mixed"."""
    names = {each.scored.reference for each in external}
    return names.pop() if len(names) == 1 else "mixed"
