"""Read the request of `bench reproduce`, and check it before torch is imported."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.manifest import Manifest, planned
from bench.planning.planned_grid import PlannedRun
from bench.planning.restore_grid import grid_of
from bench.planning.run import RunSpec, read_run
from bench.planning.stored_names import find_run
from bench.results.read_predictions import unfinished
from bench.store.store import Store
from bench.study.request import check_foreign
from harmonize.errors import ConfigError, StoreError


@dataclass(frozen=True)
class ReproductionRequest:
    """A finished run that will be trained again, with the grid that planned it."""

    stored: RunSpec
    manifest: Manifest
    run: PlannedRun  # the run's row in the manifest
    grid: Grid  # a grid of only this run
    registry: Registry

    @classmethod
    def read(cls, store: Store, prefix: str, grid: str | None, data: Path | None, registry: Registry) -> Self:
        """Find the run, and check that it can be trained again: on `data`, or on new synthetic images if `data` is None.

        Raises StoreError for a run that is derived, unfinished or from a bundle. Raises ConfigError when data are missing,
        or when the registry is not the registry of the run.
        """
        run_id = find_run(store, prefix)
        stored = read_run(store, run_id)
        manifest, run = planned(store, run_id, grid)
        # A rescored grid has other scoring settings, so the scores of the original grid are compared.
        if origin := manifest.scored_from:
            manifest, run = planned(store, run_id, str(origin))
        if manifest.of_bundles or (reason := unfinished(manifest, run)):
            why = "the run comes from a bundle, which has no images" if manifest.of_bundles else reason
            raise StoreError(f"run {run_id}: {why}", str(store.run_dir(run_id)), "reproduce it where it was trained")
        if data is None and not manifest.phantom:
            raise ConfigError("the run used real images", "bench reproduce", "name the data with --data")
        restored = grid_of(manifest, [run])
        check_foreign(restored, registry)
        return cls(stored, manifest, run, restored, registry)
