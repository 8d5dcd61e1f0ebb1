"""Rank the rows of a board that come from different bundles: groups of rows that the data cannot distinguish.

Bundles number patients in their own order, so two rows have no common resamples. The test of a difference treats the rows as
independent. Rows on the same images correlate, so this overstates the uncertainty: a clear difference is clear.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

from bench.board.submission import Number

ALPHA = 0.05


def groups_of(rows: Sequence[Number]) -> list[int]:
    """Return the tie group of each row, 1 for the first; `rows` are sorted by AUROC, highest first.

    The first row of a group is its anchor. A row joins the group while its difference from the anchor is not clear (Holm,
    over all rows below the anchor).
    """
    out: list[int] = []
    start = 0
    while start < len(rows):
        group = out[-1] + 1 if out else 1
        p_values = [difference_p(rows[start], row) for row in rows[start + 1 :]]
        clear = [p < ALPHA for p in holm(p_values)]
        size = 1 + (clear.index(True) if True in clear else len(clear))
        out += [group] * size
        start += size
    return out


def difference_p(first: Number, second: Number) -> float:
    """Return the p value of a difference in AUROC between two rows; 1 if one of them has no interval."""
    bounds = (first.auroc_low, first.auroc_high, second.auroc_low, second.auroc_high)
    if any(bound is None for bound in bounds):
        return 1.0
    errors = [(high - low) / (2 * NormalDist().inv_cdf(0.975)) for low, high in _pairs(bounds)]
    error = math.hypot(*errors)
    difference = abs(first.auroc - second.auroc)
    if not error:
        return 1.0 if not difference else 0.0
    return 2 * (1 - NormalDist().cdf(difference / error))


def _pairs(bounds: Sequence[float | None]) -> list[tuple[float, float]]:
    known = [float(bound) for bound in bounds if bound is not None]
    return [(known[0], known[1]), (known[2], known[3])]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's method, in the order given.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    out, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[i]))
        out[i] = highest
    return out
