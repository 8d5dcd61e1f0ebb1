"""Read published CSV files. Text stays text, label cells become states, and errors name file, column and line.

A fault is a text that states why a cell or a row cannot be used.
"""

import gzip
import lzma
import zipfile
import zlib
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harmonize.datasets import FAULT, UNKNOWN
from harmonize.datasets.csvrows import as_csv, check_unpacked_size, column_names, count_regular_rows, open_bytes, rows
from harmonize.datasets.ids import occurs_in
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
SEXES = {"F": "F", "M": "M"}
MAX_AGE_YEARS = 120  # higher ages are not credible: the NIH table of 2017 has ages such as 414
_SHOWN = 60  # maximum number of characters of a cell in a message
_FLOAT_CELLS = {1: "1.0", 0: "0.0", -1: "-1.0", -2: ""}


def find(root: Path, *names: str) -> Path | None:
    """Return the path of the first name that exists below root (also with .gz), or None; a name may be a glob pattern."""
    for name in names:
        for variant in (name, f"{name}.gz"):
            matches = [path for path in sorted(root.glob(variant)) if path.is_file()]
            if matches:
                return matches[-1]  # the names are sorted, so the last file is the newest release
    return None


def require_folder(root: Path, layout: str = "") -> None:
    """Raise DatasetError if the root of a dataset is missing. `layout`: the name of a published layout."""
    if not root.is_dir():
        similar = DatasetError.hint(root.name, [folder.name for folder in root.parent.glob("*/")])
        parent = f", or use --data with the parent of {layout}/" if layout else ""
        raise DatasetError("no such folder", str(root), f"{similar}correct `root:`{parent}")


def require(root: Path, layout: str, *names: str) -> Path:
    """Return the path of the first name that exists below root; raise DatasetError if the root or all files are missing."""
    require_folder(root, layout)
    path = find(root, *names)
    if path is None:
        fix = f"put the published file (.csv or .csv.gz) there; `bench data get {layout} .` prints where to get it"
        raise DatasetError(f"no {' or '.join(names)}", str(root), fix)
    return path


def header(path: Path) -> list[str]:
    """Return the column names of a CSV file, "" for a column without a name.

    Raises DatasetError if the file is unreadable or empty, or if it unpacks to more than `csvrows.MAX_UNPACKED_BYTES`.
    """
    with _readable(path):
        check_unpacked_size(path)
        names = column_names(path)
    if not names:
        raise DatasetError("not a readable CSV file: it is empty", str(path), "download the file again")
    return names


def read_text(
    path: Path,
    columns: Sequence[str],
    labels: Sequence[str] = (),
    optional: Sequence[str] = (),
    may_be_empty: bool = False,
) -> pd.DataFrame:
    """Return columns of a CSV file: `columns` and `optional` as unchanged text, then `labels` as Int8 states.

    A blank cell is "". The index has the line of each row in the file. Missing `optional` columns are skipped. An
    invalid label cell becomes null. The last column, FAULT, is "" for a row without a fault. For any other row, the
    column states the invalid label cell and its line, or why the row cannot be used (see `csvrows`). All labels of a
    row that cannot be used are null.
    Raises DatasetError for a column that is missing or occurs twice, and for an empty or truncated file.
    """
    present = header(path)
    for column in (*columns, *labels):
        if column not in present:
            hint = DatasetError.suggestion(column, present, f"the file has: {', '.join(present[:30])}")
            raise DatasetError(f"no column {column!r}", str(path), f"use the file as published; {hint}")
    text_columns = [*columns, *(column for column in optional if column in present)]
    names = [*text_columns, *labels]
    for column in names:
        if present.count(column) > 1:
            fix = "remove the wrong column, or give it another name"
            raise DatasetError(f"{present.count(column)} columns have the name {column!r}", str(path), fix)
    dtype: dict[str, str] = dict.fromkeys(text_columns, "str") | dict.fromkeys(labels, "category")
    with _readable(path):
        lines, row_faults = _lines_and_faults(path)
        options = {"usecols": names, "dtype": dtype, "index_col": False, "keep_default_na": False}
        frame = None if row_faults else _read_csv(path, options)
        if frame is None or len(frame) != len(lines):
            frame = _read_csv(as_csv(path), options)
    if frame.empty and not may_be_empty:
        raise DatasetError("the table has no rows", str(path), "download the file again: it has only a header")
    frame = frame[names].set_axis(pd.Index(lines, dtype="int64"))
    fault = np.full(len(frame), "", object)
    bad_rows = list(row_faults)
    usable = pd.Series(True, frame.index)
    usable.iloc[bad_rows] = False
    states = {column: _states(frame[column], path, fault).where(usable) for column in labels}
    fault[bad_rows] = list(row_faults.values())
    return frame.assign(**states, **{FAULT: fault})


def _lines_and_faults(path: Path) -> tuple[NDArray[np.int64], dict[int, str]]:
    """Return the line of each row in the file, and {row: fault} of the rows that cannot be used."""
    number = count_regular_rows(path)
    if number is not None:
        return np.arange(2, number + 2), {}
    lines, row_faults = array("q"), {}
    for row in rows(path):
        if row.fault:
            row_faults[len(lines)] = row.fault
        lines.append(row.line)
    return np.array(lines, np.int64), row_faults


def _read_csv(source: Path | StringIO, options: Mapping[str, object]) -> pd.DataFrame:
    with open_bytes(source) if isinstance(source, Path) else source as file:
        frame: pd.DataFrame = pd.read_csv(file, encoding="utf-8-sig", **options)  # type: ignore[call-overload]
    return frame


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise DatasetError instead of the errors of a file that cannot be read."""
    try:
        yield
    except UnicodeDecodeError as error:
        with open_bytes(path) as file:
            raise DatasetError.not_utf8(path, file) from error
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        zipfile.BadZipFile,
    ) as error:
        raise DatasetError(f"not a readable CSV file: {error}", str(path), "download the file again") from error
    except OSError as error:
        fix = "check the file name and permissions"
        raise DatasetError(f"cannot read the file: {error}", str(path), fix) from error


def _states(cells: "pd.Series[str]", path: Path, fault: NDArray[np.object_]) -> pd.Series:
    """Return the label states of a column; an invalid cell becomes null, and its fault text is written into `fault`."""
    states = [STATES.get(str(text).strip()) for text in cells.cat.categories]
    state_codes = np.array([0 if state is None else state for state in states], np.int8)
    invalid = np.array([state is None for state in states], bool)
    codes = cells.cat.codes.to_numpy()
    null = invalid[codes]
    for row in np.flatnonzero(null):
        text = str(cells.cat.categories[codes[row]])
        fault[row] = fault[row] or fault_text(text, str(cells.name), "a label state", path, int(cells.index[int(row)]))
    return pd.Series(states_array(state_codes[codes], null), index=cells.index)


def require_whole(rows: pd.DataFrame, path: Path) -> None:
    """Raise DatasetError if a row has a fault.

    Use this function for files whose rows are not images. Faults of such rows cannot go into the quarantine, which
    lists only images.
    """
    fault = rows.loc[rows[FAULT] != "", FAULT]
    if len(fault):
        what = f"{len(fault):,} of {len(rows):,} rows cannot be used: {summary(fault)}"
        raise DatasetError(what, str(path), "use the file as published, or correct these rows")


def unmatched_faults(rows: pd.DataFrame, column: str, ids: "pd.Series[str]") -> list[str]:
    """Return the faults of rows whose id, in `column`, does not occur in `ids`."""
    fault = rows.loc[rows[FAULT] != ""]
    return [str(text) for text in fault.loc[~occurs_in(fault[column], ids), FAULT]] if len(fault) else []


def summary(faults: "pd.Series[str]", most: int = 3) -> str:
    """Return the most frequent kinds of faults, each with its first locations and its number of rows.

    >>> summary(pd.Series(["2 cells at a.csv:4", "no patient_id", "2 cells at a.csv:9"]))
    '2 cells at a.csv:4, a.csv:9 (2); no patient_id (1)'
    """
    parts = faults.str.partition(" at ")
    texts = []
    for kind, number in parts[0].value_counts().head(most).items():
        places = [place for place in parts.loc[parts[0] == kind, 2].head(most) if place]
        more = ", …" if places and number > most else ""
        texts.append(f"{kind}{' at ' if places else ''}{', '.join(places)}{more} ({number:,})")
    return "; ".join(texts)


def faults(
    is_invalid: "pd.Series[bool]", text: "pd.Series[str]", column: str, kind: str, path: Path
) -> "pd.Series[str]":
    """Return a fault text for each invalid cell of a column, "" for valid cells.

    `text` has the cells, and its index must have the line of each cell in the file, because a fault text names the line.
    `kind` says what a valid cell is, such as "a label state".
    """
    texts = np.full(len(text), "", object)
    for row in np.flatnonzero(is_invalid):
        texts[row] = fault_text(str(text.iloc[row]), column, kind, path, int(text.index[int(row)]))
    return pd.Series(texts, index=text.index)


def first_fault(*faults: "pd.Series[str]") -> "pd.Series[str]":
    """Return the first non-empty fault text of each row, or ""."""
    combined, *others = faults
    for other in others:
        combined = combined.where(combined != "", other)
    return combined


def fault_text(text: str, column: str, kind: str, path: Path, line: int) -> str:
    """Return the fault text of a cell: its text, column, file and line; `kind` says what a valid cell is."""
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return f"{shown!r} in column {column!r} is not {kind} at {path.name}:{line}"


def states_array(values: NDArray[np.int8], null: NDArray[np.bool_] | None = None) -> pd.arrays.IntegerArray:
    """Return a nullable Int8 array; `null` is the mask of nulls."""
    return pd.arrays.IntegerArray(values, np.zeros(len(values), bool) if null is None else null)


def cells(states: pd.Series) -> pd.Series:
    """Return states as label cells of the CheXpert labeler: 1.0, 0.0, -1.0, blank."""
    return states.map(_FLOAT_CELLS).astype(object)


def extract_groups(text: "pd.Series[str]", pattern: str) -> pd.DataFrame:
    """Return one column for each named group of a pattern: the text of the group in each cell, or null without a match.

    If a cell has several matches, the first is used. The pattern is for RE2, which is several times as fast as Python's
    `re`, and whose character classes for digits and letters have only ASCII characters.
    """
    matches = pc.extract_regex(pa.array(text, pa.string()), pattern)
    names = [matches.type.field(field).name for field in range(matches.type.num_fields)]
    groups = {name: pc.struct_field(matches, field).to_numpy(zero_copy_only=False) for field, name in enumerate(names)}
    return pd.DataFrame({name: pd.Series(group, text.index, text.dtype) for name, group in groups.items()})


def recode(text: pd.Series, mapping: Mapping[str, str], default: str = "") -> pd.Series:
    """Return `mapping[text]` for each cell, or `default` if `mapping` does not have the text."""
    return text.map(dict(mapping)).astype(object).where(text.isin(list(mapping)), default).astype(str)


def unknown_words(text: "pd.Series[str]", known: Collection[str], what: str) -> dict[str, "pd.Series[str]"]:
    """Return the optional column of the words of a row that are neither blank nor in `known`; {} if there are none.

    `what`: content of the words, "view", "sex", "age" or "split".
    """
    words = text.where(~text.isin(list(known)) & (text.str.strip() != ""), "")
    return {UNKNOWN + what: words} if (words != "").any() else {}


def person(
    sex: "pd.Series[str]", age: "pd.Series[str]", words: Mapping[str, str] = SEXES, unstated: Collection[str] = ()
) -> dict[str, "pd.Series[Any]"]:
    """Return the columns sex and age (the number in a cell), and the optional columns of their words that are not known.

    `words`: words of the file -> F or M. `unstated`: words that mean that sex or age is not stated.
    """
    sexes, ages = sex.str.strip(), age.str.strip()
    number = numbers(ages)
    unknown = unknown_words(sexes, (*words, *unstated), "sex") | unknown_words(
        ages.where(number.isna(), ""), unstated, "age"
    )
    return {"sex": recode(sexes, words), "age": number, **unknown}


def numbers(text: pd.Series) -> pd.Series:
    """Return the column as float64, NaN for text that is not a number."""
    return pd.to_numeric(text, errors="coerce").astype("float64")
