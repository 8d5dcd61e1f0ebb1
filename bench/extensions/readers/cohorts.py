"""The answers of readers in a store: one table for each panel of a cohort, with numbers in place of the readers' names."""

from collections.abc import Iterator

import pandas as pd

from bench.extensions.readers.reader_files import READER, Panel, matched
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedCohort
from bench.store.checked_files import cohort_problem, read_cohort, write_cohort
from bench.store.store import Store

FOLDER = "readers"
FOLDERS = (FOLDER,)


def save(manifest: Manifest, cohort: PlannedCohort, panel: Panel) -> str:
    """Store the answers of a panel that are about images of a cohort; return a sentence on what was stored."""
    rows, num_other = matched(panel, manifest.table(cohort), cohort.name)
    findings = list(dict.fromkeys(name for run in manifest.ranked for name in run.config.findings))
    table = panel._replace(table=rows).states(findings).reset_index(drop=True)
    names = sorted(table[READER].unique())
    table[READER] = table[READER].map({name: number for number, name in enumerate(names, 1)}).astype("int32")
    path = manifest.store.root / FOLDER / f"{cohort.name}-{cohort.id}-{panel.name.replace(' ', '_')}.parquet"
    write_cohort(path, table, cohort.id)
    left_out = f"; {num_other:,} answers about other images are left out" if num_other else ""
    return f"{cohort.name}, {panel.name}: {len(names)} readers, {len(table):,} answers from {panel.path}{left_out}"


def stored(manifest: Manifest, cohort: PlannedCohort) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the answers of each stored panel of a cohort. Raises StoreError for a damaged table."""
    for path in sorted((manifest.store.root / FOLDER).glob(f"{cohort.name}-{cohort.id}-*.parquet")):
        yield path.stem.removeprefix(f"{cohort.name}-{cohort.id}-").replace("_", " "), read_cohort(path)


def problems(store: Store) -> Iterator[tuple[str, str, str]]:
    """Yield name, problem and fix of each damaged table."""
    for path in sorted((store.root / FOLDER).glob("*.parquet")):
        if problem := cohort_problem(path):
            yield f"readers {path.stem}", problem, "make it again with `bench readers`"
