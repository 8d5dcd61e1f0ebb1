"""Read a table that a user gives, such as predictions, labels or a list of images, with bounded memory."""

import csv
import lzma
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harmonize.datasets.csvrows import (
    check_columns,
    check_unpacked_size,
    column_names,
    count_regular_rows,
    open_bytes,
    rows,
)
from harmonize.datasets.ids import refuse_rounded_columns
from harmonize.errors import DatasetError

# maximum number of rows times columns of a Parquet table: 2 GB as numbers. The largest cohort, 900,000 images, may have 290
# columns. The limit is necessary because a Parquet file of 1 kB can state a billion equal rows
MAX_PARQUET_CELLS = 2**28


def is_parquet(path: Path) -> bool:
    """Return whether the name of a file ends in .parquet or .pq."""
    return path.suffix.lower() in (".parquet", ".pq")


def read_user_table(path: Path, columns: Sequence[str] | None = None, /, **options: Any) -> pd.DataFrame:
    """Return a Parquet table, or a CSV table, which may be compressed (.gz, .bz2, .xz, .zip, .zst).

    A byte order mark is removed. `columns`: the columns of a Parquet table that are read, None for all. `options`: arguments of
    `pandas.read_csv`. Raises DatasetError for a table above
    `csvrows.MAX_UNPACKED_BYTES`, `csvrows.MAX_COLUMNS` or MAX_PARQUET_CELLS, before the table is read. Raises DatasetError for a CSV table with
    a row whose cells cannot be assigned to columns (see `csvrows`), with two columns of one name, or with another
    separator than commas; for a CSV table that is not UTF-8 text; and for ids in scientific notation (see `ids`).
    Raises OSError or ValueError for a file that cannot be read.
    """
    try:
        table = _read_parquet(path, columns) if is_parquet(path) else _read_csv(path, options)
    except UnicodeDecodeError as error:
        with open_bytes(path) as file:
            raise DatasetError.not_utf8(path, file) from error
    except (csv.Error, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise ValueError(str(error) or type(error).__name__) from error
    refuse_rounded_columns(table, path)
    return table


def _read_csv(path: Path, options: dict[str, Any]) -> pd.DataFrame:
    check_unpacked_size(path)
    _check_rows(path)
    with open_bytes(path) as file:
        table: pd.DataFrame = pd.read_csv(file, index_col=False, encoding="utf-8-sig", **options)
    return table


def _check_rows(path: Path) -> None:
    """Raise DatasetError for an empty file, a row whose cells cannot be assigned to columns, and a name of two columns.

    pandas does not report these faults: it fills missing cells with blanks, and gives the second column another name.
    """
    if not (names := column_names(path)):
        raise DatasetError("the file is empty", str(path), "give a table with a header and one row for each image")
    numbers = Counter(name.strip() for name in names)
    if repeated := [name for name, number in numbers.items() if name and number > 1]:
        fix = "remove the wrong column, or give it another name"
        raise DatasetError(f"the column {repeated[0]!r} occurs twice", str(path), fix)
    if count_regular_rows(path) is None:
        for row in rows(path):
            if row.fault:
                what, _, _ = row.fault.rpartition(" at ")
                raise DatasetError(what, f"{path}:{row.line}", "give each row one cell for each column")


def _read_parquet(path: Path, columns: Sequence[str] | None) -> pd.DataFrame:
    with open_bytes(path) as file:
        stated = pq.read_metadata(file)
    check_columns(stated.num_columns, path)
    num_columns = stated.num_columns if columns is None else len(columns)
    if stated.num_rows * num_columns > MAX_PARQUET_CELLS:
        what = f"the table has more than {MAX_PARQUET_CELLS:,} cells: {stated.num_rows:,} rows, {num_columns} columns"
        raise DatasetError(what, str(path), "write only the columns and rows that are needed")
    return pd.read_parquet(path, columns=None if columns is None else list(columns))
