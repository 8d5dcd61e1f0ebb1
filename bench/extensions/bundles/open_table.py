"""Open a table of a bundle and check what its metadata states, before any value is read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import refused

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


def open_table(path: Path) -> Any:
    """Open a Parquet file and check its metadata; return a `pyarrow.parquet.ParquetFile`.

    Raises StoreError if a size is beyond the limits, if a type is not in KINDS, or if the file is compressed. Without
    these checks, reading a small file could need much memory, because a file becomes small by compression, or by
    storing one value for many rows.
    """
    try:
        stored = pq.ParquetFile(path)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise refused(f"{path.name} cannot be read: {error}") from error
    facts, types = stored.metadata, [field.type for field in stored.schema_arrow]
    if facts.num_rows > limits.MOST_ROWS or facts.num_columns > limits.MOST_COLUMNS:
        raise refused(f"{path.name} states {facts.num_rows:,} rows and {facts.num_columns:,} columns: too many")
    if facts.num_row_groups > limits.MOST_ROW_GROUPS:
        raise refused(f"{path.name} has more than {limits.MOST_ROW_GROUPS} row groups")
    if len(types) != facts.num_columns or not all(kind in KINDS.values() for kind in types):
        raise refused(f"{path.name} has columns of types that bundles do not use")
    rows = size = 0
    for index in range(facts.num_row_groups):
        group = facts.row_group(index)
        rows += group.num_rows
        chunks = [group.column(c) for c in range(group.num_columns)]
        if any(chunk.compression != "UNCOMPRESSED" for chunk in chunks):
            raise refused(f"{path.name} is compressed")
        size += sum(chunk.num_values * _bytes_of(kind) for chunk, kind in zip(chunks, types, strict=True))
    if rows != facts.num_rows:
        raise refused(f"{path.name} states {facts.num_rows:,} rows and has {rows:,}")
    if size > limits.MOST_TABLE_BYTES:
        raise refused(f"{path.name} states {size:,} bytes: more than {limits.MOST_TABLE_BYTES:,}")
    return stored


def _bytes_of(kind: pa.DataType) -> int:
    """Return the bytes that one value takes in memory.

    A text takes 4 bytes, the size of its index in the list of different texts. In a list, each number takes 8 bytes.
    """
    if pa.types.is_string(kind):
        return 4
    return 8 if pa.types.is_list(kind) else -(-int(kind.bit_width) // 8)
