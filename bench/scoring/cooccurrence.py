"""Which findings come together: counts over images. Shapes: N images, K findings."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harmonize.labels.findings import UNMAPPED_CODE

_UNCERTAIN = -1


def cooccurrence(state_NK: NDArray[np.int8], findings: Sequence[str]) -> list[tuple[str, str, int, int, int, int]]:
    """Return, for each pair of findings, (finding, other, both, the first only, the second only, neither) in images.

    An image counts where both are yes or no: present; absent or not mentioned. Where either is uncertain or not labelled, it
    does not. Pairs without such an image are left out.
    """
    present = (state_NK == 1).astype(np.float64)  # exact up to 2**53 images, and a matrix product is fast
    said = ((state_NK != _UNCERTAIN) & (state_NK != UNMAPPED_CODE)).astype(np.float64)
    absent = said - present
    both, neither = present.T @ present, absent.T @ absent
    first = present.T @ absent
    rows = []
    for a, finding in enumerate(findings):
        for b in range(a + 1, len(findings)):
            yes, one, two, no = (int(n) for n in (both[a, b], first[a, b], first[b, a], neither[a, b]))
            if yes + one + two + no:
                rows.append((finding, findings[b], yes, one, two, no))
    return rows
