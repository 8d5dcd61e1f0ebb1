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
    if facts.num_row_groups > limits.MOST_ROW_GROUPS or facts.num_columns > limits.MOST_COLUMNS:
        raise refused(
            f"{path.name} has {facts.num_row_groups:,} row groups and {facts.num_columns:,} columns: too many"
        )
    if len(types) != facts.num_columns or not all(kind in KINDS.values() for kind in types):
        raise refused(f"{path.name} has columns of types that bundles do not use")
    groups = [facts.row_group(index) for index in range(facts.num_row_groups)]
    chunks = [group.column(c) for group in groups for c in range(group.num_columns)]
    if any(chunk.compression != "UNCOMPRESSED" for chunk in chunks):
        raise refused(f"{path.name} is compressed")
    if sum(group.num_rows for group in groups) != facts.num_rows or facts.num_rows > limits.MOST_ROWS:
        raise refused(f"{path.name} states {facts.num_rows:,} rows: too many, or not those that it has")
    size = 8 * sum(chunk.num_values for chunk in chunks)
    if size > limits.MOST_TABLE_BYTES:
        raise refused(f"{path.name} states {size:,} bytes: more than {limits.MOST_TABLE_BYTES:,}")
    return stored
