"""Tie groups of the rows of a board, which come from different bundles.

Bundles number patients in their own order, so two rows have no common resamples: a difference is tested with the standard
errors of the two rows, as if the rows were independent. Rows on the same images correlate, so this overstates the error.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from bench.extensions.board.submission import Number
from bench.scoring.across_runs.paired_tests import holm_tests
from bench.scoring.across_runs.ranks import tie_groups
from bench.scoring.bootstrap.intervals import LEVEL


def groups_of(rows: Sequence[Number]) -> list[int]:
    """Return the tie group of each row, 1 for the first; `rows` are sorted by AUROC, highest first.

    The rule is that of the leaderboard: `tie_groups`, with Holm's correction over all pairs of rows. Standard errors come
    from the widths of the intervals. A row without an interval joins the group above it.
    """
    values = np.array([(row.auroc, row.auroc_low, row.auroc_high) for row in rows], np.float64).reshape(-1, 3)
    auroc, low, high = values.T
    error = (high - low) / (2 * ndtri((1 + LEVEL) / 2))
    first, second = np.triu_indices(len(rows), 1)
    p = np.full((len(rows), len(rows)), np.nan)
    p[first, second], _ = holm_tests(auroc[first] - auroc[second], np.hypot(error[first], error[second]))
    return [int(group) for group in tie_groups(p)[0]]
