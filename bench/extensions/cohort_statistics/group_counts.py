"""Count a cohort's images by view, sex, age and device, and by the number of images of the same patient or study."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NOT_STATED = "not stated"
_LAST_DECADE = 90
_DEVICES = 8  # maximum number of device groups; rare devices are joined to one group
_PER_PATIENT = ((1, 1), (2, 2), (3, 5), (6, 10), (11, 10**9))


def groups(table: pd.DataFrame, patients: NDArray[np.int64], studies: NDArray[np.int64]) -> pd.DataFrame:
    """Return the table `groups` of a cohort: what, group, number of images, owners.

    `owners` is the number of patients; in the rows of "images per study", the number of studies. `patients` and
    `studies` have a number for each row of `table`; equal numbers mean the same patient or study.
    """
    frames = [
        _count_values("view", table["view"], patients),
        _count_values("sex", table["sex"].where(table["sex"] != "", NOT_STATED), patients),
        _count_values("age", _decades(table["age"]), patients),
        _count_values("device", _join_rare_devices(table["device"]), patients),
        _count_per_owner("images per patient", patients),
        _count_per_owner("images per study", studies),
    ]
    return pd.concat(frames, ignore_index=True)


def distinct(codes: NDArray[np.int64]) -> int:
    """Return the number of different codes."""
    return int(np.count_nonzero(np.bincount(codes))) if len(codes) else 0


def _count_values(what: str, values: "pd.Series[Any]", patients: NDArray[np.int64]) -> pd.DataFrame:
    """Return the number of images and patients for each value; values are sorted, with "not stated" last."""
    codes, names = pd.factorize(values.astype(object), sort=True)
    images = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda i: (names[i] == NOT_STATED, i))
    rows = [(what, str(names[i]), int(images[i]), distinct(patients[codes == i])) for i in order]
    return pd.DataFrame(rows, columns=["what", "group", "images", "owners"])


def _decades(age: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the decade of each age: "40-49" for example, "90+" from 90 on, "not stated" without an age."""
    years = age.to_numpy(np.float64, na_value=np.nan)
    is_stated = np.isfinite(years)
    decade = np.where(is_stated, np.clip(np.nan_to_num(years), 0, _LAST_DECADE) // 10, -1).astype(int)
    names = [NOT_STATED, *(f"{10 * d:02d}-{10 * d + 9:02d}" for d in range(_LAST_DECADE // 10)), f"{_LAST_DECADE}+"]
    return pd.Series(np.array(names, object)[decade + 1], index=age.index)


def _join_rare_devices(device: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return the device names; rare devices become one group such as "5 others"."""
    names = device.where(device != "", NOT_STATED).astype(str)
    counts = names[names != NOT_STATED].value_counts()
    if len(counts) <= _DEVICES:
        return names
    rare = set(counts.index[_DEVICES - 1 :])
    return names.where(~names.isin(rare), f"{len(rare)} others")


def _count_per_owner(what: str, owners: NDArray[np.int64]) -> pd.DataFrame:
    """Return how many owners (patients or studies) have 1, 2, 3-5, 6-10 or 11+ images, and the number of their images."""
    images_of_owner = np.bincount(owners) if len(owners) else np.zeros(0, np.int64)
    rows = []
    for low, high in _PER_PATIENT:
        numbers = images_of_owner[(images_of_owner >= low) & (images_of_owner <= high)]
        name = str(low) if low == high else f"{low}+" if high >= 10**9 else f"{low}-{high}"
        rows.append((what, name, int(numbers.sum()), len(numbers)))
    return pd.DataFrame(rows, columns=["what", "group", "images", "owners"])
