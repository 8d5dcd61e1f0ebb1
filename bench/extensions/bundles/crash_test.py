"""Read the tables of an untrusted bundle in a child process first.

A malicious Parquet file can crash the process that reads the file. In this module, only the child process crashes. One child
process reads all bundles that this process opens, because its start takes longer than reading; after a crash there is a new one.
"""

import atexit
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TypeVar

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from bench.extensions.bundles import limits
from bench.extensions.bundles.archive import refused
from bench.extensions.bundles.open_table import open_table
from harmonize.child_processes import ProcessPool
from harmonize.errors import SetupError

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

T = TypeVar("T")
_lock = Lock()  # the child process reads one bundle at a time, so that a crash concerns only this bundle


def check_readable(folder: Path, where: str) -> None:
    """Read the tables below a folder in a child process; raise StoreError if the child crashes or needs too much memory.

    The memory is limited, because a Parquet file may have more values than it states. `where`: path of the bundle, for the
    error message.
    """
    if not survives(read_all, folder):
        raise refused("one of its tables crashes the program that reads it, or needs too much memory", where)


def survives(work: Callable[[T], object], argument: T) -> bool:
    """Call `work(argument)` in a child process with limited memory.

    Returns False if the child process crashes or `work` raises MemoryError, else True. Other errors of `work` are raised here.
    """
    with _lock:  # a child process may have less memory left after other bundles, so a new one has the last word
        return _succeeds(work, argument) or _succeeds(work, argument)


def _succeeds(work: Callable[[T], object], argument: T) -> bool:
    """Call `work(argument)` in the child process; after a crash or a MemoryError, end the child process and return False."""
    try:
        _child().submit(work, argument).result()
    except (BrokenProcessPool, MemoryError):
        _child().shutdown()
        _child.cache_clear()
        return False
    return True


@cache
def _child() -> ProcessPoolExecutor:
    """Return the pool with the child process, which ends with this process. Raises SetupError if it does not start."""
    pool = ProcessPool(1, limit_memory).pool
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool as error:  # no fault of a bundle: nothing was read yet
        what = "the process that reads the tables of bundles does not start"
        fix = 'put the code of your script below `if __name__ == "__main__":`; in other cases, memory may be short'
        raise SetupError(what, sys.argv[0], fix) from error
    atexit.register(pool.shutdown)
    return pool


def limit_memory() -> None:
    """Limit the memory that this process can allocate from now on to MOST_READER_BYTES. On Windows, there is no limit."""
    if resource is not None:
        most = psutil.Process().memory_info().vms + limits.MOST_READER_BYTES
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard == resource.RLIM_INFINITY or most < hard:
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def read_all(folder: Path) -> None:
    """Read every table below a folder, to test whether reading needs too much memory (MemoryError) or crashes the process.

    All other errors are ignored here, because later checks report damaged files.
    """
    for path in sorted(folder.rglob("*.parquet")):
        try:
            texts = [field.name for field in open_table(path, "").schema_arrow if pa.types.is_string(field.type)]
            pq.read_table(path, use_threads=False, read_dictionary=texts)
        except Exception as error:  # any error of a damaged file
            if isinstance(error, MemoryError):
                raise
    pa.default_memory_pool().release_unused()  # for the next bundle
