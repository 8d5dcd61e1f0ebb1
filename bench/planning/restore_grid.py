"""Restore a grid from its manifest, to read the grid's data again or to train one of its runs again."""

from collections.abc import Sequence
from pathlib import Path

from bench.config.grid import Grid, PhantomChoice
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun
from bench.planning.read_cohorts import read_cohorts
from harmonize.cohorts.cohort import Cohort


def grid_of(manifest: Manifest, runs: Sequence[PlannedRun]) -> Grid:
    """Return a grid with `runs` and all cohorts of the manifest.

    The grid has no derived runs, references and analyses.
    """
    return Grid(
        manifest.name,
        f"grids/{manifest.name}.json",
        manifest.title,
        tuple(cohort.name for cohort in manifest.external),
        tuple(run.config for run in runs),
        manifest.settings,
        phantom=manifest.phantom_settings or PhantomChoice(),
        synthetic=manifest.phantom,
        label_sources=manifest.label_sources,
        training_sources=manifest.training_sources,
    )


def cohorts_of(manifest: Manifest, data: Path) -> list[Cohort]:
    """Read the cohorts of a manifest from data, the internal hospital first, with the images and labels of the grid.

    Raises ConfigError when a cohort is missing in the data.
    """
    grid = grid_of(manifest, manifest.runs or manifest.imported)
    return list(read_cohorts(grid, manifest.store, data, 1, lambda *_: None).values())
