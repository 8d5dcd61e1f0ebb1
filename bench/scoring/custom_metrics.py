"""Custom metrics: Python functions of labels and scores, which a registry names.

Shapes: N images, n labeled images of a finding, K findings, B replicates.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.scoring.bootstrap.resamples import Resamples
from bench.scoring.bootstrap.sort_scores import labeled_rows
from harmonize.errors import RegistryError

Array = NDArray[np.float64]


def measure(
    entry: Entry, label_NK: NDArray[np.int8], score_NK: NDArray[Any], resamples: Resamples
) -> tuple[Array, Array]:
    """Compute a custom metric of each finding [K], with its replicates [K, B]; NaN when a class is absent.

    The function is called as `metric(label, score, **with)`: label [n] of 0 and 1, score [n], and the options under
    `with` in the registry entry. The field `given` of the entry states whether `score_NK` has logits or probabilities.
    In a replicate, an image is repeated as often as its patient was drawn. Raises RegistryError when the function
    raises an error or does not return a number.
    """
    function, options = entry.load(), entry.options

    def value_of(label: NDArray[np.int8], score: NDArray[Any]) -> float:
        if len(np.unique(label)) < 2:
            return math.nan  # the replicate has no positive or no negative image
        try:
            return float(function(label, score, **options))
        except Exception as error:  # a user's function may raise any exception
            place, fix = f"metrics.{entry.name}", f"correct {entry.use}: it gets labels [n] of 0 and 1 and scores [n]"
            raise RegistryError(f"the metric failed: {type(error).__name__}: {error}", place, fix) from error

    value = np.full(label_NK.shape[1], np.nan)
    replicates = np.full((len(value), resamples.num), np.nan)
    num_drawn = [resamples.counts(replicate) for replicate in range(resamples.num)]
    for k in range(len(value)):
        rows = labeled_rows(label_NK[:, k])
        label, score = label_NK[rows, k], score_NK[rows, k]
        value[k] = value_of(label, score)
        for replicate, counts in enumerate(num_drawn) if len(rows) else ():
            resampled = np.repeat(np.arange(len(rows)), counts[rows])
            replicates[k, replicate] = value_of(label[resampled], score[resampled])
    return value, replicates
