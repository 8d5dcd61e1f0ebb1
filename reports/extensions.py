"""Find extensions: optional features, each in a package of its own.

An extension is a package in the folder `bench/extensions`, or an installed package that the entry points of the group
`unseen_cxr.extensions` name. It takes part in the program by modules with fixed names, the hooks of `reports.hooks`, and each of
them is optional.

The program asks this module for all modules of one hook. It imports no extension by the extension's own name, so the folder of
an extension can be deleted. docs/dev/extensions.md explains how to write one.
"""

import importlib
import importlib.util
import pkgutil
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from inspect import isfunction, signature
from pathlib import Path
from types import MethodType, ModuleType
from typing import TypeVar, cast

from harmonize.errors import RegistryError

GROUP = "unseen_cxr.extensions"
FOLDER = "bench.extensions"
KINDS: Mapping[str, type] = {"str": str, "tuple": tuple, "Mapping": Mapping, "Sequence": Sequence}
Hook = TypeVar("Hook")
refused: dict[str, RegistryError] = {}  # package -> why its extension takes part in nothing more


def packages() -> list[str]:
    """Return the names of the extensions' packages: packages of the folder, then installed packages, each sorted by name.

    Refused extensions are left out, and extensions that need a missing or refused one (`NEEDS`: names of packages in the folder).
    """
    needs = {name: others for name, others in _needs().items() if name not in refused}
    while lacking := [name for name, others in needs.items() if not others <= needs.keys()]:
        for name in lacking:
            del needs[name]
    return [*needs]


@cache
def modules(hook: type[Hook]) -> tuple[Hook, ...]:
    """Return the modules of all extensions for a hook.

    An extension whose module cannot be imported, or does not fit the hook, is refused.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", hook.__name__).lower()
    found = []
    for package in packages():
        try:
            if importlib.util.find_spec(f"{_imported(package).__name__}.{name}"):
                found.append(_fitted(hook, _imported(f"{package}.{name}")))
        except RegistryError as error:
            refused[package] = error
    return tuple(found)


def files(name: str) -> dict[str, Path]:
    """Return {package: path} of the file or folder `name` of every extension that has one."""
    paths = {package: Path(folder, name) for package in packages() for folder in _imported(package).__path__}
    return {package: path for package, path in paths.items() if path.exists()}


@cache
def _needs() -> dict[str, set[str]]:
    """Return the packages that each extension needs."""
    spec = importlib.util.find_spec(FOLDER)
    places = (spec.submodule_search_locations if spec else None) or ()
    own = sorted(f"{FOLDER}.{module.name}" for module in pkgutil.iter_modules(places) if module.ispkg)
    needs = {}
    for name in (*own, *sorted({point.value for point in entry_points(group=GROUP)})):
        try:
            needs[name] = {f"{FOLDER}.{other}" for other in getattr(_imported(name), "NEEDS", ())}
        except RegistryError as error:
            refused[name] = error
    return needs


def _imported(name: str) -> ModuleType:
    """Import a module of an extension. Raises RegistryError if its code raises an exception."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # the import of another package's code may raise any exception
        problem = f"the extension cannot be imported: {type(error).__name__}: {error}"
        raise RegistryError(problem, name, "fix or remove its package") from error


def _fitted(hook: type[Hook], module: ModuleType) -> Hook:
    """Return a module as its hook, with the hook's own values for what is missing. Raises RegistryError if it does not fit."""
    if misfit := _misfit(hook, module):
        what = f"the extension does not fit the hook {hook.__name__}: {misfit}"
        raise RegistryError(what, module.__name__, f"compare it with {hook.__name__} in reports/hooks.py")
    for name in _attributes(hook):
        if not hasattr(module, name):
            default = getattr(hook, name)
            setattr(module, name, MethodType(default, module) if isfunction(default) else default)
    return cast("Hook", module)


def _misfit(hook: type, given: object) -> str:
    """Return the attribute of a module that does not fit its hook, with the reason; "" if all fit."""
    for name in _attributes(hook):
        default, value = getattr(hook, name, None), getattr(given, name, None)
        if not hasattr(given, name):
            if not hasattr(hook, name) or name in getattr(hook, "__abstractmethods__", ()):
                return f"the attribute {name} is missing"
        elif isfunction(default):
            arguments = [*signature(default).parameters][1:]
            try:
                signature(cast("type", value)).bind(*arguments)
            except (TypeError, ValueError):
                return f"the attribute {name} is no function of ({', '.join(arguments)})"
        else:
            kind = hook.__annotations__[name].partition("[")[0].removesuffix(" | None")
            if kind in KINDS and not isinstance(value, KINDS[kind]):
                return f"the attribute {name} is no {kind.lower()}"
            nested = getattr(sys.modules[hook.__module__], kind, None)
            if nested and value is not None and (misfit := _misfit(nested, value)):
                return f"of {name}, {misfit}"
    return ""


def _attributes(hook: type) -> list[str]:
    """Return the names of a hook's constants and functions."""
    return [*hook.__annotations__, *(name for name, own in vars(hook).items() if isfunction(own) and name[0] != "_")]
