"""The lines of a dry run tell all runs of a grid apart, with the settings that differ and no others."""

import pytest

from bench.cli.plan_text import config_lines, settings
from bench.config.grid import Grid
from bench.config.registry import Registry

REGISTRY = Registry.read()


def test_only_settings_that_differ_are_shown_and_defaults_are_empty() -> None:
    grid = Grid.read("main-study-optimizers", REGISTRY)
    lines = config_lines(grid, grid.configs)
    assert lines[1].split() == ["densenet121", "adamw", "epochs", "10", "lr_scale", "0.3333", "to", "do"]
    assert lines[2].split() == ["densenet121", "adamw", "epochs", "10", "to", "do"]
    assert len(set(lines)) == len(lines)
    demo = Grid.read("demo", REGISTRY)
    rows = [line.split()[:3] for line in config_lines(demo, demo.configs)[1:5]]
    assert rows == [[name, "seed", str(seed)] for name in ("seresnet_tiny", "regnety_tiny") for seed in (0, 1)]


def test_the_json_rows_have_every_setting_that_is_not_a_default() -> None:
    rows = [settings(config) for config in Grid.read("main-study-optimizers", REGISTRY).configs]
    assert rows[0]["settings"]["schedule.lr_scale"] == pytest.approx(1 / 3)
    assert "schedule.lr_scale" not in rows[1]["settings"]
