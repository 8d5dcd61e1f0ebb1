"""Check the arguments of the functions of `bench.api`, and turn them into plain values.

A wrong argument raises ConfigError, which names the argument. `name`: the argument. `where`: the function, or the place in it.
"""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from harmonize.errors import ConfigError, CxrError

P = ParamSpec("P")  # arguments and result of a function
T = TypeVar("T")
WRITE_PATH = "write a text or a Path"  # how to fix an argument that is no path
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


def path_of(path: Any, name: str, fix: str = WRITE_PATH) -> Path:
    """Return a path in which `~` is expanded."""
    require_path(path, name, fix)
    return Path(path).expanduser()


def path_or_none(path: Any, name: str) -> Path | None:
    """Return a path in which `~` is expanded; None for None."""
    return None if path is None else path_of(path, name)


def text_of(path: Any, name: str) -> str:
    """Return a path, or a name in its place, as text in which `~` at the start is expanded."""
    require_path(path, name, WRITE_PATH)
    text = str(fspath(path))
    return str(Path(text).expanduser()) if text.startswith("~") else text


def require_path(path: Any, name: str, fix: str) -> None:
    """Raise ConfigError for an argument that is no path."""
    if not isinstance(path, str | PathLike):
        raise ConfigError(f"{name} must be a path (got {type(path).__name__})", f"the argument {name}", fix)


def plain(value: Any) -> Any:
    """Return a value in which arrays, and numbers and texts of numpy and pandas, are plain lists, numbers and texts."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def several(values: Any, name: str, where: str, of: type | tuple[type, ...] = object) -> list[Any]:
    """Return the items of an argument that is a list, each of a type in `of`. A single item, such as a text, is refused."""
    try:
        items = None if isinstance(values, str | bytes | PathLike | Mapping) else list(values)
    except TypeError:  # not iterable
        items = None
    if items is None:
        raise ConfigError(f"{name} must be a list (got {type(values).__name__})", where, f"write {name}=[...]")
    for item in items:
        require(item, of, f"an item of {name}", where, f"write {name}=[...]")
    return items


def mapping_of(values: Any, name: str, where: str) -> dict[Any, Any]:
    """Return an argument that is a mapping or a pandas Series, as a dict of plain values; {} for None."""
    if values is None:
        return {}
    if not hasattr(values, "keys"):
        raise ConfigError(f"{name} must be a mapping (got {type(values).__name__})", where, f"write {name}={{...}}")
    values_of_keys: dict[Any, Any] = plain(dict(values))
    return values_of_keys


def require(value: Any, kinds: type | tuple[type, ...], name: str, where: str, fix: str) -> None:
    """Raise ConfigError if an argument is of another type than `kinds`."""
    if not isinstance(value, kinds):
        names = [kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        wanted = " or ".join("None" if kind == "NoneType" else kind for kind in names)
        raise ConfigError(f"{name} must be of type {wanted} (got {type(value).__name__})", where, fix)
