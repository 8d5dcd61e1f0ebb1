"""`compiled`, a decorator that compiles a function with numba and stores the machine code until a compiled function changes.

numba recompiles a function only when the size or time stamp of its file changes. So numba does not notice a change of an
inlined function in another file, or an update that keeps size and time stamp. Therefore the name of the folder with the
machine code contains a hash of all files with compiled functions. When one of these files changes, a new folder is used.
"""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, cached_property, update_wrapper
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

PACKAGE = Path(__file__).parents[2]
HERE = Path(__file__).parent.relative_to(PACKAGE)
MARK = b"import compiled"  # every file with compiled functions contains this text
UNUSED_SECONDS = 7 * 24 * 3600.0  # a folder that was not used for this time is removed
_lock = Lock()


def kernel_files(package: Path = PACKAGE) -> dict[str, bytes]:
    """Return all files with compiled functions and all files in this folder: path in the package -> content."""
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

    The folder is in NUMBA_CACHE_DIR if this variable is set, otherwise next to this file. If the installation is read-only,
    the folder is in the user's cache folder. In the folder, numba separates versions of numba, of Python and of processors.
    """
    from numba.core import config
    from numba.misc import appdirs

    chosen = cast("Any", config).CACHE_DIR
    next_to_this_file = Path(__file__).parent / "__pycache__"
    of_user = Path(cast("Any", appdirs).user_cache_dir("unseen-cxr", False))
    return writable_folder([Path(chosen)] if chosen else [next_to_this_file, of_user], f"kernels-{kernel_hash()}")


def writable_folder(parents: Sequence[Path], name: str) -> Path | None:
    """Return a writable folder `name` in the first possible parent folder; create the folder if necessary.

    Return None if the folder is writable in none of the parents.
    """
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
    """Remove folders with machine code of older source files, some megabytes each, after a week without use.

    folder: the current folder, which is kept. The time of change of a folder is the time of its last use, because
    `writable_folder` creates a temporary file in it.
    """
    for other in parent.glob("kernels-*"):
        with suppress(OSError):
            if other != folder and time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


class Compiled:
    """A function that numba compiles when it is called first; other compiled functions may call it.

    Many commands import compiled functions and call none: they need neither numba nor the hash of the source files.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        update_wrapper(self, function)

    def __call__(self, *arguments: Any) -> Any:
        """Call the compiled function."""
        return self._dispatcher(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)  # by `_numba_type_`, numba knows the functions that a function calls

    @cached_property
    def _dispatcher(self) -> Any:
        import numba
        from numba.core import config

        folder, settings = kernel_folder(), cast("Any", config)
        # It releases Python's interpreter lock, so that other threads go on, such as that of a lease. A wrapper for calls from C
        # would take a twentieth of the compilation, and nothing calls it.
        options = {"cache": folder is not None, "nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
        with _lock:
            before = settings.CACHE_DIR
            # numba's njit reads this setting when it is applied to a function
            settings.CACHE_DIR = str(folder or before)
            try:
                return cast("Any", numba).njit(**options)(self._function)
            finally:
                settings.CACHE_DIR = before


def compiled(function: Function) -> Function:
    """Return the function as one that numba compiles.

    If no folder is writable, each process compiles all functions again, which takes about 15 seconds.
    """
    return cast("Function", Compiled(function))
