"""Read published CSV files. Text stays text, label cells become states, and errors name file, column and line."""

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
_SHOWN = 60  # maximum length of a cell in a message
_FLOAT_CELLS = {1: "1.0", 0: "0.0", -1: "-1.0", -2: ""}


def find(root: Path, *names: str) -> Path | None:
    """Return the path of the first name that exists below root, plain or gzipped, or None; a name may be a glob pattern."""
    for name in names:
        for variant in (name, f"{name}.gz"):
            matches = sorted(path for path in root.glob(variant) if path.is_file())
            if matches:
                return matches[-1]  # the names are sorted, so the last file is the newest release
    return None


def require(root: Path, layout: str, *names: str) -> Path:
    """Return the path of the first name that exists below root; raise DatasetError if the root or all files are missing."""
    if not root.is_dir():
        raise DatasetError("no such folder", str(root), f"correct `root:`, or use --data with the parent of {layout}/")
    path = find(root, *names)
    if path is None:
        raise DatasetError(
            f"no {' or '.join(names)}", str(root), f"{layout}: put the published file (.csv or .csv.gz) there"
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
    """Return columns of a CSV file, in this order: `columns` as unchanged text ("" for blank), `labels` as Int8 states.

    Missing `optional` columns are skipped. An invalid label cell becomes null, and the extra column FAULT states the
    cell and its line. Raises DatasetError for a missing column and for an empty or truncated file.
    """
    present = header(path)
    for column in (*columns, *labels):
        if column not in present:
            close = get_close_matches(column, present, n=1)
            hint = f"is {close[0]!r} meant?" if close else f"the file has: {', '.join(present[:30])}"
            raise DatasetError(f"no column {column!r}", str(path), f"use the file as published; {hint}")
    text_columns = [*columns, *(column for column in optional if column in present)]
    dtype: dict[str, str] = dict.fromkeys(text_columns, "str") | dict.fromkeys(labels, "category")
    frame = _read_csv(path, usecols=[*text_columns, *labels], dtype=dtype)[[*text_columns, *labels]]
    if frame.empty and not may_be_empty:
        raise DatasetError("the table has no rows", str(path), "download the file again: it has only a header")
    _check_end(path, 1 + max(present.index(column) for column in frame.columns))
    fault = np.full(len(frame), "", object)
    states = {column: _states(frame[column], path, fault) for column in labels}
    return frame.assign(**states, **({FAULT: fault} if (fault != "").any() else {}))


def _check_end(path: Path, num_fields: int) -> None:
    """Raise DatasetError if the last line is truncated, because pandas would read missing cells as blanks."""
    if path.suffix == ".gz":
        return  # a checksum protects gzip files
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - 2**16))
        *_, last = file.read().decode("utf-8", "replace").split("\n")
    if last and len(next(csv.reader([last]))) < num_fields:
        raise DatasetError("the last row is truncated", str(path), "download the file again")


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
        raise DatasetError(f"not a readable CSV file: {error}", str(path), "download the file again") from error
    except OSError as error:
        raise DatasetError(
            f"cannot read the file: {error}", str(path), "check the file name and permissions"
        ) from error
    return frame


def _states(cells: "pd.Series[str]", path: Path, fault: NDArray[np.object_]) -> pd.Series:
    """Return the label states of a column; an invalid cell becomes null, and its fault text is written into `fault`."""
    states = [STATES.get(str(text).strip()) for text in cells.cat.categories]
    state_codes = np.array([0 if state is None else state for state in states], np.int8)
    invalid = np.array([state is None for state in states], bool)
    codes = cells.cat.codes.to_numpy()
    null = invalid[codes]
    for row in np.flatnonzero(null):
        text = str(cells.cat.categories[codes[row]])
        fault[row] = fault[row] or fault_text(text, str(cells.name), "a label state", path, int(row))
    return pd.Series(states_array(state_codes[codes], null), index=cells.index)


def faults(
    is_invalid: "pd.Series[bool]", text: "pd.Series[str]", column: str, kind: str, path: Path
) -> "pd.Series[str]":
    """Return a fault text for each invalid cell of a column, "" for valid cells.

    The column must have all rows of the file, so that the texts can name lines.
    """
    texts = np.full(len(text), "", object)
    for row in np.flatnonzero(is_invalid):
        texts[row] = fault_text(str(text.iloc[row]), column, kind, path, int(row))
    return pd.Series(texts, index=text.index)


def first_fault(*faults: "pd.Series[str]") -> "pd.Series[str]":
    """Return the first non-empty fault text of each row, or ""."""
    combined, *others = faults
    for other in others:
        combined = combined.where(combined != "", other)
    return combined


def fault_text(text: str, column: str, kind: str, path: Path, row: int) -> str:
    """Return the fault text of a cell; it names the line in the file. Row 0 is the first row below the header."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{shown!r} in column {column!r} is not {kind} at {path.name}:{row + 2}"


def states_array(values: NDArray[np.int8], null: NDArray[np.bool_] | None = None) -> pd.arrays.IntegerArray:
    """Return a nullable Int8 array; `null` is the mask of nulls."""
    return pd.arrays.IntegerArray(values, np.zeros(len(values), bool) if null is None else null)


def cells(states: pd.Series) -> pd.Series:
    """Return states as label cells of the CheXpert labeler: 1.0, 0.0, -1.0, blank."""
    return states.map(_FLOAT_CELLS).astype(object)


def extract_groups(text: "pd.Series[str]", pattern: str) -> pd.DataFrame:
    """Return the first match of a pattern in each cell, one column per named group; null without a match.

    The pattern is for RE2 (only ASCII digits and letters), which is several times as fast as Python's `re`.
    """
    matches = pc.extract_regex(pa.array(text, pa.string()), pattern)
    names = [matches.type.field(field).name for field in range(matches.type.num_fields)]
    groups = {name: pc.struct_field(matches, field).to_numpy(zero_copy_only=False) for field, name in enumerate(names)}
    return pd.DataFrame({name: pd.Series(group, text.index, text.dtype) for name, group in groups.items()})


def recode(text: pd.Series, mapping: Mapping[str, str], default: str = "") -> pd.Series:
    """Return `mapping[text]` for each cell, or `default` if `mapping` does not have the text."""
    return text.map(dict(mapping)).astype(object).where(text.isin(list(mapping)), default).astype(str)


def numbers(text: pd.Series) -> pd.Series:
    """Return the column as float64, NaN for text that is not a number."""
    return pd.to_numeric(text, errors="coerce").astype("float64")
