"""Report a full disk as an error that states the file that could not be written, the free space, and the fix."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

_FIXES = {
    errno.ENOSPC: "free disk space, then run the same command again",
    errno.EDQUOT: "delete files or ask for a larger quota, then run the same command again",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or use another file system, then run the same command again",
}


class DiskFullError(OSError):
    """A disk, a quota or a limit of file sizes allows no more bytes.

    The error's text states the free space. The attribute `filename` is the path of the file that could not be written.
    """

    @classmethod
    def of(cls, error: BaseException, path: Path, needed: int = 0) -> Self | None:
        """Return a DiskFullError for `error`, which a write to `path` raised; None if the disk is not the cause.

        `needed`: size of the file in bytes, 0 if unknown. A DiskFullError is returned unchanged, so its `filename` may
        differ from `path`.
        """
        if isinstance(error, cls):
            return error
        if not isinstance(error, OSError) or error.errno not in _FIXES:
            return None
        folder = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.is_dir())
        sizes = [f"{size(needed)} needed"] if needed else []
        sizes.append(f"{size(shutil.disk_usage(folder).free)} free")
        if hasattr(os, "statvfs") and (files := os.statvfs(folder)).f_files and not files.f_favail:
            sizes.append("no further file is possible")
        return cls(error.errno, f"{os.strerror(error.errno)} ({', '.join(sizes)})", str(path))

    @property
    def fix(self) -> str:
        """Return the sentence that says what the user can do."""
        return _FIXES[self.errno or errno.ENOSPC]


@contextmanager
def writing(path: Path, needed: int = 0) -> Iterator[None]:
    """Raise DiskFullError if a write to `path` in this block fails because the disk is full.

    `path`: a file, or the folder of several files. `needed`: bytes that the files need, 0 if unknown.
    """
    try:
        yield
    except OSError as error:
        if full := DiskFullError.of(error, path, needed):
            raise full from error
        raise


def size(number: float) -> str:
    """Return a number of bytes as text with a unit.

    >>> size(1_234_567), size(12_300_000_000)
    ('1.2 MB', '12.3 GB')
    """
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= factor:
            return f"{number / factor:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"
