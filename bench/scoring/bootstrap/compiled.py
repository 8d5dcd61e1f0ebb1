"""Compile a function with numba, and keep its machine code on disk until a compiled function changes.

numba alone recompiles a function only when the size or time stamp of its own file changes. It misses changes of inlined
functions in other files, and updates that keep size and time stamp. So the folder of the machine code is named after a
hash of all files with compiled functions. When one of them changes, numba starts with an empty folder.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import numba
from numba.core import config
from numba.misc import appdirs

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parents[2]
HERE = Path(__file__).parent.relative_to(PACKAGE)
MARK = b"import compiled"  # every file with compiled functions contains it
UNUSED_SECONDS = 7 * 24 * 3600.0
_lock = Lock()


def kernel_files(package: Path = PACKAGE) -> dict[str, bytes]:
    """Return the content, by path in the package, of all files with compiled functions and all files in this folder."""
    contents = {path.relative_to(package): path.read_bytes() for path in sorted(package.rglob("*.py"))}
    return {path.as_posix(): text for path, text in contents.items() if MARK in text or path.parent == HERE}


def kernel_hash(package: Path = PACKAGE) -> str:
    """Return a hash of the names and contents of `kernel_files`."""
    digest = hashlib.sha256()
    for name, content in kernel_files(package).items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@cache
def kernel_folder() -> Path | None:
    """Return the folder for the machine code of the current files; None if no folder is writable.

    The folder is in NUMBA_CACHE_DIR if the user sets it, otherwise next to this file. A read-only installation uses the
    user's cache folder. Inside it, numba separates its own versions, Python versions and processors.
    """
    chosen = cast("Any", config).CACHE_DIR
    next_to_this_file, of_user = (
        Path(__file__).parent / "__pycache__",
        Path(cast("Any", appdirs).user_cache_dir("unseen-cxr", False)),
    )
    return writable_folder([Path(chosen)] if chosen else [next_to_this_file, of_user], f"kernels-{kernel_hash()}")


def writable_folder(parents: Sequence[Path], name: str) -> Path | None:
    """Return `name` in the first parent where it is writable, created if it is missing; None if there is no such parent."""
    for parent in parents:
        folder = parent / name
        with suppress(OSError):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                _remove_unused(parent, folder)
            tempfile.TemporaryFile(dir=folder).close()
            return folder
    return None


def _remove_unused(parent: Path, folder: Path) -> None:
    """Remove the machine code of older files, some megabytes each, after a week without use."""
    for other in parent.glob("kernels-*"):
        with suppress(OSError):
            if other != folder and time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def compiled(function: Function) -> Function:
    """Return the compiled function. It releases the interpreter lock, so threads run it in parallel.

    Without a writable folder each process compiles all functions again, which takes about 15 seconds.
    """
    folder, settings = kernel_folder(), cast("Any", config)
    with _lock:
        before = settings.CACHE_DIR
        settings.CACHE_DIR = str(folder or before)  # numba reads it once per function, in njit
        try:
            make = numba.njit(cache=folder is not None, nogil=True, error_model="numpy")
            return cast("Function", make(function))
        finally:
            settings.CACHE_DIR = before
