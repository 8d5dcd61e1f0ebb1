"""Co-occurrence of findings: counts of images by the labels of two findings.

Shapes: N images, K findings.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harmonize.labels.findings import UNMAPPED_CODE

_UNCERTAIN = -1


def cooccurrence(state_NK: NDArray[np.int8], findings: Sequence[str]) -> list[tuple[str, str, int, int, int, int]]:
    """Count images per pair of findings; a row is (first, second, num_both, num_first_only, num_second_only, num_neither).

    "Not mentioned" counts as absent. For a pair, an image is skipped if the label of either finding is uncertain or
    missing. Pairs without images are left out. state_NK [N, K]: label states.
    """
    present = (state_NK == 1).astype(np.float64)  # floats for a fast matrix product; counts are exact up to 2**53
    labeled = ((state_NK != _UNCERTAIN) & (state_NK != UNMAPPED_CODE)).astype(np.float64)
    absent = labeled - present
    both, neither = present.T @ present, absent.T @ absent
    first_only = present.T @ absent
    rows = []
    for a, finding in enumerate(findings):
        for b in range(a + 1, len(findings)):
            num_both, num_first, num_second, num_neither = (
                int(n) for n in (both[a, b], first_only[a, b], first_only[b, a], neither[a, b])
            )
            if num_both + num_first + num_second + num_neither:
                rows.append((finding, findings[b], num_both, num_first, num_second, num_neither))
    return rows
