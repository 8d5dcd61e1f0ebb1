"""Rows of a native table that cannot be used: named and counted, and none of them fatal for the rest.

A table of which more cannot be used than a few is refused as a whole: such rows are then a sign of another file, a
shifted column or a wrong mapping, and what could be read would be wrong in ways that nobody sees.
"""

import pandas as pd

from harmonize.datasets import BASE, FAULT
from harmonize.datasets.csvfile import first_of
from harmonize.errors import DatasetError

FEW = 5  # rows, or 1 % of the table where that is more; and never more than half of it
_SHARE = 0.01
_OUTSIDE = r"(?:^|/)\.\.(?:/|$)|^/|\\|^[A-Za-z]:|\x00"


def usable(native: pd.DataFrame, where: str, flow: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that can be used, and image_id, path, reason of the others.

    A row that repeats another in every cell is passed over. Not used are rows that the adapter marked (FAULT), rows
    without an image or a patient, paths that leave the root, and rows that share an image id and differ. Where there are
    any, `flow` has `repeated_row` and `bad_row`. Raises DatasetError where they are too many.
    """
    missing = [column for column in BASE if column not in native]
    if missing:
        raise ValueError(f"the adapter left out {missing}")  # a bug, not bad input
    native = _once(native, flow)
    reason = _reasons(native)
    bad = reason != ""
    number, total = int(bad.sum()), len(native)
    if number:
        flow["bad_row"] = number
    if number > max(FEW, _SHARE * total) or 2 * number > total:
        common = reason[bad].str.partition(" at ")[0].value_counts()
        first = reason[bad & reason.str.startswith(str(common.index[0]))].iloc[0]
        what = f"{number:,} of {total:,} rows cannot be used, e.g. {first}"
        raise DatasetError(
            what, where, "use the files as published: with so many, the rest is not to be trusted either"
        )
    left_out = native.loc[bad, ["image_id", "path"]].assign(reason=reason[bad])
    kept = native if not number else native[~bad]
    return kept.drop(columns=FAULT, errors="ignore"), left_out


def _once(native: pd.DataFrame, flow: dict[str, int]) -> pd.DataFrame:
    """Return the table without rows that repeat an earlier one in every cell."""
    shared = native["image_id"].duplicated(keep=False)
    if not shared.any():
        return native
    again = native[shared].astype(str).duplicated()  # as text: null equals null
    if not again.any():
        return native
    flow["repeated_row"] = int(again.sum())
    return native.drop(index=again.index[again])


def _reasons(native: pd.DataFrame) -> "pd.Series[str]":
    """Return why each row cannot be used, "" where it can."""
    stated = native[FAULT].astype(object) if FAULT in native else pd.Series("", index=native.index, dtype=object)
    found = [stated]
    found += [_where(native[column] == "", f"no {column}", native) for column in ("image_id", "patient_id")]
    outside = native["path"].str.contains(_OUTSIDE, regex=True)
    found.append(_where(outside, "a path that leaves the root", native))
    found.append(_where(native["image_id"].duplicated(keep=False), "an image id with rows that differ", native))
    return first_of(*found)


def _where(rows: "pd.Series[bool]", reason: str, native: pd.DataFrame) -> "pd.Series[str]":
    return pd.Series("", index=native.index, dtype=object).mask(rows.astype(bool), reason)
