"""Arrays of what is known at hospitals with labels, from the table `estimates`."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.scoring.estimators.estimate_rows import MEASURED
from bench.scoring.estimators.from_hospitals import Known
from bench.scoring.estimators.quantities import QUANTITIES

Array = NDArray[np.float64]


def known_values(
    estimates: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], internal: str, hospitals: Sequence[str]
) -> dict[str, Known]:
    """Return {quantity: `Known`} for R runs, K findings and H hospitals, in the given order."""
    is_measured = estimates["estimator"] == MEASURED
    known = {}
    for q, stated in by_estimator(estimates[~is_measured], run_ids, findings, hospitals).items():
        measured = estimates[is_measured]
        (at_internal,) = _array(measured, q, run_ids, findings, [internal])
        known[q] = Known(at_internal, _array(measured, q, run_ids, findings, hospitals), stated)
    return known


def by_estimator(
    estimates: pd.DataFrame, run_ids: Sequence[str], findings: Sequence[str], hospitals: Sequence[str]
) -> dict[str, dict[str, Array]]:
    """Return quantity -> estimator -> estimates [H, R, K]; estimators without any value of a quantity are left out."""
    stated: dict[str, dict[str, Array]] = {q: {} for q in QUANTITIES}
    for name, rows in estimates.groupby("estimator", sort=False, observed=True):
        for q in QUANTITIES:
            value = _array(rows, q, run_ids, findings, hospitals)
            if np.isfinite(value).any():
                stated[q][str(name)] = value
    return stated


def _array(
    rows: pd.DataFrame, column: str, run_ids: Sequence[str], findings: Sequence[str], datasets: Sequence[str]
) -> Array:
    """Return a column as an array [H, R, K], NaN without a row. Raises ValueError for two rows of one cell."""
    keys = [
        pd.Index(order).get_indexer(pd.Index(rows[name].astype(str)))
        for name, order in (("dataset", datasets), ("run_id", run_ids), ("finding", findings))
    ]
    wanted = np.all([key >= 0 for key in keys], axis=0)
    out = np.full((len(datasets), len(run_ids), len(findings)), np.nan)
    cell = np.ravel_multi_index([key[wanted] for key in keys], out.shape)
    if len(np.unique(cell)) != len(cell):
        raise ValueError(f"several rows of {column} for one run, finding and hospital")
    out.flat[cell] = rows[column].to_numpy(np.float64)[wanted]
    return out
