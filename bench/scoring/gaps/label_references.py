"""The gap against each labelled part of the internal hospital, never mixed: the test split, and what radiologists read at the internal hospital.

Beside each hospital and the mean over hospitals stands the worst hospital, the one with the largest gap.
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
    known: Sequence[Gap],
) -> list[Row]:
    """Return the rows of the table `references`; `known` are the gaps against the first of `internals`, the test split.

    A hospital's row says who labelled it, so that a gap between like labels can be told from one between unlike ones.
    """
    out: list[Row] = []
    labelled = {each.scored.dataset: each.scored.reference for each in external} | {EXTERNAL: _together(external)}
    for internal in internals:
        found = list(known) if internal is internals[0] else gaps(findings, internal, external)
        place = (run_id, internal.scored.split, internal.scored.reference)
        out += [
            (*place, gap.dataset, labelled[gap.dataset], "", gap.finding, gap.value, gap.low, gap.high, *_facts(gap))
            for gap in found
        ]
        for finding in (MACRO, *findings):
            each = [gap for gap in found if gap.finding == finding and gap.dataset != EXTERNAL]
            if not each:
                continue
            at, value, low, high = largest(
                np.array([gap.value for gap in each]), np.stack([gap.replicates for gap in each])
            )
            named = (labelled[each[at].dataset], each[at].dataset) if at >= 0 else ("", "")
            out.append((*place, WORST, *named, finding, value, low, high, *_facts(each[at])))
    return out


def _facts(gap: Gap) -> tuple[float, float, int, int, int, int]:
    return gap.internal, gap.external, gap.num_findings, gap.n, gap.num_positive, gap.num_patients


def _together(external: Sequence[Measured]) -> str:
    """Return who labelled all of them, "mixed" where they differ."""
    names = {each.scored.reference for each in external}
    return names.pop() if len(names) == 1 else "mixed"
