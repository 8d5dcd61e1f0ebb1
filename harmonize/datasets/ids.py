"""Compare ids as ids: refuse rounded numbers, and explain why the ids of two tables do not match."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from harmonize.errors import DatasetError

ID_COLUMNS = ("image_id", "patient_id", "study_id")
# A spreadsheet shows a number of more than eleven digits like 1.08E+37 and saves it like this. The sign is required,
# because an id of hexadecimal digits may contain an e.
_ROUNDED = r"\s*\d(?:[.,]\d+)?[eE]\+\d+\s*"
_WITH_POINT = r"^(\d+)\.0+$"
# name of a difference -> function that removes the difference from an id
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "the decimal point": lambda text: re.sub(_WITH_POINT, r"\1", text),
    "the endings of file names": lambda text: re.sub(r"\.[A-Za-z]{3,5}$", "", text),
    "the folders": lambda text: PurePosixPath(text.replace("\\", "/")).name,
    "upper and lower case": str.casefold,
    "the leading zeros": lambda text: text.lstrip("0"),
    "spaces or quotes": lambda text: text.strip(" \t\"'"),
    "the Unicode form": lambda text: unicodedata.normalize("NFC", text),
}


def refuse_rounded(ids: "pd.Series[str]", column: str, where: Path | str) -> None:
    """Raise DatasetError if an id has scientific notation, because several ids then become one."""
    rounded = ids[ids.str.contains("+", regex=False, na=False)]  # much faster than a search for the pattern
    rounded = rounded[rounded.str.fullmatch(_ROUNDED)]
    if len(rounded):
        what = (
            f"{len(rounded):,} of {len(ids):,} ids in column {column!r} have scientific notation, first "
            f"{rounded.iloc[0]!r}: a spreadsheet rounded them, so different ids became equal"
        )
        fix = "export the table again with this column as text; rounded ids cannot be restored"
        raise DatasetError(what, str(where), fix)


def refuse_rounded_columns(table: pd.DataFrame, where: Path | str) -> None:
    """Call `refuse_rounded` for each column of ID_COLUMNS that the table has."""
    for column in ID_COLUMNS:
        if column in table:
            refuse_rounded(table[column].astype(str), column, where)


def whole_numbers(ids: "pd.Series[str]", column: str, where: Path | str) -> "pd.Series[str]":
    """Return ids that are numbers without the decimal point that a join of tables in pandas adds: 50000001.0 is 50000001.

    Only for ids that have digits only. Raises DatasetError for ids in scientific notation.
    """
    refuse_rounded(ids, column, where)
    return ids.str.replace(_WITH_POINT, r"\1", regex=True)


def occurs_in(ids: "pd.Series[str]", listed: "pd.Series[str] | Collection[str]") -> "pd.Series[bool]":
    """Return the mask of the ids that are in `listed`.

    `Series.isin` of a text column converts `listed` item by item, which takes ten times as long for 100,000 ids.

    >>> occurs_in(pd.Series(["a", "b"]), {"b", "c"}).tolist()
    [False, True]
    """
    return ids.astype(object).isin(listed.astype(object) if isinstance(listed, pd.Series) else listed)


def difference(ids: Iterable[str], others: Iterable[str]) -> str:
    """Return what differs between equal ids of two tables, with an example from both, "" if no difference is known.

    >>> difference(["1000"], ["2000.0", "1000.0"])
    "the decimal point differs: '1000' and '1000.0'"
    """
    ours, theirs = list(dict.fromkeys(ids)), list(dict.fromkeys(others))
    combined = list(_DIFFERENCES.values())

    def reduced(text: str) -> str:
        for remove in combined:
            text = remove(text)
        return text

    for name, remove in [*_DIFFERENCES.items(), ("the form", reduced)]:
        original = {remove(text): text for text in reversed(theirs)}
        for text in ours:
            if (other := original.get(remove(text))) is not None and other != text:
                verb = "differ" if name.endswith("s") or " and " in name else "differs"
                return f"{name} {verb}: {text!r} and {other!r}"
    return ""


def examples(ids: Iterable[str], others: Iterable[str]) -> str:
    """Return the known difference between the ids of two tables, or else an example from both."""
    ours, theirs = list(ids), list(others)
    one, other = (repr(next(iter(texts), "")) for texts in (ours, theirs))
    return difference(ours, theirs) or f"for example {one} and {other}"


def require_match(
    ids: "pd.Series[str]", listed: "pd.Series[str]", what: str, path: Path, *, may_be_few: bool = False
) -> None:
    """Raise DatasetError if too many images have no row in another table of the dataset; the share is in the message.

    `ids`: for each image, the id that joins the tables. `listed`: the ids of the other table. `what`: content of the
    other table, such as "labels". `may_be_few`: one image with a row is enough.
    """
    is_listed = occurs_in(ids, listed)
    num = int(is_listed.sum())
    fails = num == 0 if may_be_few else too_many(len(ids) - num, len(ids))
    if fails:
        text = f"the {what} match {num:,} of {len(ids):,} images: {examples(ids[~is_listed], listed)}"
        fix = "use the files of one release as published, with the same ids in both"
        raise DatasetError(text, str(path), fix)


# Largest number of bad rows in a table: FEW, or the share _SHARE of the rows if this is a larger number. In addition,
# at most half of the rows may be bad.
FEW = 5
_SHARE = 0.01


def too_many(bad: int, total: int) -> bool:
    """Return whether so many rows of a table are bad that probably the file, a column or the mapping is wrong."""
    return bad > max(FEW, _SHARE * total) or 2 * bad > total
