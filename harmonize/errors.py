"""Errors that the user can fix.

    CxrError            what is wrong, where, and how to fix it; shown without traceback
    |- ConfigError      a grid, an option or a mapping file has an invalid value
    |- RegistryError    registry.yaml names code that cannot be found or loaded
    |- DatasetError     a dataset on disk does not have its published layout
    |- StoreError       the run store is damaged, locked or written by another version
    `- SetupError       a package, a device or a weights file is missing on this machine

Code that reads user input raises these errors. Any other exception is a bug.
"""

from pathlib import Path
from typing import Self


class CxrError(Exception):
    """A problem that the user can fix. Any other exception is a bug in this project."""

    def __init__(self, what: str, where: str, fix: str) -> None:
        # pickle rebuilds an error of a worker process from `args`, so `args` must contain all three texts
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.what}\nwhere: {self.where}\n  fix: {self.fix}"


class ConfigError(CxrError):
    """A grid, an option or a mapping file has an invalid value."""


class RegistryError(CxrError):
    """registry.yaml names code that cannot be found or loaded."""


class DatasetError(CxrError):
    """A dataset on disk does not have its published layout."""


class StoreError(CxrError):
    """The run store is damaged, locked or written by another version."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> Self:
        """Return the error for a stored file that cannot be read."""
        fix = "run the grid again: missing files are made again"
        return cls(f"cannot read {path.name}: {error}", str(path), fix)


class SetupError(CxrError):
    """A package, a device or a weights file is missing on this machine."""


def not_a_file(path: Path) -> str:
    """Return that a path is no file, as text; "" for a file, and for a path that does not exist.

    Programs check this before they open a path: opening a pipe waits for a writer, and a device may have no end.
    """
    return "this is not a file, but a folder, pipe, socket or device" if path.exists() and not path.is_file() else ""
