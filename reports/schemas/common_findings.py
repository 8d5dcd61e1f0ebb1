"""The findings over which hospitals are compared, and the floors below which nothing is averaged over them."""

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

LEAST_FINDINGS = 2  # minimum number of findings of a mean, unless the grid has one finding
LEAST_SHARE = 0.5  # of the scores of hospitals and findings that must be known for a mean


def common_findings(scored_HK: Mask, scored_inside: Mask) -> Mask:
    """Return the mask [K] of the findings over which H external hospitals are compared.

    These are the findings that the internal test split scores (scored_inside [K]) and at least two hospitals score (scored_HK),
    or the only hospital. If the hospitals fall into parts without a common finding, they are the findings of the largest part.

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


def averaged_findings(scored_HK: Mask, scored_inside: Mask) -> Mask:
    """Return the mask [K] of the findings of a mean over hospitals: `common_findings`, or none if `no_mean` has a reason."""
    used = common_findings(scored_HK, scored_inside)
    return used & (no_mean(scored_HK, used, len(used)) == "")


def no_mean(scored_HK: Mask, used: Mask, num_findings: int) -> str:
    """Return why the hospitals have no mean over the findings `used` [K]; "" if they have one. num_findings: all of the grid.

    >>> no_mean(np.array([[1, 1, 0], [1, 0, 1]], bool), np.array([1, 0, 0], bool), 3)
    'too few findings: only one is scored by enough hospitals'
    """
    known, num = scored_HK[:, used], int(used.sum())
    if num < min(LEAST_FINDINGS, num_findings):
        return f"too few findings: {('none', 'only one')[num]} is scored by enough hospitals"
    if known.sum() < LEAST_SHARE * known.any(1).sum() * num:
        return "too few AUROCs: the hospitals score less than half of the findings"
    return ""


def _linked(part: Mask, used: Mask, scored_HK: Mask) -> Mask:
    """Return the findings that the hospitals which score a finding of `part` score."""
    hospitals = (scored_HK & part).any(1)
    linked: Mask = used & scored_HK[hospitals].any(0)
    return linked
