"""Co-occurrence of findings: counts of images by the labels of two findings. Shapes: N images, K findings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harmonize.labels.findings import UNMAPPED_CODE

_UNCERTAIN = -1


def cooccurrence(state_NK: NDArray[np.int8], findings: Sequence[str]) -> list[tuple[str, str, int, int, int, int]]:
    """Count images per pair of findings: (finding, other, both, only the first, only the second, neither).

    Absent and not mentioned count as no. Images on which one of both is uncertain or unlabeled are skipped. Pairs without
    images are left out.
    """
    present = (state_NK == 1).astype(np.float64)  # exact up to 2**53 images, and a matrix product is fast
    labeled = ((state_NK != _UNCERTAIN) & (state_NK != UNMAPPED_CODE)).astype(np.float64)
    absent = labeled - present
    both, neither = present.T @ present, absent.T @ absent
    first = present.T @ absent
    rows = []
    for a, finding in enumerate(findings):
        for b in range(a + 1, len(findings)):
            yes, one, two, no = (int(n) for n in (both[a, b], first[a, b], first[b, a], neither[a, b]))
            if yes + one + two + no:
                rows.append((finding, findings[b], yes, one, two, no))
    return rows
