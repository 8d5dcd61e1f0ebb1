"""Read published CSV files: text stays text, label cells become states, and errors name file, column and line."""

import csv
import gzip
import zlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harmonize.datasets import FAULT
from harmonize.errors import DatasetError
from harmonize.labels.findings import ABSENT, NOT_MENTIONED, PRESENT, UNCERTAIN

STATES = {
    "1": PRESENT,
    "1.0": PRESENT,
    "0": ABSENT,
    "0.0": ABSENT,
    "-1": UNCERTAIN,
    "-1.0": UNCERTAIN,
    "": NOT_MENTIONED,
}
_SHOWN = 60  # characters of a cell in a message
_FLOAT_CELLS = {1: "1.0", 0: "0.0", -1: "-1.0", -2: ""}


def find(root: Path, *names: str) -> Path | None:
    """Return the first of these files under root, plain or gzipped; a name may be a glob pattern."""
    for name in names:
        for variant in (name, f"{name}.gz"):
            found = sorted(path for path in root.glob(variant) if path.is_file())
            if found:
                return found[-1]  # the newest release, if the name holds a version
    return None


def require(root: Path, layout: str, *names: str) -> Path:
    """Return the first of these files; raise DatasetError if the root or all of the files are missing."""
    if not root.is_dir():
        raise DatasetError(
            "no such folder", str(root), f"point --data at the folder that holds {layout}, or correct `root:`"
        )
    path = find(root, *names)
    if path is None:
        raise DatasetError(
            f"no {' or '.join(names)}", str(root), f"{layout}: put it there as published (.csv or .csv.gz)"
        )
    return path


def header(path: Path) -> list[str]:
    """Return the column names of a CSV file; raise DatasetError if it is unreadable or empty."""
    frame = _read_csv(path, nrows=0)
    return [str(column) for column in frame.columns]


def read_text(
    path: Path,
    columns: Sequence[str],
    labels: Sequence[str] = (),
    optional: Sequence[str] = (),
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Return the named columns, in this order: text as written ("" for blank), `labels` as Int8 states.

    Missing columns of `optional` are left out. An invalid label cell becomes null, and the column FAULT (only present if
    some row has a fault) names the cell and its line. Raises DatasetError for a missing column and for an empty or
    truncated file.
    """
    present = header(path)
    for column in (*columns, *labels):
        if column not in present:
            close = get_close_matches(column, present, n=1)
            hint = f"is it {close[0]!r}?" if close else f"the file has: {', '.join(present[:30])}"
            raise DatasetError(f"no column {column!r}", str(path), f"use the file as published; {hint}")
    wanted = [*columns, *(column for column in optional if column in present)]
    dtype: dict[str, str] = dict.fromkeys(wanted, "str") | dict.fromkeys(labels, "category")
    frame = _read_csv(path, usecols=[*wanted, *labels], dtype=dtype)[[*wanted, *labels]]
    if frame.empty and not may_be_empty:
        raise DatasetError("the table has no rows", str(path), "download it again: a header alone is no dataset")
    _check_end(path, 1 + max(present.index(column) for column in frame.columns))
    fault = np.full(len(frame), "", object)
    states = {column: _states(frame[column], path, fault) for column in labels}
    return frame.assign(**states, **({FAULT: fault} if (fault != "").any() else {}))


def _check_end(path: Path, num_fields: int) -> None:
    """Raise DatasetError if the last line is truncated; pandas would fill the missing cells with blanks."""
    if path.suffix == ".gz":
        return  # gzip files have a checksum
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 2**16))
        *_, last = file.read().decode("utf-8", "replace").split("\n")
    if last and len(next(csv.reader([last]))) < num_fields:
        raise DatasetError("the last row is cut off", str(path), "download the file again")


def _read_csv(path: Path, **options: object) -> pd.DataFrame:
    """Return the file as pandas reads it; raise DatasetError for an unreadable file."""
    try:
        frame: pd.DataFrame = pd.read_csv(  # type: ignore[call-overload]
            path, index_col=False, keep_default_na=False, encoding="utf-8-sig", **options
        )
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
    ) as error:
        raise DatasetError(f"not a readable CSV file: {error}", str(path), "download it again") from error
    except OSError as error:
        raise DatasetError(f"cannot read the file: {error}", str(path), "check its name and permissions") from error
    return frame


def _states(cells: "pd.Series[str]", path: Path, fault: NDArray[np.object_]) -> pd.Series:
    """Return the label states of a categorical column; an invalid cell is null and gets a text in `fault`."""
    known = [STATES.get(str(text).strip()) for text in cells.cat.categories]
    table = np.array([0 if state is None else state for state in known], np.int8)
    odd = np.array([state is None for state in known], bool)
    codes = cells.cat.codes.to_numpy()
    null = odd[codes]
    for row in np.flatnonzero(null):
        text = str(cells.cat.categories[codes[row]])
        fault[row] = fault[row] or odd_cell(text, str(cells.name), "a label state", path, int(row))
    return pd.Series(states_array(table[codes], null), index=cells.index)


def faults(odd: "pd.Series[bool]", text: "pd.Series[str]", column: str, kind: str, path: Path) -> "pd.Series[str]":
    """Return a fault text for each odd cell of a column, "" for the others; rows are those of the file."""
    found = np.full(len(text), "", object)
    for row in np.flatnonzero(odd):
        found[row] = odd_cell(str(text.iloc[row]), column, kind, path, int(row))
    return pd.Series(found, index=text.index)


def first_of(*faults: "pd.Series[str]") -> "pd.Series[str]":
    """Return the first non-empty text of each row, "" if all are empty."""
    joined, *others = faults
    for other in others:
        joined = joined.where(joined != "", other)
    return joined


def odd_cell(text: str, column: str, kind: str, path: Path, row: int) -> str:
    """Return the fault text of a cell, with its line in the file; `row` counts from 0 below the header."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{shown!r} in column {column!r} is not {kind} at {path.name}:{row + 2}"


def states_array(values: NDArray[np.int8], null: NDArray[np.bool_] | None = None) -> pd.arrays.IntegerArray:
    """Return an Int8 array that may hold null."""
    return pd.arrays.IntegerArray(values, np.zeros(len(values), bool) if null is None else null)


def cells(states: pd.Series) -> pd.Series:
    """Return label cells as the CheXpert labeler writes them: 1.0, 0.0, -1.0, blank."""
    return states.map(_FLOAT_CELLS).astype(object)


def extracted(text: "pd.Series[str]", pattern: str) -> pd.DataFrame:
    """Return the first match of a pattern in each cell, one column per named group; null if there is no match.

    The pattern is one of RE2 (its digits and letters are ASCII), which reads a column several times as fast as Python's.
    """
    found = pc.extract_regex(pa.array(text, pa.string()), pattern)
    names = [found.type.field(k).name for k in range(found.type.num_fields)]
    groups = {name: pc.struct_field(found, k).to_numpy(zero_copy_only=False) for k, name in enumerate(names)}
    return pd.DataFrame({name: pd.Series(group, text.index, text.dtype) for name, group in groups.items()})


def recode(text: pd.Series, meaning: Mapping[str, str], other: str = "") -> pd.Series:
    """Return `meaning[text]` for each cell, or `other` if `meaning` does not have the text."""
    return text.map(dict(meaning)).astype(object).where(text.isin(list(meaning)), other).astype(str)


def numbers(text: pd.Series) -> pd.Series:
    """Return the column as float64, NaN for text that is not a number."""
    return pd.to_numeric(text, errors="coerce").astype("float64")
