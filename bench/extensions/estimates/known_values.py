"""What is known at hospitals with labels, from the table `estimates`, and the mean of these hospitals.

Shapes: R runs, K findings, H labeled hospitals.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

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
    measured = estimates[is_measured]
    inside = _Cells.of(measured, run_ids, findings, [internal])
    outside = _Cells.of(measured, run_ids, findings, hospitals)
    known = {}
    for q, stated in by_estimator(estimates[~is_measured], run_ids, findings, hospitals).items():
        (at_internal,) = inside.values(measured, q)
        known[q] = KnownValues(at_internal, outside.values(measured, q), stated)
    return known


def by_estimator(
    estimates: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], hospitals: Sequence[str]
) -> dict[str, dict[str, Array]]:
    """Return quantity -> estimator -> estimates [H, R, K]; estimators without any value of a quantity are left out."""
    stated: dict[str, dict[str, Array]] = {q: {} for q in QUANTITIES}
    for name, rows in estimates.groupby("estimator", sort=False, observed=True):
        cells = _Cells.of(rows, run_ids, findings, hospitals)
        for q in QUANTITIES:
            value = cells.values(rows, q)
            if np.isfinite(value).any():
                stated[q][str(name)] = value
    return stated


@dataclass(frozen=True, slots=True, eq=False)
class _Cells:
    """Places of the rows of a table in an array [H, R, K]: wanted [rows], which rows have a place; cell: the flat index of these."""

    shape: tuple[int, int, int]
    wanted: NDArray[np.bool_]
    cell: NDArray[np.intp]

    @classmethod
    def of(cls, rows: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], datasets: Sequence[str]) -> Self:
        """Return the places of the rows. Raises ValueError for two rows of one cell."""
        keys = [
            pd.Index(order).get_indexer(pd.Index(rows[name].astype(str)))
            for name, order in (("dataset", datasets), ("run_id", run_ids), ("finding", findings))
        ]
        wanted = np.all([key >= 0 for key in keys], axis=0)
        shape = (len(datasets), len(run_ids), len(findings))
        cell = np.ravel_multi_index([key[wanted] for key in keys], shape)
        if len(np.unique(cell)) != len(cell):
            raise ValueError("several rows for one run, finding and hospital")
        return cls(shape, wanted, cell)

    def values(self, rows: pd.DataFrame, column: str) -> Array:
        """Return a column of the rows as an array [H, R, K], NaN without a row."""
        out = np.full(self.shape, np.nan)
        out.flat[self.cell] = rows[column].to_numpy(np.float64)[self.wanted]
        return out
