"""Find rows of a native table that cannot be used; name and count them, and keep the others.

A table with more than a few bad rows is refused. Many bad rows are a sign of a wrong file, a shifted column or a wrong
mapping; the remaining rows could then be silently wrong, too.
"""

import pandas as pd

from harmonize.datasets import BASE, FAULT
from harmonize.datasets.csvfile import first_of
from harmonize.errors import DatasetError

FEW = 5  # rows, or 1 % of the table if that is more; and never more than half of the table
_SHARE = 0.01
_OUTSIDE = r"(?:^|/)\.\.(?:/|$)|^/|\\|^[A-Za-z]:|\x00"


def usable(native: pd.DataFrame, where: str, flow: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the usable rows, and image_id, path and reason of the bad rows.

    A row that equals an earlier row in every cell is skipped. Bad rows are: rows with a FAULT from the adapter, rows
    without an image or a patient, paths that leave the root, and differing rows with one image id. `flow` counts
    `repeated_row` and `bad_row` if there are any. Raises DatasetError for too many bad rows.
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
    """Return the table without rows that equal an earlier row in every cell."""
    shared = native["image_id"].duplicated(keep=False)
    if not shared.any():
        return native
    again = native[shared].astype(str).duplicated()  # as text: null equals null
    if not again.any():
        return native
    flow["repeated_row"] = int(again.sum())
    return native.drop(index=again.index[again])


def _reasons(native: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason why each row is bad, "" for usable rows."""
    stated = native[FAULT].astype(object) if FAULT in native else pd.Series("", index=native.index, dtype=object)
    reasons = [stated]
    reasons += [_where(native[column] == "", f"no {column}", native) for column in ("image_id", "patient_id")]
    outside = native["path"].str.contains(_OUTSIDE, regex=True)
    reasons.append(_where(outside, "a path that leaves the root", native))
    reasons.append(_where(native["image_id"].duplicated(keep=False), "an image id with rows that differ", native))
    return first_of(*reasons)


def _where(rows: "pd.Series[bool]", reason: str, native: pd.DataFrame) -> "pd.Series[str]":
    return pd.Series("", index=native.index, dtype=object).mask(rows.astype(bool), reason)
