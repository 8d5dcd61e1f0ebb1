"""The stored curves: one table for each run, hospital and reading of its labels."""

from pathlib import Path

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.store.store import short_hash

FOLDER = "adaptation"  # of the store
FOLDERS = (FOLDER,)


def curve_path(manifest: Manifest, run: PlannedRun, hospital: PlannedCohort) -> Path:
    """Return the path of a curve; its name contains a hash of what decides the labels of the hospital."""
    key = short_hash(repr((hospital.id, manifest.settings)).encode())
    return manifest.store.root / FOLDER / f"{run.id}-{hospital.name}-{key}.parquet"
