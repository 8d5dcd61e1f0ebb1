"""Read the label states of a table as an array."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.labels.findings import UNMAPPED_CODE


def states(table: pd.DataFrame, findings: Sequence[str]) -> NDArray[np.int8]:
    """Return the label states [N, K] of a cohort table: N images, K findings; null becomes UNMAPPED_CODE."""
    state_NK = np.empty((len(table), len(findings)), np.int8)
    for k, finding in enumerate(findings):
        state_NK[:, k] = table[finding].to_numpy(np.int8, na_value=UNMAPPED_CODE)
    return state_NK
