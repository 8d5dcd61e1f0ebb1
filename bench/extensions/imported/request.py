"""Read the request of `bench evaluate`, and check all that can be checked without reading images.

This module imports neither pandas nor torch, so that a wrong request is refused within a second or two.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.config.grid import Grid
from bench.config.grid_file import shipped_grids
from bench.config.registry import Registry
from bench.extensions.imported.declaration import ModelDeclaration
from bench.store.store import Store
from bench.study.request import check_data
from harmonize.errors import ConfigError


@dataclass(frozen=True)
class EvaluationRequest:
    """A request of `bench evaluate`, read and checked before torch is imported."""

    declared: ModelDeclaration
    grid: Grid
    registry: Registry
    model_name: str = ""  # name of the file of the model, for the command line that repeats the request

    @classmethod
    def read(
        cls, model: Path, grid_name: str, registry_file: Path | None, data: Path | None, store: Path | None = None
    ) -> Self:
        """Read the model, registry and grid, and check that the grid can be evaluated on the given data, which may be None.

        `grid_name`: a grid file, a shipped grid, or a grid of the folder `store`.
        `model`: path of a model.yaml. Raises ConfigError, RegistryError or DatasetError for an invalid request or a grid whose runs leave out a hospital.
        """
        declared, registry = ModelDeclaration.read(model), Registry.read(registry_file)
        grid = _stored(store, grid_name) or Grid.read(grid_name, registry)
        left_out = {config.leave_out for config in grid.configs}
        if any(left_out):
            what = f"runs of {grid.name} leave out a hospital, so no model trained elsewhere can be compared with them"
            fix = "evaluate the model with a grid whose runs all train on every hospital of train_on"
            key = "leave_one_out" if len(left_out) > 1 else "base.leave_out"
            raise ConfigError(what, grid.location(key), fix)
        check_data(grid, data)
        return cls(declared, grid, registry, model.name)


def _stored(store: Path | None, name: str) -> Grid | None:
    """Return a grid of a store, as its manifest has it; None for a file, and without a stored grid that has trained runs."""
    if store is None or Path(name).is_file() or name in shipped_grids() or not store.is_dir():
        return None
    opened = Store.open(store, create=False)
    if not opened.has_grid(name):
        return None
    from bench.planning.manifest import read_manifest  # imports pandas, which takes a second
    from bench.planning.restore_grid import grid_of

    manifest = read_manifest(opened, name)
    return grid_of(manifest, manifest.runs) if manifest.runs else None
