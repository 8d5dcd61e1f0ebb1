"""The stored curves: one table for each run, hospital and reading of its labels."""

from collections.abc import Iterator
from pathlib import Path

from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort, PlannedRun
from bench.store.checked_files import cohort_problem
from bench.store.store import Store, short_hash

FOLDER = "adaptation"  # folder in the store
FOLDERS = (FOLDER,)


def curve_path(manifest: Manifest, run: PlannedRun, hospital: PlannedCohort) -> Path:
    """Return the path of a curve; its name contains a hash of what decides the labels of the hospital."""
    key = short_hash(repr((hospital.id, manifest.settings)).encode())
    return manifest.store.root / FOLDER / f"{run.id}-{hospital.name}-{key}.parquet"


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Yield name, problem and fix of each damaged curve."""
    for path in sorted((store.root / FOLDER).glob("*.parquet")):
        if problem := cohort_problem(path):
            yield f"adaptation {path.stem}", problem, "make it again with `bench adapt`"
