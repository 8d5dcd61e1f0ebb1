"""Errors that the user can fix.

    CxrError            what is wrong, where, and how to fix it; shown without traceback
    |- ConfigError      a grid, an option or a mapping file has an invalid value
    |- RegistryError    registry.yaml names code that cannot be found or loaded
    |- DatasetError     a dataset on disk does not have its published layout
    |- StoreError       the run store is damaged, locked or written by another version
    `- SetupError       a package, a device or a weights file is missing on this machine

Code that reads user input raises these errors. Any other exception is a bug.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

_MOST = 4_000  # characters of each part of a message, which may show a value of a file


class CxrError(Exception):
    """A problem that the user can fix. Any other exception is a bug in this project."""

    def __init__(self, what: str, where: str, fix: str) -> None:
        what, where, fix = (
            text if len(text) <= _MOST else f"{text[: _MOST // 2]} … {text[-_MOST // 2 :]}"
            for text in (what, where, fix)
        )
        # pickle rebuilds an error of a worker process from `args`, so `args` must contain all three texts
        super().__init__(what, where, fix)
        self.what, self.where, self.fix = what, where, fix

    def __str__(self) -> str:
        return f"{self.what}\nwhere: {self.where}\n  fix: {self.fix}"

    @staticmethod
    def suggestion(name: object, choices: Iterable[object], otherwise: str = "") -> str:
        """Return a fix for an unknown name: the most similar choice. If no choice is similar, return `otherwise` or all choices.

        >>> choices = ["Edema", "Mass"]
        >>> [CxrError.suggestion("edma", choices), CxrError.suggestion("x", choices), CxrError.suggestion("x", choices, "see the list")]
        ["did you mean 'Edema'?", 'choose from: Edema, Mass', 'see the list']
        """
        names = [str(choice) for choice in choices]
        return CxrError.hint(name, names).rstrip() or otherwise or f"choose from: {', '.join(names)}"

    @staticmethod
    def hint(name: object, choices: Iterable[object]) -> str:
        """Return the question whether the most similar choice is meant, with a space at its end, to begin a fix; "" if none is similar.

        Upper and lower case are not distinguished.

        >>> CxrError.hint("edma", ["Edema", "Mass"]), CxrError.hint("x", ["Edema", "Mass"])
        ("did you mean 'Edema'? ", '')
        """
        close = CxrError.nearest(name, choices)
        return f"did you mean {close[0]!r}? " if close else ""

    @staticmethod
    def nearest(name: object, choices: Iterable[object], most: int = 1, cutoff: float = 0.6) -> list[str]:
        """Return the choices that are similar to a name, the most similar first; `most` is their largest number.

        cutoff: similarity, 0 to 1, that a choice must have (`difflib.SequenceMatcher.ratio`). Upper and lower case are not
        distinguished.
        """
        from difflib import get_close_matches  # needed for errors only

        names = {str(choice).casefold(): str(choice) for choice in choices}
        return [names[close] for close in get_close_matches(str(name).casefold(), names, most, cutoff)]

    @classmethod
    def known_keys(cls, raw: Iterable[object], keys: Iterable[str], where: str) -> None:
        """Raise this error for the first key of a block that is not one of `keys`. `where`: a file, or "file: block".

        >>> ConfigError.known_keys({"seed": 1, "lrate": 2}, ("seed", "rate"), "grid.yaml: base")
        Traceback (most recent call last):
        harmonize.errors.ConfigError: unknown key 'lrate'
        where: grid.yaml: base.lrate
          fix: did you mean 'rate'?
        """
        if isinstance(raw, str) or not isinstance(raw, Iterable):
            raise cls(f"{raw!r} is not a block of keys", where, "write `key: value` lines")
        known = list(keys)
        for key in raw:
            if key not in known:
                place = f"{where}.{key}" if ": " in where else f"{where}: {key}"
                raise cls(f"unknown key {key!r}", place, cls.suggestion(key, known))

    @classmethod
    def check_choices(cls, option: str, values: Iterable[str], choices: Sequence[str]) -> None:
        """Raise this error for a value of an option that is none of the choices. option: its name without the dashes."""
        for value in values:
            if value not in choices:
                fix = f"{cls.hint(value, choices)}choose from: {', '.join(dict.fromkeys(choices))}"
                raise cls(f"unknown value of --{option}: {value!r}", f"--{option}", fix)

    @staticmethod
    def not_a_file(path: Path) -> str:
        """Return that a path is no file, as text; "" for a file, and for a path that does not exist.

        Programs check this before they open a path: opening a pipe waits for a writer, and a device may have no end.
        """
        is_other = path.exists() and not path.is_file()
        return "this is not a file, but a folder, pipe, socket or device" if is_other else ""


class ConfigError(CxrError):
    """A grid, an option or a mapping file has an invalid value."""


class RegistryError(CxrError):
    """registry.yaml names code that cannot be found or loaded."""


class DatasetError(CxrError):
    """A dataset on disk does not have its published layout."""

    @classmethod
    def refuse_folder(cls, error: OSError) -> None:
        """Raise the error for a folder that `os.walk` cannot read, because its images would be missing without a word.

        Only `lost+found`, a folder of the file system in the root of a disk, may be unreadable. Errors other than a missing
        permission are raised as they are.
        """
        if not isinstance(error, PermissionError):
            raise error
        if Path(error.filename).name != "lost+found":
            fix = "get the permission to read it, or move it away"
            raise cls(f"cannot read the folder: {error.strerror}", str(error.filename), fix) from error

    @classmethod
    def not_utf8(cls, path: Path, lines: Iterable[bytes]) -> Self:
        """Return the error for a text file that is not UTF-8. The error names the first of the `lines` that cannot be read."""
        number, encoding = 1, ""
        for number, line in enumerate(lines, 1):
            if number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff")):
                encoding = ", but UTF-16, which PowerShell writes"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
        fix = (
            "save it as UTF-8 (Excel: CSV UTF-8; PowerShell: Out-File -Encoding utf8); download a published file again"
        )
        return cls(f"the file is not UTF-8 text{encoding}", f"{path}:{number}", fix)


class StoreError(CxrError):
    """The run store is damaged, locked or written by another version."""

    @classmethod
    def unreadable(cls, path: Path, error: Exception) -> Self:
        """Return the error for a stored file that cannot be read."""
        fix = "run the grid again: missing files are made again"
        return cls(f"cannot read {path.name}: {error}", str(path), fix)


class SetupError(CxrError):
    """A package, a device or a weights file is missing on this machine."""
