"""Read the tables of an untrusted bundle in a child process first. A malicious Parquet file can crash its reader."""

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


def check_readable(folder: Path, where: str) -> None:
    """Raise StoreError if reading the tables below a folder crashes the child process that reads them."""
    if not survives(read_all, folder):
        raise refused("one of its tables crashes the program that reads it", where)


def survives(work: Callable[[T], object], argument: T) -> bool:
    """Return whether a child process survives the call of `work(argument)`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            pool.submit(work, argument).result()
        except BrokenProcessPool:
            return False
    return True


def read_all(folder: Path) -> None:
    """Read every table below a folder. Ordinary errors are ignored here; the caller finds them later."""
    for path in sorted(folder.rglob("*.parquet")):
        with contextlib.suppress(Exception):
            texts = [field.name for field in open_table(path, "").schema_arrow if pa.types.is_string(field.type)]
            pq.read_table(path, use_threads=False, read_dictionary=texts)
