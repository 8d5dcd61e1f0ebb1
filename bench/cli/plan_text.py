"""Print the first lines of `bench run`, and the plan of a grid whose synthetic cohorts are not made yet.

This module does not import the slow modules that plan a grid with its cohorts, so that a dry run ends within seconds.
"""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import typer

from bench.config.grid import Grid
from bench.config.run_config import RunConfig
from bench.config.run_names import RunName
from bench.store.store import Store
from harmonize.errors import ConfigError


def say_synthetic(grid: Grid, store: Store, only_plan: bool, pattern: str | None, as_json: bool) -> bool:
    """Print that the grid uses synthetic cohorts. With `only_plan`, also print the plan if the cohorts are not made yet.

    Returns whether the plan was printed. `pattern`: the value of --only. `as_json`: print only the plan, as JSON.
    """
    root = store.phantom_dir(grid.phantom_settings.key)
    made = (root / "phantom.json").is_file()
    if not as_json:
        not_made = "not made yet" if only_plan else "made now"
        typer.echo(f"without --data: uses synthetic cohorts ({'already made' if made else not_made}) in {root}")
    if made or not only_plan:
        return False
    configs = chosen_configs(grid, pattern)
    if as_json:
        rows = [{"id": None, "state": "absent", **settings(config)} for config in configs]
        typer.echo(json.dumps(rows, indent=1))
    else:
        typer.echo("\n".join(config_lines(grid, configs)))
    return True


def chosen_configs(grid: Grid, pattern: str | None) -> list[RunConfig]:
    """Return the configurations whose architecture matches `pattern`, all for None.

    Run ids cannot match, because they depend on the cohorts, which are not made yet. Raises ConfigError if no architecture
    matches.
    """
    chosen = [config for config in grid.configs if fnmatchcase(config.architecture, pattern or "*")]
    if not chosen:
        fix = "give an architecture; runs have ids when the synthetic cohorts are made"
        raise ConfigError(f"no run matches {pattern!r}", "--only", fix)
    return chosen


def config_lines(grid: Grid, configs: Sequence[RunConfig]) -> list[str]:
    """Return lines of text: the runs of a grid whose synthetic cohorts are not made yet. The runs have no ids yet."""
    cells = [[*name.cells, "to do"] for name in RunName.among([config.settings for config in configs])]
    lines = [f"grid {grid.name}: {len(configs)} runs (they get ids when the cohorts are made)"]
    return [*lines, *aligned(cells), "nothing was run (--dry-run)"]


def settings(config: RunConfig) -> dict[str, Any]:
    """Return a run's settings for JSON: its main registry entries, its seed, and all settings that differ from the defaults."""
    keys = ("architecture", "optimizer", "loss", "uncertainty", "preprocessing", "seed")
    return {**{key: getattr(config, key) for key in keys}, "settings": config.settings}


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the rows of a table (all with equally many cells) as indented lines with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
