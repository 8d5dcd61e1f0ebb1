"""Separate the bad rows of a native table from the usable rows; each bad row gets a reason.

The native table comes from an adapter (`harmonize.datasets`) and has the dataset's own labels. Too many bad rows raise
an error: probably the file, a column or the mapping is wrong, and other rows may be wrong too.
"""

import pandas as pd

from harmonize.datasets import BASE, FAULT
from harmonize.datasets.csvfile import first_fault, summary
from harmonize.datasets.ids import refuse_rounded_columns, too_many
from harmonize.errors import DatasetError

# paths that are not below the root, or may not be: "..", absolute paths, backslashes, drive letters, NUL characters
_OUTSIDE = r"(?:^|/)\.\.(?:/|$)|^/|\\|^[A-Za-z]:|\x00"


def separate_bad_rows(native: pd.DataFrame, where: str, flow: dict[str, int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return two tables: the usable rows; and image_id, path and reason of the bad rows.

    A row that equals an earlier row in every cell is removed. A row is bad if the adapter states a fault (column
    FAULT), if the image id or patient id is missing, if the path is outside the root, or if a different row has the
    same image id. `flow` gets the counts `repeated_row` and `bad_row` if they are not zero. Raises DatasetError for too
    many bad rows, and for ids in scientific notation; `where` is the location that the error message shows.
    """
    missing = [column for column in BASE if column not in native]
    if missing:
        raise ValueError(f"the adapter did not return the columns {missing}")  # a bug in the adapter, not bad input
    refuse_rounded_columns(native, where)
    native = _drop_repeated_rows(native, flow)
    reason = _reasons(native)
    bad = reason != ""
    num_bad, total = int(bad.sum()), len(native)
    if num_bad:
        flow["bad_row"] = num_bad
    if too_many(num_bad, total):
        problem = f"{num_bad:,} of {total:,} rows cannot be used: {summary(reason[bad])}"
        raise DatasetError(
            problem,
            where,
            "use the files as published, or correct your own table: with so many bad rows, the others may be wrong too",
        )
    bad_rows = native.loc[bad, ["image_id", "path"]].assign(reason=reason[bad])
    usable_rows = native if not num_bad else native[~bad]
    return usable_rows.drop(columns=FAULT, errors="ignore"), bad_rows


def _drop_repeated_rows(native: pd.DataFrame, flow: dict[str, int]) -> pd.DataFrame:
    """Return the table without rows that equal an earlier row in every cell."""
    is_shared_id = native["image_id"].duplicated(keep=False)
    if not is_shared_id.any():
        return native
    is_repeated = native[is_shared_id].astype(str).duplicated()  # compare as text, so that null equals null
    if not is_repeated.any():
        return native
    flow["repeated_row"] = int(is_repeated.sum())
    return native.drop(index=is_repeated.index[is_repeated])


def _reasons(native: pd.DataFrame) -> "pd.Series[str]":
    """Return the reason why each row is bad, "" for usable rows."""
    fault = native[FAULT].astype(object) if FAULT in native else pd.Series("", index=native.index, dtype=object)
    reasons = [fault]
    reasons += [_reason_for(native[column] == "", f"no {column}", native) for column in ("image_id", "patient_id")]
    outside = native["path"].str.contains(_OUTSIDE, regex=True)
    leads_out = _reason_for(outside, "the path is absolute or leads out of the root folder at ", native)
    reasons.append(leads_out.where(~outside, leads_out + native["path"]))
    reason = _reason_for(native["image_id"].duplicated(keep=False), "several different rows have this image id", native)
    reasons.append(reason)
    return first_fault(*reasons)


def _reason_for(rows: "pd.Series[bool]", reason: str, native: pd.DataFrame) -> "pd.Series[str]":
    """Return a column of texts: `reason` for the selected rows, "" for the others."""
    return pd.Series("", index=native.index, dtype=object).mask(rows.astype(bool), reason)
