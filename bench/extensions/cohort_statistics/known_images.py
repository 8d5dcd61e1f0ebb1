"""Read the results of earlier scans of a cohort's images: from `bench check` and from image caches.

No image is opened. A result is valid until the path, size or modification time of the file changes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harmonize.cache.cache import file_states
from harmonize.checks.scan import key_of, read_records, records_of
from harmonize.images.pixels import PIXELS_VERSION


@dataclass(frozen=True, eq=False)
class EarlierScans:
    """The results of earlier scans as two masks over the rows of the cohort's table.

    scanned     images with a result of an earlier scan
    unreadable  images that an earlier scan could not read
    """

    scanned: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]


def earlier_scans(root: Path, table: pd.DataFrame, checked: Path, decoded: Path) -> EarlierScans:
    """Return the results of earlier scans for the images of a table, whose column `path` is relative to root.

    `checked` is the folder in which `harmonize.checks.scan` stores its records; `decoded` is the folder with the image
    caches of the files below root.
    """
    scanned, unreadable = np.zeros(len(table), bool), np.zeros(len(table), bool)
    records = records_of(checked, root)
    indexes = sorted(decoded.glob(f"*-v{PIXELS_VERSION}/index.parquet"))
    if not records and not indexes:
        return EarlierScans(scanned, unreadable)
    states = file_states(root, table)
    for rows, is_unreadable in [*_checked(records, states), *_decoded(indexes, states)]:
        scanned[rows] = True
        unreadable[rows] |= is_unreadable
    return EarlierScans(scanned, unreadable)


def _checked(records: list[Path], states: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield two arrays for each record file: the rows of `states` that have a record, and whether their images are unreadable.

    `states` has the columns path, size and mtime_ns of the image files.
    """
    if not records:
        return
    columns = (states[name].tolist() for name in ("path", "size", "mtime_ns"))
    keys = [key_of(*file) for file in zip(*columns, strict=True)]
    for path in records:
        stored = read_records(path)
        # of several records with the same key, the last is used
        position = {record.tobytes(): index for index, record in enumerate(stored["key"])}
        positions = np.array([position.get(key, -1) for key in keys], np.int64)
        rows = np.flatnonzero(positions >= 0)
        yield rows, stored["reason"][positions[rows]] != b""


def _decoded(indexes: list[Path], states: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield the same as `_checked` for each index file of an image cache."""
    files = pd.MultiIndex.from_frame(states[["path", "size", "mtime_ns"]])
    for path in indexes:
        index = pd.read_parquet(path, columns=["path", "size", "mtime_ns", "reason"])
        index = index.drop_duplicates(["path", "size", "mtime_ns"])
        positions = pd.MultiIndex.from_frame(index[["path", "size", "mtime_ns"]]).get_indexer(files)
        rows = np.flatnonzero(positions >= 0)
        yield rows, index["reason"].to_numpy(object)[positions[rows]] != ""
