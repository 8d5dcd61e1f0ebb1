"""ECE and MCE of the package netcal, with which the errors in the scores are compared."""

import warnings
from functools import cache
from typing import Any

import numpy as np


@cache
def _netcal(name: str, bins: int) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # netcal's source code has invalid escape sequences
        from netcal import metrics
    return getattr(metrics, name)(bins=bins)


def ece(label: np.ndarray, prob: np.ndarray, bins: int = 15) -> float:
    """Return the expected calibration error over equal-width bins; NaN without images."""
    return _measure("ECE", label, prob, bins)


def mce(label: np.ndarray, prob: np.ndarray, bins: int = 15) -> float:
    """Return the maximum calibration error over equal-width bins; NaN without images."""
    return _measure("MCE", label, prob, bins)


def _measure(name: str, label: np.ndarray, prob: np.ndarray, bins: int) -> float:
    if not len(label):
        return float("nan")
    return float(_netcal(name, bins).measure(np.asarray(prob, np.float64), np.asarray(label, np.int64)))
