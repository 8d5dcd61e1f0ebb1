"""Write and read the tables of a bundle.

A table is an uncompressed Parquet file. Each column has a kind, which `KINDS` maps to an Arrow type. The reader checks
everything, because a bundle is untrusted input.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import refused
from bench.extensions.bundles.open_table import KINDS, open_table
from harmonize.disk_space import writing

_NOT_NULL = ("text", "ordinal", "logit", "count", "yes", "numbers")  # kinds of columns in which every cell has a value


def write_columns(
    path: Path, frame: pd.DataFrame, kinds: Mapping[str, str], facts: Mapping[str, str] | None = None
) -> None:
    """Write columns of a data frame as Parquet. `kinds`: column to write -> its kind. `facts`: metadata of the file."""
    arrays = [pa.array(_for_arrow(frame[name], kind), KINDS[kind], from_pandas=True) for name, kind in kinds.items()]
    table = pa.table(dict(zip(kinds, arrays, strict=True)), metadata=dict(facts or {}) or None)
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [name for name, kind in kinds.items() if kind == "text"]
    with writing(path):
        pq.write_table(table, path, compression="none", use_dictionary=texts or False, write_statistics=False)


def _for_arrow(column: pd.Series, kind: str) -> Any:
    """Return a column in a form that Arrow can convert. Null texts become ""."""
    if kind == "text":
        return column.fillna("").astype(str).to_list()
    return column.to_numpy(object) if kind == "numbers" else column


def kinds_of(frame: pd.DataFrame) -> dict[str, str]:
    """Return {column: kind} for a table of scores, derived from the types of its columns."""
    return {str(name): _kind(frame[name]) for name in frame.columns}


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "yes"
    if pd.api.types.is_integer_dtype(column):
        return "count"
    if pd.api.types.is_float_dtype(column):
        return "number"
    return "numbers" if len(column) and isinstance(column.iloc[0], (list, np.ndarray)) else "text"


def facts_in(path: Path) -> dict[str, str]:
    """Return the metadata (`facts`) of a table that `write_columns` wrote. Raises StoreError, see `open_table`."""
    return {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (open_table(path).schema_arrow.metadata or {}).items()
        if key != b"ARROW:schema"
    }


def read_columns(path: Path, kinds: Mapping[str, str], rows: int | None = None) -> pd.DataFrame:
    """Read a table that must have exactly the columns of `kinds` ({column: kind}), in this order.

    `rows`: the number of rows that the table must have; None allows any number. Raises StoreError for other columns, kinds or
    numbers of rows, for nulls in a column of _NOT_NULL, for texts beyond the limits, and for files that `open_table` refuses.
    Rows are checked before any value is read.
    """
    name = path.relative_to(path.parents[1]).as_posix()
    stored = open_table(path)
    schema = stored.schema_arrow
    if schema.names != list(kinds) or any(schema.field(n).type != KINDS[kinds[n]] for n in kinds):
        raise refused(f"{name} has missing or unknown columns, or columns of wrong types")
    if rows is not None and stored.metadata.num_rows != rows:
        raise refused(f"{name} has {stored.metadata.num_rows:,} rows instead of {rows:,}")
    try:
        texts = [n for n, kind in kinds.items() if kind == "text"]
        table = pq.read_table(path, read_dictionary=texts, memory_map=False, use_threads=False)
        if sum(table.column(n).nbytes for n in kinds if n not in texts) > limits.MOST_TABLE_BYTES:
            raise refused(f"{name} has more values than it states")
        return pd.DataFrame({n: _column(table.column(n), kinds[n], f"{name}: {n}") for n in kinds})
    except (OSError, ValueError, OverflowError, pa.ArrowException, MemoryError) as error:
        raise refused(f"{name} cannot be read: {error}") from error


def _column(column: pa.ChunkedArray, kind: str, name: str) -> Any:
    """Check the nulls and texts of an Arrow column, then return the column as a NumPy array or as a pandas array or series.

    Each chunk of a column of texts has a dictionary of its different texts, so equal texts take memory once. `name`: table
    and column, for error messages.
    """
    if kind in _NOT_NULL and column.null_count:
        raise refused(f"{name} has empty cells")
    if kind == "text":
        if any((pc.max(pc.utf8_length(chunk.dictionary)).as_py() or 0) > limits.MOST_TEXT for chunk in column.chunks):
            raise refused(f"{name} has a text of more than {limits.MOST_TEXT} characters")
        texts = [np.array(chunk.dictionary.to_pylist(), object)[chunk.indices.to_numpy()] for chunk in column.chunks]
        return np.concatenate(texts) if texts else np.empty(0, object)
    if kind == "state":
        return pd.array(column.to_numpy(), dtype="Int8") if not column.null_count else column.to_pandas().astype("Int8")
    if kind == "numbers":
        return pd.Series([cell for chunk in column.chunks for cell in _lists(chunk)], dtype=object)
    return column.to_numpy()


def _lists(chunk: pa.ListArray) -> list[NDArray[np.float64]]:
    """Return the lists of a chunk, one array of numbers per row."""
    values, ends = chunk.flatten().to_numpy(zero_copy_only=False), chunk.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise((ends - ends[:1]).tolist())]
