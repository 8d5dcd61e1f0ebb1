"""p-values that statsmodels adjusts for multiple tests: the oracle of our own."""

import gc
from unittest import mock

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.multitest import multipletests


def adjusted(p: ArrayLike, method: str) -> NDArray[np.float64]:
    """Return the adjusted p-values of the method "holm" or "fdr_bh" (Benjamini and Hochberg).

    At each call, statsmodels collects the garbage of the whole process, which takes .1 s among many tests; here it does not.
    """
    with mock.patch.object(gc, "collect"):
        return np.asarray(multipletests(p, method=method)[1], np.float64)
