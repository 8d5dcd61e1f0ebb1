"""Read the cohorts of a grid from data on disk. Without data, synthetic cohorts are made first and then read."""

from collections.abc import Sequence
from pathlib import Path

from bench.config.grid import Grid
from bench.planning.parsed_tables import ParsedTable
from bench.store.store import Store
from harmonize.cohorts.cohort import Cohort
from harmonize.cohorts.pool_names import hospitals_of
from harmonize.cohorts.pooled import pooled
from harmonize.cohorts.specs import CohortSpec, read_data, with_gold
from harmonize.datasets.table import table_files
from harmonize.errors import ConfigError
from harmonize.labels.findings import space
from harmonize.progress import Progress


def read_cohorts(
    grid: Grid, store: Store, data: Path | None, workers: int, progress: Progress, *, tables_alone: bool = False
) -> dict[str, Cohort]:
    """Return the cohorts of a grid by name, the internal cohort first, with the images and labels that the grid selects.

    Several training hospitals become one cohort, their pool.

    `data` is a folder with one folder per dataset, or a data file. Without `data`, the synthetic cohorts of the grid
    are made in the store. With `tables_alone`, a cohort needs no image files. Raises ConfigError when a cohort is
    missing, when a cohort has the files of a training hospital, or when the grid mixes phantom and real
    cohorts.
    """
    folder = data or make_phantom(grid, store, workers, progress)
    names = grid.hospitals
    specs = with_gold(read_data(folder), names)
    grid.check_cohorts(specs, folder)
    training = hospitals_of(grid.train_on)
    _check_apart([specs[name] for name in names], len(training), str(folder))
    first = grid.configs[0]
    cohorts: dict[str, Cohort] = {}
    for i, name in enumerate(names):
        progress(f"read {name}", i, len(names))
        spec = grid.cohort_spec(specs[name])
        parsed = ParsedTable(store.root / "cache" / "tables", spec, first.mapping, space(first.space), tables_alone)
        cohorts[name] = parsed.cohort()
    progress("read cohorts", len(names), len(names))
    if len({cohort.phantom for cohort in cohorts.values()}) > 1:
        fix = "use only phantoms or only real cohorts"
        raise ConfigError("the grid mixes phantom and real cohorts", str(folder), fix)
    if len(training) == 1:
        return cohorts
    members = [cohorts.pop(name) for name in training]
    return {grid.train_on: pooled(members), **cohorts}


def _check_apart(specs: Sequence[CohortSpec], num_training: int, where: str) -> None:
    """Raise ConfigError if a training hospital (one of the first `num_training` specs) and another cohort share a file."""
    files = [_files(spec) for spec in specs]
    for i, hospital in enumerate(specs[:num_training]):
        for k, spec in enumerate(specs[i + 1 :], i + 1):
            if files[k] & files[i]:
                fix = "give each cohort its own root (or table)"
                raise ConfigError(f"the cohorts {hospital.name!r} and {spec.name!r} are the same files", where, fix)


def _files(spec: CohortSpec) -> set[Path]:
    """Return the tables that a cohort names; its root if it names none."""
    return {path.resolve() for _, path in table_files(spec.root, spec.table)} if spec.table else {spec.root.resolve()}


def make_phantom(grid: Grid, store: Store, workers: int, progress: Progress) -> Path:
    """Make the synthetic cohorts of a grid in the store, unless they exist already; return their folder."""
    root = store.phantom_dir(grid.phantom_settings.key)
    from harmonize.phantom import write_cohorts, write_label_tables  # imports OpenCV, which scoring does not need

    write_cohorts(root, grid.phantom_settings, workers=workers, progress=progress)
    if grid.label_sources or any(config.label_source != "default" for config in grid.configs):
        write_label_tables(root)
    return root
