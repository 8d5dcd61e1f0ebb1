"""Results of earlier scans of a cohort's images, by `bench check` and by decoding for runs.

This module opens no image. A result stays valid while the path, size and modification time of the file stay the same.
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
class Seen:
    """Which images of a table were scanned, in table order, and which of the scanned images are unreadable."""

    looked: NDArray[np.bool_]
    unreadable: NDArray[np.bool_]


def seen(root: Path, table: pd.DataFrame, checked: Path, decoded: Path) -> Seen:
    """Return the results of earlier scans for table[image_id, path] below root.

    `checked` is the folder that `scan` keeps its records in, `decoded` the folder of the root's image caches.
    """
    looked, unreadable = np.zeros(len(table), bool), np.zeros(len(table), bool)
    records = records_of(checked, root)
    indexes = sorted(decoded.glob(f"*-v{PIXELS_VERSION}/index.parquet"))
    if not records and not indexes:
        return Seen(looked, unreadable)
    states = file_states(root, table)
    for rows, bad in [*_checked(records, states), *_decoded(indexes, states)]:
        looked[rows] = True
        unreadable[rows] |= bad
    return Seen(looked, unreadable)


def _checked(records: list[Path], states: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield the rows that a scan has seen, and whether they could not be read then."""
    if not records:
        return
    columns = (states[name].tolist() for name in ("path", "size", "mtime_ns"))
    keys = [key_of(*file) for file in zip(*columns, strict=True)]
    for path in records:
        known = read_records(path)
        place = {record.tobytes(): number for number, record in enumerate(known["key"])}  # the latest look stands
        at = np.array([place.get(key, -1) for key in keys], np.int64)
        rows = np.flatnonzero(at >= 0)
        yield rows, known["reason"][at[rows]] != b""


def _decoded(indexes: list[Path], states: pd.DataFrame) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Yield the rows that a cache holds, and whether they could not be decoded."""
    files = pd.MultiIndex.from_frame(states[["path", "size", "mtime_ns"]])
    for path in indexes:
        index = pd.read_parquet(path, columns=["path", "size", "mtime_ns", "reason"])
        index = index.drop_duplicates(["path", "size", "mtime_ns"])
        at = pd.MultiIndex.from_frame(index[["path", "size", "mtime_ns"]]).get_indexer(files)
        rows = np.flatnonzero(at >= 0)
        yield rows, index["reason"].to_numpy(object)[at[rows]] != ""
