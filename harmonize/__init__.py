"""Six chest X-ray datasets, and any table of one's own, as one table of nine findings.

specs = harmonize.read_data(Path("data.yaml"))
cohort = harmonize.load(specs["nih"])
cohort.table        # one row per frontal image; one Int8 label state per finding
"""

from harmonize.cohort import Cohort, load
from harmonize.datasets import LAYOUTS
from harmonize.errors import ConfigError, CxrError, DatasetError, RegistryError, SetupError, StoreError
from harmonize.findings import FINDINGS
from harmonize.specs import CohortSpec, read_data
from harmonize.splits import assign

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
