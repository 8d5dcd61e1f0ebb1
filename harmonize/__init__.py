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

__all__ = ["Cohort", "CohortSpec", "load", "read_data"]


def __getattr__(name: str) -> Any:
    for module, names in (("cohort", ("Cohort", "load")), ("specs", ("CohortSpec", "read_data"))):
        if name in names:
            return getattr(import_module(f"harmonize.cohorts.{module}"), name)
    raise AttributeError(f"module 'harmonize' has no attribute {name!r}")
