"""Read the tables of an untrusted bundle in a child process first, because a malicious Parquet file can crash the process that reads it."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from bench.sharing.bundle import limits
from bench.sharing.bundle.archive import refused
from bench.sharing.bundle.tables import open_table

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")


def check_readable(folder: Path, where: str) -> None:
    """Raise StoreError if reading the tables below a folder crashes the child process that reads them.

    Also raises StoreError if the child process needs too much memory: a Parquet file may hold more values than it
    states.
    """
    if not survives(read_all, folder):
        raise refused("one of its tables crashes the program that reads it, or needs too much memory", where)


def survives(work: Callable[[T], object], argument: T) -> bool:
    """Return whether a child process with limited memory survives the call of `work(argument)`."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), limit_memory) as pool:
        try:
            pool.submit(work, argument).result()
        except (BrokenProcessPool, MemoryError):
            return False
    return True


def limit_memory() -> None:
    """Limit the memory that this process can still allocate to MOST_READER_BYTES, on systems that support such limits."""
    if resource is not None:
        most = psutil.Process().memory_info().vms + limits.MOST_READER_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def read_all(folder: Path) -> None:
    """Read every table below a folder. Raises MemoryError. All other errors are ignored here, because later checks find their causes."""
    for path in sorted(folder.rglob("*.parquet")):
        try:
            texts = [field.name for field in open_table(path, "").schema_arrow if pa.types.is_string(field.type)]
            pq.read_table(path, use_threads=False, read_dictionary=texts)
        except Exception as error:  # any error of a damaged file
            if isinstance(error, MemoryError):
                raise
