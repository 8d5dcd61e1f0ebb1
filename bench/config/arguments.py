"""Turn the arguments of the functions of `bench.api` into plain values, and name arguments in errors."""

import re
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from harmonize.errors import ConfigError, CxrError

P = ParamSpec("P")  # arguments and result of a function
T = TypeVar("T")
AnyPath = str | PathLike[str]
_ARGUMENTS = {
    "grid": "name",
    "run": "runs",
    "finding": "findings",
}  # option of a command -> argument; others have one name


def in_library_words(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function of the library whose errors name arguments in place of the options of commands."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except CxrError as error:
            raise type(error)(*map(_without_options, error.args)) from error

    return called


def _without_options(text: str) -> str:
    """Return a text in which arguments replace options, except inside a quoted command.

    >>> _without_options("name one with --grid: a, b; or see `bench list runs --grid a`")
    'name one with the argument `name`: a, b; or see `bench list runs --grid a`'
    """
    parts = str(text).split("`")
    parts[::2] = [re.sub(r"--([a-z][a-z-]*)", _argument, part) for part in parts[::2]]
    return "`".join(parts)


def _argument(option: re.Match[str]) -> str:
    name = option[1].replace("-", "_")
    return f"the argument `{_ARGUMENTS.get(name, name)}`"


def path_of(path: AnyPath) -> Path:
    """Return a path in which `~` is expanded."""
    return Path(path).expanduser()


def path_or_none(path: AnyPath | None) -> Path | None:
    """Return a path in which `~` is expanded; None for None."""
    return None if path is None else path_of(path)


def plain(value: Any) -> Any:
    """Return a value in which arrays, and numbers and texts of numpy and pandas, are plain lists, numbers and texts."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def several(values: Iterable[T], name: str) -> list[T]:
    """Return the items of an argument that is a list. Raises ConfigError for a text or a path, which type hints let pass."""
    if isinstance(values, str | PathLike):
        raise ConfigError(f"{name} must be a list (got {values!r})", f"the argument {name}", f"write {name}=[...]")
    return list(values)
