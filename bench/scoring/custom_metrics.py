"""Custom metrics: Python functions of labels and scores, which a registry names.

Shapes: N images, n labeled images of a finding, K findings, P patients.
"""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.config.registry import Entry
from bench.scoring.column import labeled_rows
from bench.scoring.influence import jackknife
from bench.scoring.sample import Sample
from harmonize.errors import RegistryError

Array = NDArray[np.float64]


def measure(entry: Entry, label_NK: NDArray[np.int8], score_NK: NDArray[Any], sample: Sample) -> tuple[Array, Array]:
    """Compute a custom metric of each finding [K], with the influence of each patient [K, P]; NaN when a class is absent or the number is infinite.

    The function is called as `metric(label, score, **with)`: label [n] of 0 and 1, score [n], and the options under
    `with` in the registry entry. The field `given` of the entry states whether `score_NK` has logits or probabilities.
    The influences come from `jackknife`: about 50 further calls. Raises RegistryError when the function
    raises an error or does not return a number.
    """
    function, options = entry.load(), entry.options

    def value_of(label: NDArray[np.int8], score: NDArray[Any]) -> float:
        if len(np.unique(label)) < 2:
            return math.nan
        try:
            number = float(function(label, score, **options))
        except Exception as error:  # a user's function may raise any exception
            place, fix = f"metrics.{entry.name}", f"correct {entry.use}: it gets labels [n] of 0 and 1 and scores [n]"
            raise RegistryError(f"the metric failed: {type(error).__name__}: {error}", place, fix) from error
        return number if math.isfinite(number) else math.nan

    value = np.full(label_NK.shape[1], np.nan)
    influence = np.full((len(value), sample.num_groups), np.nan)
    for k in range(len(value)):
        rows = labeled_rows(label_NK[:, k])
        label, score = label_NK[rows, k], score_NK[rows, k]
        if len(np.unique(label)) == 2:
            of_rows = partial(lambda label, score, i: value_of(label[i], score[i]), label, score)
            value[k], influence[k] = jackknife(of_rows, sample.group[rows], sample.num_groups)
    return value, influence
