"""Files of arrays that a store keeps to save time: they are made again if they are missing or damaged."""

import contextlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.store.store import replacing

T = TypeVar("T")
_DAMAGES = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def read_arrays(path: Path, build: Callable[[dict[str, NDArray[Any]]], T]) -> T | None:
    """Return what `build` makes of the arrays by name in a file of `write_arrays`; None if the file is missing or damaged.

    A file without an array that `build` needs, or with an array of a wrong shape (KeyError, ValueError), is damaged, too.
    """
    # np.load with a path would leave a damaged file open
    with contextlib.suppress(*_DAMAGES), path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return build({name: stored[name] for name in stored.files})
    return None


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a compressed file of arrays; another process sees it complete or not at all. Raises DiskFullError."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **dict(arrays))
