"""Restore a grid from its manifest, to read the grid's data again or to train one of its runs again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.grid import Grid, PhantomChoice
from bench.config.run_config import RunConfig, from_dict
from bench.planning.manifest import Manifest
from bench.planning.read_cohorts import read_cohorts
from harmonize.cohorts.cohort import Cohort


def grid_of(manifest: Manifest, runs: Sequence[Mapping[str, Any]]) -> Grid:
    """Return a grid with `runs` (rows of the manifest) and all cohorts of the manifest.

    The grid has no derived runs, references and analyses.
    """
    content = manifest.content
    where = f"grids/{content['name']}.json"
    return Grid(
        str(content["name"]),
        where,
        str(content["title"]),
        tuple(str(cohort["name"]) for cohort in manifest.external),
        manifest.settings.min_count,
        tuple(from_dict(RunConfig, run["config"], where) for run in runs),
        phantom=from_dict(PhantomChoice, content["phantom_settings"], where),
        synthetic=bool(content["phantom"]),
        label_sources=tuple((str(finding), str(source)) for finding, source in content.get("label_sources", ())),
        training_sources=tuple(map(str, content.get("training_sources", ()))),
    )


def cohorts_of(manifest: Manifest, data: Path) -> list[Cohort]:
    """Read the cohorts of a manifest from data, the internal hospital first, with the images and labels of the grid.

    Raises ConfigError when a cohort is missing in the data.
    """
    grid = grid_of(manifest, manifest.runs or manifest.imported)
    return list(read_cohorts(grid, manifest.store, data, 1, lambda *_: None).values())
