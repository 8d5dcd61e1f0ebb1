"""Read images that are cells of Parquet files. The path of such an image is FILE/COLUMN/ROW, such as train-0.parquet/image/12."""

import re
import threading
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harmonize.images.image_header import ImageFile, UnreadableImage

_CELL = re.compile(r"(.+\.(?:parquet|pq))/([^/]+)/(\d+)")


def file_of(path: str) -> str:
    """Return the Parquet file of an image that is a cell; return another path unchanged.

    >>> file_of("data/a.parquet/image/12"), file_of("images/a.png")
    ('data/a.parquet', 'images/a.png')
    """
    cell = _CELL.fullmatch(path)
    return cell[1] if cell else path


def file_bytes(image: ImageFile) -> bytes:
    """Return the bytes of an image, which is a file or a cell of a Parquet file.

    Raises OSError for a file that cannot be read, and UnreadableImage for a cell without bytes.
    """
    cell = _CELL.fullmatch(str(image)) if isinstance(image, Path) else None
    if cell is None:
        return image.read_bytes()
    path, column, row = Path(cell[1]), cell[2], int(cell[3])
    where = f"row {row} of {path.name}"
    try:
        first, group = next(
            (start, i) for i, start, end in _groups(path, path.stat().st_mtime_ns) if start <= row < end
        )
        content = _cells(path, path.stat().st_mtime_ns, column, group)[row - first].as_py()
    except (StopIteration, KeyError) as error:
        raise UnreadableImage(f"{where}: no such row or column") from error
    except pa.ArrowException as error:
        raise UnreadableImage(f"{where}: {error}") from error
    if content is None:
        raise UnreadableImage(f"{where} has no bytes in column {column}")
    return bytes(content)


def has_bytes(kind: pa.DataType) -> bool:
    """Return whether a column of this type has bytes: binary, or a struct with binary `bytes` (as on the Hugging Face hub)."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and has_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@lru_cache(maxsize=64)
def _groups(path: Path, _changed: int) -> list[tuple[int, int, int]]:
    """Return the index, first row and end of each row group. `_changed`: time of the last change of the file."""
    stated = pq.read_metadata(path)
    ends = [0, *accumulate(stated.row_group(i).num_rows for i in range(stated.num_row_groups))]
    return [(i, start, end) for i, (start, end) in enumerate(pairwise(ends))]


class _Last(threading.local):
    """The cells that a thread has read last: images are read in the order of their rows, by several threads at a time."""

    key: tuple[object, ...] = ()
    cells: pa.ChunkedArray


_last = _Last()


def _cells(path: Path, changed: int, column: str, group: int) -> pa.ChunkedArray:
    """Return the cells of a column in one row group, as bytes. Raises KeyError for a missing column."""
    if _last.key != (path, changed, column, group):
        with pq.ParquetFile(path) as file:
            content = file.read_row_group(group, columns=[column]).column(column)
        if pa.types.is_struct(content.type):
            content = pa.chunked_array([chunk.field("bytes") for chunk in content.chunks])
        _last.key, _last.cells = (path, changed, column, group), content
    return _last.cells
