"""The table `references`: gaps between each internal split (test, and those labeled by radiologists) and each hospital.

The internal splits are never mixed. Each internal split has rows for each external hospital, for the mean over
hospitals, and for the worst hospital (the hospital with the largest gap).
"""

from collections.abc import Sequence

import numpy as np

from bench.scoring.gaps.gap import EXTERNAL, MACRO, Gap, gaps
from bench.scoring.influence import Influence
from bench.scoring.max_intervals import largest
from bench.scoring.metrics_of_split import SplitMetrics
from bench.scoring.score_rows import Row

WORST = "worst"


def rows(
    run_id: str,
    findings: Sequence[str],
    internals: Sequence[SplitMetrics],
    external: Sequence[SplitMetrics],
    test_gaps: Sequence[Gap],
) -> list[Row]:
    """Build the rows of the table `references`; `test_gaps` are the gaps of `internals[0]`, the test split.

    Each row names the source of the internal labels and the source of the external labels, because a difference between
    the sources may cause a gap.
    """
    table_rows: list[Row] = []
    reference_of = {hospital.scored.dataset: hospital.scored.reference for hospital in external}
    sources = {*reference_of.values()}
    reference_of[EXTERNAL] = sources.pop() if len(sources) == 1 else "mixed"
    for internal in internals:
        gaps_of_split = list(test_gaps) if internal is internals[0] else gaps(findings, internal, external)
        prefix = (run_id, internal.scored.split, internal.scored.reference)
        table_rows += [
            (
                *prefix,
                gap.dataset,
                reference_of[gap.dataset],
                "",
                gap.finding,
                gap.value,
                gap.low,
                gap.high,
                *_facts(gap),
            )
            for gap in gaps_of_split
        ]
        for finding in (MACRO, *findings):
            of_finding = [gap for gap in gaps_of_split if gap.finding == finding and gap.dataset != EXTERNAL]
            if not of_finding:
                continue
            index, value, low, high = largest(
                np.array([gap.value for gap in of_finding]),
                np.array([(gap.low, gap.high) for gap in of_finding]).T,
                Influence.stack([gap.influence for gap in of_finding]).covariance,
            )
            worst = of_finding[index]
            reference_and_hospital = (reference_of[worst.dataset], worst.dataset) if index >= 0 else ("", "")
            table_rows.append((*prefix, WORST, *reference_and_hospital, finding, value, low, high, *_facts(worst)))
    return table_rows


def _facts(gap: Gap) -> tuple[float, float, int, int, int, int]:
    """Return internal score, external score and counts of a gap, in the order of the columns of `references`."""
    return gap.internal, gap.external, gap.num_findings, gap.n, gap.num_positive, gap.num_patients
