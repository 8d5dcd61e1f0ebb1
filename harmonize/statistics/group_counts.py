"""The images of a cohort by view, sex, age and device, and how many each patient and study has: counts only."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOT_STATED = "not stated"
_OLDEST = 90
_DEVICES = 8  # named at most; the rest is one group
_PER_PATIENT = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 10**9))


def groups(table: pd.DataFrame, patients: NDArray[np.int64], studies: NDArray[np.int64]) -> pd.DataFrame:
    """Return what, group, images, owners of a cohort table; `patients` and `studies` number each row's."""
    frames = [
        _count("view", table["view"], patients),
        _count("sex", table["sex"].where(table["sex"] != "", NOT_STATED), patients),
        _count("age", _decades(table["age"]), patients),
        _count("device", _few(table["device"]), patients),
        _per("images per patient", patients),
        _per("images per study", studies),
    ]
    return pd.concat(frames, ignore_index=True)


def distinct(codes: NDArray[np.int64]) -> int:
    """Return how many different codes there are."""
    return int(np.count_nonzero(np.bincount(codes))) if len(codes) else 0


def _count(what: str, values: "pd.Series[Any]", patients: NDArray[np.int64]) -> pd.DataFrame:
    """Return images and patients of each value, in the order of the values, "not stated" last."""
    codes, names = pd.factorize(values.astype(object), sort=True)
    images = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (names[i] == NOT_STATED, i))
    rows = [(what, str(names[i]), int(images[i]), distinct(patients[codes == i])) for i in order]
    return pd.DataFrame(rows, columns=["what", "group", "images", "owners"])


def _decades(age: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the decade of each age, e.g. "40-49", "90+" from 90 on."""
    years = age.to_numpy(np.float64, na_value=np.nan)
    known = np.isfinite(years)
    decade = np.where(known, np.clip(np.nan_to_num(years), 0, _OLDEST) // 10, -1).astype(int)
    names = [NOT_STATED, *(f"{10 * d:02d}-{10 * d + 9:02d}" for d in range(_OLDEST // 10)), f"{_OLDEST}+"]
    return pd.Series(np.array(names, object)[decade + 1], index=age.index)


def _few(device: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the devices with the rare ones joined."""
    named = device.where(device != "", NOT_STATED).astype(str)
    counts = named[named != NOT_STATED].value_counts()
    if len(counts) <= _DEVICES:
        return named
    rest = set(counts.index[_DEVICES - 1 :])
    return named.where(~named.isin(rest), f"{len(rest)} others")


def _per(what: str, owners: NDArray[np.int64]) -> pd.DataFrame:
    """Return images and owners (patients or studies) by the number of images per owner."""
    number = np.bincount(owners) if len(owners) else np.zeros(0, np.int64)
    rows = []
    for low, high in _PER_PATIENT:
        mine = number[(number >= low) & (number <= high)]
        name = str(low) if low == high else f"{low}+" if high >= 10**9 else f"{low}-{high}"
        rows.append((what, name, int(mine.sum()), len(mine)))
    return pd.DataFrame(rows, columns=["what", "group", "images", "owners"])
