"""Compare two tables of scores, exactly or with a tolerance."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench.results.read_predictions import FRAMES
from bench.results.score_runs import PROBED
from bench.store.store import short_hash

# the tables of scores that a bundle has. It has no features, which source probes need, and it states no estimates: they
# depend on the registry of the reader
SCORED = tuple(name for name in FRAMES if name not in PROBED)
# versions of these packages can change the last digits of scores
PACKAGES = ("unseen-cxr", "numpy", "pandas", "scipy", "scikit-learn")
ROUNDING = 1e-6  # tolerance for calibrated values, which differ slightly because calibrators are fitted iteratively


def versions() -> dict[str, str]:
    """Return {name: value} of the facts that can change the last digits of a score.

    The facts are the versions of PACKAGES, and under "arithmetic" a hash of numbers that this processor computed. The
    hash is different on a processor that rounds differently.
    """
    from scipy.special import expit, ndtri

    x = np.linspace(0.01, 0.99, 1001)
    results = (np.exp(x), np.log(x), np.power(x, x), expit(x), ndtri(x), x.sum(), x @ x)
    rounding = short_hash(b"".join(np.asarray(result).tobytes() for result in results))
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"arithmetic": rounding}


def differs(ours: pd.DataFrame, theirs: pd.DataFrame, columns: Sequence[str], slack: float) -> str:
    """Return a description of the first difference between two tables in `columns`, "" if there is no difference.

    Numbers may differ by at most `slack`, above 1 by this share; if `slack` is 0, they must be equal to the last bit.
    """
    if list(ours.columns) != list(theirs.columns) or len(ours) != len(theirs):
        return f"{len(ours)} rows and {len(theirs)}" if len(ours) != len(theirs) else "other columns"
    for column in columns:
        a, b = ours[column], theirs[column]
        if pd.api.types.is_float_dtype(a) and pd.api.types.is_float_dtype(b):
            same = _close(a.to_numpy(np.float64), b.to_numpy(np.float64), slack)
        elif a.dtype != object and a.equals(b):  # nearly every column; comparing cells takes 20 times as long
            continue
        else:
            cells = zip(a.to_numpy(object).tolist(), b.to_numpy(object).tolist(), strict=True)
            same = np.array([_equal(p, q, slack) for p, q in cells], bool)
        if not same.all():
            at = int(np.flatnonzero(~same)[0])
            names = ("dataset", "split", "subgroup", "finding", "metric", "calibrator", "operating_point")
            row = ", ".join(
                str(ours[name].iloc[at]) for name in names if name in ours and ours[name].iloc[at] not in ("", None)
            )
            return f"{column} of ({row}) is {_shown(a.iloc[at])}, not {_shown(b.iloc[at])}"
    return ""


def same_bits(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of the elements that are equal to the last bit; NaN equals NaN."""
    return np.asarray((x.view(np.uint64) == y.view(np.uint64)) | (np.isnan(x) & np.isnan(y)))


def _close(x: NDArray[np.float64], y: NDArray[np.float64], slack: float) -> NDArray[np.bool_]:
    """Return a mask of the elements that differ by at most `slack` (above 1: by this share), or are equal to the last bit if `slack` is 0."""
    return np.isclose(x, y, rtol=slack, atol=slack, equal_nan=True) if slack else same_bits(x, y)


def _equal(p: Any, q: Any, slack: float) -> bool:
    """Return whether two values of a table are equal.

    Arrays are equal if all their elements differ by at most `slack`. Null and "" are equal.
    """
    if isinstance(p, np.ndarray) and isinstance(q, np.ndarray):
        return p.shape == q.shape and bool(_close(p.astype(np.float64), q.astype(np.float64), slack).all())
    empty = [bool(pd.isna(value)) or value == "" for value in (p, q)]
    return all(empty) if any(empty) else bool(p == q)


def _shown(value: Any) -> str:
    return repr(float(value)) if isinstance(value, float) else str(value)[:80]
