"""Find extensions: optional features, each in a package of its own.

An extension is a package in the folder `bench/extensions`, or an installed package that the entry points of the group
`unseen_cxr.extensions` name. It takes part in the program by modules with fixed names, and each of them is optional:

    commands    add(app): add commands to the command line
    library     functions of the Python library: `bench.api` offers those that `__all__` names

The program asks this module for all modules of one name. It imports no extension by the extension's own name, so the folder of
an extension can be deleted. docs/dev/extensions.md explains how to write one.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from harmonize.errors import CxrError, RegistryError

GROUP = "unseen_cxr.extensions"
FOLDER = "bench.extensions"


@cache
def packages() -> tuple[str, ...]:
    """Return the names of the extensions' packages: those of the folder, then the installed ones, each sorted by name.

    An extension that needs others (`NEEDS`: names of packages in the folder) is left out if one of them is missing or left out.
    """
    spec = importlib.util.find_spec(FOLDER)
    places = (spec.submodule_search_locations if spec else None) or ()
    own = sorted(f"{FOLDER}.{module.name}" for module in pkgutil.iter_modules(places) if module.ispkg)
    found = (*own, *sorted({point.value for point in entry_points(group=GROUP)}))
    needs = {name: {f"{FOLDER}.{other}" for other in getattr(_imported(name), "NEEDS", ())} for name in found}
    while lacking := [name for name, others in needs.items() if not others <= needs.keys()]:
        for name in lacking:
            del needs[name]
    return tuple(needs)


@cache
def modules(name: str) -> tuple[ModuleType, ...]:
    """Import the module `name` of every extension that has one.

    Raises RegistryError for an extension that cannot be imported.
    """
    return tuple(_imported(f"{package}.{name}") for package in packages() if _has(package, name))


def files(name: str) -> Iterator[Path]:
    """Yield the path of the file or folder `name` of every extension that has one."""
    for package in packages():
        for folder in _imported(package).__path__:
            if (path := Path(folder, name)).exists():
                yield path


def _has(package: str, name: str) -> bool:
    return importlib.util.find_spec(f"{_imported(package).__name__}.{name}") is not None


def _imported(name: str) -> ModuleType:
    """Import a module of an extension. Raises RegistryError if its code raises an exception."""
    try:
        return importlib.import_module(name)
    except CxrError:
        raise
    except Exception as error:  # the import of another package's code may raise any exception
        problem = f"the extension cannot be imported: {type(error).__name__}: {error}"
        raise RegistryError(problem, name, "fix or remove its package") from error
