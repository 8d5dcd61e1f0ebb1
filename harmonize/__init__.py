"""Read a chest X-ray dataset (one of six published datasets, or a user's table) into a table with common findings.

    specs = harmonize.read_data(Path("data.yaml"))
    cohort = harmonize.load(specs["nih"])
    cohort.table        # one row per frontal image; one Int8 label state per finding

The names below are imported at first use, so that `bench --help` does not import pandas.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmonize.cohorts.cohort import Cohort, load
    from harmonize.cohorts.specs import CohortSpec, read_data
    from harmonize.cohorts.splits import assign
    from harmonize.datasets import LAYOUTS
    from harmonize.errors import ConfigError, CxrError, DatasetError, RegistryError, SetupError, StoreError
    from harmonize.labels.findings import FINDINGS

__all__ = [
    "FINDINGS",
    "LAYOUTS",
    "Cohort",
    "CohortSpec",
    "ConfigError",
    "CxrError",
    "DatasetError",
    "RegistryError",
    "SetupError",
    "StoreError",
    "assign",
    "load",
    "read_data",
]

_MODULES = {
    "cohorts.cohort": ("Cohort", "load"),
    "datasets": ("LAYOUTS",),
    "errors": ("ConfigError", "CxrError", "DatasetError", "RegistryError", "SetupError", "StoreError"),
    "labels.findings": ("FINDINGS",),
    "cohorts.specs": ("CohortSpec", "read_data"),
    "cohorts.splits": ("assign",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"harmonize.{module}"), name)
    raise AttributeError(f"module 'harmonize' has no attribute {name!r}")
