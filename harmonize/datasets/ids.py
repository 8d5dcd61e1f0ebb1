"""Compare ids as ids: refuse rounded numbers, and explain why the ids of two tables do not match."""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from harmonize.errors import DatasetError

_SHOWN = 5  # maximum number of groups that a message lists
ID_COLUMNS = ("image_id", "patient_id", "study_id")
# A spreadsheet shows a number of more than eleven digits like 1.08E+37 and saves it like this. The sign is required,
# because an id of hexadecimal digits may contain an e.
_ROUNDED = r"\s*(?:\d(?:[.,]\d+)?[eE]\+\d+|\d{16,}\.0)\s*"  # a floating-point number has at most 15 exact digits
_WITH_POINT = r"^(\d+)\.0+$"
# name of a difference -> function that removes the difference from an id
_DIFFERENCES: dict[str, Callable[[str], str]] = {
    "the Unicode form": lambda text: unicodedata.normalize("NFKC", text),
    "spaces or quotes": lambda text: text.strip(" \t\"'"),
    "the decimal point": lambda text: re.sub(_WITH_POINT, r"\1", text),
    "the endings of file names": lambda text: re.sub(r"(\.[^\W\d]{3,5})+$", "", text),
    "the folders": lambda text: PurePosixPath(text.replace("\\", "/")).name,
    "upper and lower case": str.casefold,
    "the leading zeros": lambda text: text.lstrip("0"),
}


_INVISIBLE = ("Cc", "Cf")  # Unicode categories of invisible characters: control and format
# letters of other scripts that look like Latin letters, in lower case
_LIKE_LATIN = str.maketrans("аеорсухіјѕвкмнтοαρνιτκ", "aeopcyxijsbkmhtoapvitk")
_PLAIN = re.compile(r"[a-z]*\d+")
_QUOTES = re.compile(r"[\"'`´‘’“”«»\[\]()]")
_FRACTION = re.compile(r"^(-?\d+)[.,]0+$")
_THOUSANDS = re.compile(r"^\d{1,3}(?:,\d{3})+$")
_SEPARATORS = re.compile(r"[\W_]+")
_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")


def look(text: str) -> str:
    """Return a text that is equal for two ids, words or names that people write differently but mean as one.

    The writings differ in case, spaces, quotes, invisible characters, width of characters, letters that look alike, separators,
    leading zeros, or in the form of a number. A separator between two digits stays: 1-12 and 11-2 are two ids.

    >>> len({look(text) for text in ("P001", "p001", "P-1", " p 1", "'P_001'", "\uff30\uff10\uff10\uff11", "Р001")})
    1
    >>> look("012.0"), look("12,0"), look("1,012"), look("1-12"), look("11-2"), look("-1"), look("No  finding")
    ('12', '12', '1012', '1-12', '11-2', '-1', 'nofinding')
    """
    original, text = text, text.strip().casefold()
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold().translate(_LIKE_LATIN)
        text = "".join(str(unicodedata.digit(c, c)) for c in text)  # other digits become 0 to 9
    if not text.isprintable() or not text.isascii():
        text = "".join(c for c in text if unicodedata.category(c) not in _INVISIBLE)
    if not _PLAIN.fullmatch(text):
        text = _FRACTION.sub(r"\1", _QUOTES.sub("", text).strip())
        if _THOUSANDS.match(text):
            text = text.replace(",", "")
        text = _SEPARATORS.sub(_separator, text)
    return _ZEROS.sub("", text) or original


def _separator(match: "re.Match[str]") -> str:
    """Return what stands for a separator: "-" between two digits and for the sign of a number, and nothing elsewhere."""
    text, start, end = match.string, match.start(), match.end()
    before_digit = end < len(text) and text[end].isdigit()
    is_kept = before_digit and (text[start - 1].isdigit() if start else match[0] == "-")
    return "-" if is_kept else ""


def alike(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Return the ids that look like another id of the column; the index has what both look like.

    >>> alike(pd.Series(["P1", "p01", "P2", "P1"])).tolist()
    ['P1', 'p01']
    """
    distinct = pd.Series(ids.unique(), dtype=object)
    form = distinct.map(look)
    shared = form.duplicated(keep=False)
    return pd.Series(distinct[shared].to_numpy(), form[shared])


WRITE_ALIKE = "write the ids of one patient alike: otherwise the patient counts as several, and may be in two splits"


def look_alike(similar: "pd.Series[str]") -> str:
    """Return the result of `alike` as text: the number of ids, and the first groups.

    >>> look_alike(alike(pd.Series(["P1", "p01", "P2"])))
    "2 ids look alike: 'P1' = 'p01'"
    """
    groups = [" = ".join(sorted(map(ascii, group))) for _, group in similar.groupby(level=0, sort=False)]
    more = ", …" if len(groups) > _SHOWN else ""
    return f"{len(similar):,} ids look alike: {', '.join(groups[:_SHOWN])}{more}"


def refuse_rounded(ids: "pd.Series[str]", column: str, where: Path | str) -> None:
    """Raise DatasetError if an id has scientific notation, or a decimal point after 16 digits: several ids then became one."""
    # both searches are much faster than a search for the pattern
    rounded = ids[ids.str.contains("+", regex=False, na=False) | ids.str.endswith(".0", na=False)]
    rounded = rounded[rounded.str.fullmatch(_ROUNDED)]
    if len(rounded):
        what = (
            f"{len(rounded):,} of {len(ids):,} ids in column {column!r} have scientific notation or too many digits, first "
            f"{rounded.iloc[0]!r}: a spreadsheet or program rounded them, so different ids became equal"
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
        return look(text)

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
