"""Check the arguments of the functions of `bench.api`, and turn them into plain values.

A wrong argument raises ConfigError, which names the argument. `where`: the name of the function.
"""

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from harmonize.errors import ConfigError


def path_of(path: Any) -> Path:
    """Return a path in which `~` is expanded."""
    if not isinstance(path, str | PathLike):
        raise ConfigError(f"a path must be a text or a Path (got {type(path).__name__})", repr(path), 'write "folder"')
    return Path(path).expanduser()


def path_or_none(path: Any) -> Path | None:
    """Return a path in which `~` is expanded; None for None."""
    return None if path is None else path_of(path)


def text_of(path: Any) -> str:
    """Return a path, or a name in its place, as text in which `~` is expanded."""
    expanded = str(path_of(path))
    text = fspath(path)
    return expanded if text.startswith("~") else str(text)


def plain(value: Any) -> Any:
    """Return a value in which arrays, and numbers and texts of numpy and pandas, are plain lists, numbers and texts."""
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def several(values: Any, name: str, where: str, of: type | tuple[type, ...] = object) -> list[Any]:
    """Return the items of an argument that is a list; each item must be of a type in `of`. A single item, such as a text, is refused."""
    if isinstance(values, str | bytes | PathLike | Mapping) or not hasattr(values, "__iter__"):
        raise ConfigError(f"{name} must be a list (got {type(values).__name__})", where, f"write {name}=[...]")
    items = list(values)
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
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ConfigError(f"{name} must be of type {wanted} (got {type(value).__name__})", where, fix)
