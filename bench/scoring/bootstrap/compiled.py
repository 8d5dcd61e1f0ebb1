"""Compile a function with numba, and keep its machine code on disk until a kernel changes.

numba keeps machine code until the file of the compiled function changes. It does not look at functions that it inlined
from other files, nor at content when an update keeps time stamps. So the folder of the machine code here is named after
the content of all files with compiled functions: other content, other folder.
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
MARK = b"import compiled"  # stands in each file with compiled functions
UNUSED_SECONDS = 7 * 24 * 3600.0
_lock = Lock()


def kernel_files(package: Path = PACKAGE) -> dict[str, bytes]:
    """Return the content of all files with compiled functions, and of all files beside this one, by their path in the package."""
    every = {path.relative_to(package): path.read_bytes() for path in sorted(package.rglob("*.py"))}
    return {path.as_posix(): text for path, text in every.items() if MARK in text or path.parent == HERE}


def kernel_hash(package: Path = PACKAGE) -> str:
    """Return a hash of the names and the content of all files with compiled functions."""
    digest = hashlib.sha256()
    for name, content in kernel_files(package).items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


@cache
def kernel_folder() -> Path | None:
    """Return the folder for the machine code of this content, None where no folder can be written.

    It is made in NUMBA_CACHE_DIR if the user sets it, else beside this file or, in a read-only installation, in the user's
    cache folder. numba itself tells apart its own version, Python's version, and the processor.
    """
    chosen = cast("Any", config).CACHE_DIR
    beside, of_user = (
        Path(__file__).parent / "__pycache__",
        Path(cast("Any", appdirs).user_cache_dir("unseen-cxr", False)),
    )
    return writable_folder([Path(chosen)] if chosen else [beside, of_user], f"kernels-{kernel_hash()}")


def writable_folder(parents: Sequence[Path], name: str) -> Path | None:
    """Return the first folder of this name that can be written, made if it is missing."""
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
    """Remove folders of other content, unless a process may still be using them: each holds some megabytes."""
    for other in parent.glob("kernels-*"):
        with suppress(OSError):
            if other != folder and time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def compiled(function: Function) -> Function:
    """Return the compiled function. It releases the interpreter lock, so that threads run it in parallel.

    Without a writable folder each process compiles it anew (a quarter of a minute for all functions).
    """
    folder, settings = kernel_folder(), cast("Any", config)
    with _lock:
        before = settings.CACHE_DIR
        settings.CACHE_DIR = str(folder or before)  # numba looks at it here, and never again for this function
        try:
            make = numba.njit(cache=folder is not None, nogil=True, error_model="numpy")
            return cast("Function", make(function))
        finally:
            settings.CACHE_DIR = before
