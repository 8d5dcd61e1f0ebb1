"""The tables of a bundle: columns of a few kinds, uncompressed. They are read as untrusted input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bench.sharing.bundle.archive import refused

MOST_ROWS = 5_000_000
MOST_CELLS = 200_000_000
MOST_COLUMNS = 500
MOST_TEXT = 400  # maximum characters of a text; the longest texts contain the points of a curve
KINDS = {  # kind of a column -> Arrow type
    "text": pa.string(),
    "ordinal": pa.int32(),
    "state": pa.int8(),
    "logit": pa.float32(),
    "number": pa.float64(),
    "count": pa.int64(),
    "yes": pa.bool_(),
    "numbers": pa.list_(pa.float64()),
}
_NOT_NULL = ("text", "ordinal", "logit", "count", "yes", "numbers")


def write_columns(
    path: Path, frame: pd.DataFrame, kinds: Mapping[str, str], facts: Mapping[str, str] | None = None
) -> None:
    """Write the columns in `kinds` ({column: kind}) as Parquet, with facts as metadata."""
    arrays = [pa.array(_for_arrow(frame[name], kind), KINDS[kind], from_pandas=True) for name, kind in kinds.items()]
    table = pa.table(dict(zip(kinds, arrays, strict=True)), metadata=dict(facts or {}) or None)
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [name for name, kind in kinds.items() if kind == "text"]
    pq.write_table(table, path, compression="none", use_dictionary=texts or False, write_statistics=False)


def _for_arrow(column: pd.Series, kind: str) -> Any:
    """Return a column in a form that Arrow can convert. Null texts become ""."""
    return (
        column.fillna("").astype(str).to_list()
        if kind == "text"
        else column.to_numpy(object)
        if kind == "numbers"
        else column
    )


def kinds_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return {column: kind} of a table of scores."""
    return {str(name): _kind(frame[name]) for name in frame.columns}


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "yes"
    if pd.api.types.is_integer_dtype(column):
        return "count"
    if pd.api.types.is_float_dtype(column):
        return "number"
    return "numbers" if len(column) and isinstance(column.iloc[0], (list, np.ndarray)) else "text"


def facts_in(path: Path, where: str) -> dict[str, str]:
    """Return the metadata of a table that `write_columns` wrote."""
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (open_table(path, where).schema_arrow.metadata or {}).items()
        if key != b"ARROW:schema"
    }


def read_columns(path: Path, kinds: Mapping[str, str], where: str) -> pd.DataFrame:
    """Read the columns in `kinds`, in the order of `kinds`. The table must have exactly these columns.

    Raises StoreError for another column, kind or null, for long texts, and for unreadable files. Compression (a small
    file could expand), and more than MOST_ROWS rows or MOST_CELLS cells, are errors, too.
    """
    name = path.relative_to(path.parents[1]).as_posix()
    stored = open_table(path, where)
    schema = stored.schema_arrow
    if schema.names != list(kinds) or any(schema.field(n).type != KINDS[kinds[n]] for n in kinds):
        raise refused(f"{name} has missing or other columns, or wrong types", where)
    try:
        texts = [n for n, kind in kinds.items() if kind == "text"]
        table = pq.read_table(path, read_dictionary=texts, memory_map=False, use_threads=False)
        return pd.DataFrame({n: _column(table.column(n), kinds[n], f"{name}: {n}", where) for n in kinds})
    except (OSError, ValueError, OverflowError, pa.ArrowException, MemoryError) as error:
        raise refused(f"{name} cannot be read: {error}", where) from error


def open_table(path: Path, where: str) -> Any:
    """Open a Parquet file after checking its metadata: stated sizes within the limits, and no compression."""
    try:
        stored = pq.ParquetFile(path)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise refused(f"{path.name} cannot be read: {error}", where) from error
    facts = stored.metadata
    if (
        facts.num_rows > MOST_ROWS
        or facts.num_columns > MOST_COLUMNS
        or facts.num_rows * facts.num_columns > MOST_CELLS
    ):
        raise refused(f"{path.name} states {facts.num_rows:,} rows and {facts.num_columns:,} columns: too many", where)
    rows = 0
    for index in range(facts.num_row_groups):
        group = facts.row_group(index)
        rows += group.num_rows
        chunks = [group.column(c) for c in range(group.num_columns)]
        if any(chunk.compression != "UNCOMPRESSED" for chunk in chunks):
            raise refused(f"{path.name} is compressed", where)
        if any(chunk.num_values > MOST_CELLS for chunk in chunks):
            raise refused(f"{path.name} states more than {MOST_CELLS:,} values", where)
    if rows != facts.num_rows:
        raise refused(f"{path.name} states {facts.num_rows:,} rows and has {rows:,}", where)
    return stored


def _column(column: pa.ChunkedArray, kind: str, name: str, where: str) -> Any:
    """Return an Arrow column as a pandas or NumPy column, after checking nulls and lengths of texts."""
    if kind in _NOT_NULL and column.null_count:
        raise refused(f"{name} has empty cells", where)
    if kind == "text":
        texts = [text for chunk in column.chunks for text in _texts(chunk)]
        if any(len(text) > MOST_TEXT for text in texts):
            raise refused(f"{name} has a text of more than {MOST_TEXT} characters", where)
        return column.cast(pa.string()).to_numpy().astype(object)
    if kind == "state":
        return pd.array(column.to_numpy(), dtype="Int8") if not column.null_count else column.to_pandas().astype("Int8")
    if kind == "numbers":
        return pd.Series([np.asarray(cell, np.float64) for cell in column.to_pylist()], dtype=object)
    return column.to_numpy()


def _texts(chunk: Any) -> Sequence[str]:
    texts: Sequence[str] = chunk.dictionary.to_pylist() if isinstance(chunk, pa.DictionaryArray) else chunk.to_pylist()
    return texts
