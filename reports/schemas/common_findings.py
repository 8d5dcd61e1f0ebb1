"""The findings over which hospitals are compared."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def common_findings(scored_HK: Mask, scored_inside: Mask) -> Mask:
    """Return the mask [K] of the findings over which H external hospitals are compared.

    These are the findings that the internal test split scores (scored_inside [K]) and at least two hospitals score (scored_HK),
    or the only hospital. If the hospitals fall into parts without a common finding, they are those of the largest part.

    >>> common_findings(np.array([[1, 1, 0, 0], [1, 1, 1, 0]], bool), np.ones(4, bool)).tolist()
    [True, True, False, False]
    """
    used: Mask = (scored_HK.sum(0) >= max(min(2, len(scored_HK)), 1)) & scored_inside
    parts, left = list[Mask](), used
    while left.any():
        part: Mask = np.arange(len(used)) == np.argmax(left)
        wider = _linked(part, used, scored_HK)
        while (wider != part).any():
            part, wider = wider, _linked(wider, used, scored_HK)
        parts.append(part)
        left = left & ~part
    return max(parts, key=lambda part: int(part.sum()), default=used)


def _linked(part: Mask, used: Mask, scored_HK: Mask) -> Mask:
    """Return the findings that the hospitals which score a finding of `part` score."""
    hospitals = (scored_HK & part).any(1)
    linked: Mask = used & scored_HK[hospitals].any(0)
    return linked
