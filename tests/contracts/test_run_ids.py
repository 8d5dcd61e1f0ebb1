"""Run ids are promises: the runs of a shipped grid keep their ids, so that a store need not be trained again.

`run_ids.json` holds the ids of all shipped grids for a training cohort of id 000000000000.
"""

import json
from pathlib import Path

import pytest

from bench.config.grid import Grid
from bench.config.registry import Registry
from bench.planning.run import RunSpec

RUN_IDS: dict[str, list[str]] = json.loads((Path(__file__).parent / "run_ids.json").read_text())
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", RUN_IDS)
def test_the_runs_of_a_shipped_grid_keep_their_ids(name: str) -> None:
    registry = Registry.read(ROOT / "registry.yaml")
    configs = Grid.read(str(ROOT / "grids" / f"{name}.yaml"), registry).configs
    assert [RunSpec.of(config, registry, "0" * 12, None).id for config in configs] == RUN_IDS[name]


def test_the_code_of_every_registered_name_can_be_loaded() -> None:
    for entry in Registry.read(ROOT / "registry.yaml"):
        if ":" in entry.use:  # a dataset names a module
            entry.load()
