"""Registry entries of installed packages (plug-ins), discovered through their entry points.

A block has the keys of one registry entry, such as `use`. A package names its entries in pyproject.toml, in one of two forms:

    [project.entry-points."unseen_cxr.registry"]
    mine = "my_package:registry.yaml"     # a file in the package; code is imported only when an entry is used
    mine = "my_package.entries:ENTRIES"   # a mapping section -> name -> block, or a function that returns this mapping
"""

import importlib.util
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from harmonize.errors import CxrError, RegistryError
from harmonize.yaml_file import read_yaml

GROUP = "unseen_cxr.registry"


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plug-in: an entry point of an installed package, with the name that the package gave it."""

    name: str
    point: EntryPoint

    def entries(self) -> Any:
        """Return the plug-in's entries as written: section -> name -> block.

        Raises CxrError if the entries cannot be read.
        """
        where = f"plug-in {self.name} ({self.point.value})"
        try:
            if self.point.attr.endswith((".yaml", ".yml")):
                return read_yaml(_packed(self.point.module, self.point.attr))
            loaded = self.point.load()
            return loaded() if callable(loaded) else loaded
        except CxrError:
            raise
        except Exception as error:  # the import of another package's code may raise any exception
            problem = f"the plug-in cannot be read: {type(error).__name__}: {error}"
            raise RegistryError(problem, where, "fix or uninstall the package") from error


def installed_plugins() -> list[Plugin]:
    """Return the installed plug-ins sorted by name, so that the order of installation does not matter."""
    plugins = [Plugin(point.name, point) for point in entry_points(group=GROUP)]
    return sorted(plugins, key=lambda plugin: (plugin.name, plugin.point.value))


def _packed(package: str, file: str) -> Path:
    """Return the path of a package's file without importing the package."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package named {package!r}")
    return Path(next(iter(spec.submodule_search_locations))) / file
