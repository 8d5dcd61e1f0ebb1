"""Restore a grid from its manifest, to train one of its runs again."""

from collections.abc import Sequence

from bench.config.grid import Grid, PhantomChoice
from bench.planning.manifest import Manifest
from bench.planning.planned_grid import PlannedRun


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
