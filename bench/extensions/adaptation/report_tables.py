"""The table `adaptation` of a report."""

import pandas as pd

from bench.extensions.adaptation.cohorts import curve_path
from bench.extensions.adaptation.schemas import SCHEMAS
from bench.results.cross_run_tables import ScoredRuns
from bench.store.checked_files import read_cohort


def tables(runs: ScoredRuns) -> dict[str, pd.DataFrame]:
    """Return the stored curves of all runs of the grid."""
    manifest = runs.manifest
    pairs = [(run, hospital) for run in manifest.run_of.values() for hospital in manifest.external_to(run)]
    paths = [path for pair in pairs if (path := curve_path(manifest, *pair)).is_file()]
    none = pd.DataFrame(columns=list(SCHEMAS["adaptation"]))
    return {"adaptation": pd.concat([read_cohort(path) for path in paths], ignore_index=True) if paths else none}
