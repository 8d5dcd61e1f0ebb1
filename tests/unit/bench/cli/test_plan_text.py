"""The lines of a dry run tell all runs of a grid apart, with the settings that differ and no others."""

import pytest

from bench.cli.plan_text import distinct_names, settings
from bench.config.grid import Grid
from bench.config.grid_file import shipped_grids
from bench.config.registry import Registry

REGISTRY = Registry.read()


@pytest.mark.parametrize("name", shipped_grids())
def test_no_two_runs_of_a_shipped_grid_have_the_same_cells(name: str) -> None:
    rows = distinct_names(Grid.read(name, REGISTRY).configs)
    assert len(set(map(tuple, rows))) == len(rows)


def test_only_settings_that_differ_are_shown_and_defaults_are_empty() -> None:
    rows = distinct_names(Grid.read("main-study-optimizers", REGISTRY).configs)
    first, default, *_ = rows
    assert first[0] == default[0] == "densenet121"
    assert "lr_scale 0.3333" in first
    assert not any("lr_scale" in cell for cell in default)
    assert not any("imagenet_224" in cell for row in rows for cell in row)
    demo = distinct_names(Grid.read("demo", REGISTRY).configs)
    assert demo == [[name, f"seed {seed}"] for name in ("seresnet_tiny", "regnety_002") for seed in (0, 1)]


def test_the_json_rows_have_every_setting_that_is_not_a_default() -> None:
    rows = [settings(config) for config in Grid.read("main-study-optimizers", REGISTRY).configs]
    assert rows[0]["settings"]["schedule.lr_scale"] == pytest.approx(1 / 3)
    assert "schedule.lr_scale" not in rows[1]["settings"]
