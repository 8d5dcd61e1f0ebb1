"""What is known at hospitals with labels, from the table `estimates`, and the mean of these hospitals.

Shapes: R runs, K findings, H labeled hospitals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from bench.extensions.estimates.estimate_rows import MEASURED
from bench.extensions.estimates.quantities import QUANTITIES, Array, finite_mean


@dataclass(frozen=True, slots=True, eq=False)
class KnownValues:
    """Values of one quantity where labels are known.

    internal [R, K]: on the internal test split. truth [H, R, K]: at the labeled hospitals, NaN where a finding has too few
    patients. estimates: name of an estimator in `from_logits` -> its estimates [H, R, K] at the same hospitals.
    """

    internal: Array
    truth: Array
    estimates: Mapping[str, Array]

    def without(self, hospital: int) -> Self:
        """Return the values without one hospital."""
        others = np.arange(len(self.truth)) != hospital
        estimates = {name: value[others] for name, value in self.estimates.items()}
        return type(self)(self.internal, self.truth[others], estimates)

    def mean_gap(self) -> Array:
        """Add the mean change at the labeled hospitals to the internal value, for each run and finding."""
        return np.asarray((self.internal + finite_mean(self.truth - self.internal)).clip(0, 1))


def known_values(
    estimates: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], internal: str, hospitals: Sequence[str]
) -> dict[str, KnownValues]:
    """Return {quantity: `KnownValues`} for R runs, K findings and H hospitals, in the given order."""
    is_measured = estimates["estimator"] == MEASURED
    measured = _cells(estimates[is_measured], run_ids, findings, [internal, *hospitals])
    stated = by_estimator(estimates[~is_measured], run_ids, findings, hospitals)
    return {q: KnownValues(measured[q][0], measured[q][1:], stated[q]) for q in QUANTITIES}


def by_estimator(
    estimates: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], hospitals: Sequence[str]
) -> dict[str, dict[str, Array]]:
    """Return quantity -> estimator -> estimates [H, R, K]; estimators without any value of a quantity are left out."""
    stated: dict[str, dict[str, Array]] = {q: {} for q in QUANTITIES}
    for name, rows in estimates.groupby("estimator", sort=False, observed=True):
        for q, value in _cells(rows, run_ids, findings, hospitals).items():
            if np.isfinite(value).any():
                stated[q][str(name)] = value
    return stated


def _cells(
    rows: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], hospitals: Sequence[str]
) -> dict[str, Array]:
    """Return quantity -> values [H, R, K], NaN without a row. Raises ValueError for two rows of one cell."""
    order = pd.MultiIndex.from_product([hospitals, run_ids, findings])
    keys = [rows[name].astype(str) for name in ("dataset", "run_id", "finding")]
    numbers = rows[list(QUANTITIES)].astype(np.float64).set_axis(pd.MultiIndex.from_arrays(keys)).reindex(order)
    shape = len(hospitals), len(run_ids), len(findings)
    return {q: numbers[q].to_numpy().reshape(shape) for q in QUANTITIES}
