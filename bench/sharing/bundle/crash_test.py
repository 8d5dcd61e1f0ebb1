"""A first look at a stranger's tables by a process of its own: a reader of Parquet that is led astray may end the process it is in."""

import contextlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from bench.sharing.bundle.archive import refused
from bench.sharing.bundle.tables import open_table

T = TypeVar("T")


def look(folder: Path, where: str) -> None:
    """Raise StoreError when reading the tables below a folder ends the process that reads them."""
    if not survives(read_all, folder):
        raise refused("one of its tables ends the program that reads it", where)


def survives(work: Callable[[T], object], argument: T) -> bool:
    """Return whether a process that does some work is alive afterwards."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(work, argument).result()
        except BrokenProcessPool:
            return False
    return True


def read_all(folder: Path) -> None:
    """Read every table below a folder; what is merely wrong with them is for the caller to find."""
    for path in sorted(folder.rglob("*.parquet")):
        with contextlib.suppress(Exception):
            texts = [each.name for each in open_table(path, "").schema_arrow if pa.types.is_string(each.type)]
            pq.read_table(path, use_threads=False, read_dictionary=texts)
