"""The plain bootstrap of patients, with which tests compare standard errors in closed form."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def resampled_error(
    function: Callable[[NDArray[np.intp]], object], patient: NDArray[np.integer], num: int = 2000
) -> NDArray[np.float64]:
    """Return the standard deviation of function(rows) over samples of the patients with replacement, each with all its images.

    patient [N]: code of each image's patient. Samples without a result (NaN) are left out.
    """
    draw = np.random.default_rng(0)
    order = np.argsort(patient, kind="stable")
    rows_of = np.split(order, np.flatnonzero(np.diff(patient[order])) + 1)
    results = [
        function(np.concatenate([rows_of[i] for i in draw.integers(0, len(rows_of), len(rows_of))])) for _ in range(num)
    ]
    return np.asarray(np.nanstd(np.array(results, np.float64), axis=0))


def in_groups(num_patients: int, most: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return the patient of each image; each patient has 1 to `most` images."""
    return np.repeat(np.arange(num_patients), draw.integers(1, most + 1, num_patients))
