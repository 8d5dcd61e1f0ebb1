"""Names of runs hold the settings that vary among the runs shown, and no others."""

from dataclasses import asdict
from typing import Any

import pytest

from bench.cli.progress_bars import TerminalDisplay
from bench.config.grid import Grid
from bench.config.grid_file import shipped_grids
from bench.config.registry import Registry
from bench.config.run_config import flat
from bench.config.run_names import RunName

REGISTRY = Registry.read()
BASE = {"architecture": "densenet121", "optimizer": "adamw", "loss": "bce"}


def names(*settings: dict[str, Any]) -> list[str]:
    """Return the names of runs that differ from a base configuration in these settings."""
    return [str(name) for name in RunName.among([{**BASE, **own} for own in settings])]


@pytest.mark.parametrize("grid", shipped_grids())
def test_runs_of_a_shipped_grid_have_different_names_with_and_without_defaults(grid: str) -> None:
    configs = Grid.read(grid, REGISTRY).configs
    own = RunName.among([config.settings for config in configs])
    assert len({tuple(name.cells) for name in own}) == len({str(name) for name in own}) == len(configs)
    assert own == RunName.among([flat(asdict(config)) for config in configs])


def test_a_setting_that_all_runs_share_is_not_in_the_name_and_neither_is_a_default() -> None:
    assert names({"loss": "focal", "augmentation": "none"}, {"loss": "focal", "augmentation": "flip"}) == [
        "densenet121",
        "densenet121 · flip",
    ]
    assert names({"loss": "focal", "seed": 3}) == ["densenet121"]


def test_a_name_has_a_seed_only_where_seeds_vary() -> None:
    assert names({"seed": 3}, {"seed": 3, "loss": "focal"}) == ["densenet121 · bce", "densenet121 · focal"]
    assert names({}, {"seed": 1}) == ["densenet121 seed 0", "densenet121 seed 1"]
    assert names({}, {"seed": 1, "loss": "focal"}) == ["densenet121 · bce · seed 0", "densenet121 · focal · seed 1"]
    assert names({"seed": 3}) == ["densenet121"]


def test_members_without_varying_seeds_are_joined_by_their_recipes() -> None:
    assert RunName.joined([RunName("densenet121", {"loss": "focal"}), RunName("resnet50", {})]) == (
        "densenet121 · focal; resnet50"
    )


def test_a_name_has_the_hospital_that_is_left_out_before_the_seed() -> None:
    runs = RunName.among([{**BASE, "leave_out": name, "seed": seed} for name in ("mimic", "nih") for seed in (0, 1)])
    assert str(runs[0]) == "densenet121 · without mimic · seed 0"
    assert (runs[0].settings_without_seed, runs[0].recipe) == ("without mimic", "densenet121")
    assert RunName.joined(runs[1:]) == "densenet121 · without mimic · seed 1; densenet121 · without nih · seeds 0, 1"


def test_numbers_that_differ_after_four_digits_stay_different() -> None:
    first, second = names({"schedule.lr": 0.123451}, {"schedule.lr": 0.123452})
    assert (first, second) == ("densenet121 · lr 0.123451", "densenet121 · lr 0.123452")


def test_words_that_need_their_block_keep_it_and_a_switch_needs_no_value() -> None:
    varied = {
        "limit.hours": 2.0,
        "split.test": 0.2,
        "schedule.kind": "plateau",
        "schedule.audit": True,
        "cohort.limit": 500,
    }
    (_, name) = names({}, varied)
    parts = ["split test 0.2", "hours 2", "schedule plateau", "audit", "patients 500"]
    assert set(name.split(" · ")) == {"densenet121", *parts}


def test_titles_replace_names_of_registry_entries() -> None:
    titles = [{"architecture": "DenseNet-121", "optimizer": title} for title in ("AdamW", "SAM")]
    first, second = RunName.among([{**BASE, "optimizer": name} for name in ("adamw", "sam")], titles)
    assert (str(first), second.recipe) == ("DenseNet-121 · AdamW", "DenseNet-121 · SAM")


def test_a_bar_shows_the_name_and_a_narrow_line_shows_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    display = TerminalDisplay()
    name = "efficientnet_lite0 · imagenet · focal · seed 1"
    display.run_progress("3fa94c1e02bd", name, "epoch 3/10, loss 0.41", 3, 10)
    display.run_progress("81c24c1e02bd/attention", "resnet50 seed 0", "attention", 3, 10)
    shown = [str(task.description) for task in display.bars.tasks]
    assert shown[0].startswith("…")
    assert shown[0].endswith("· focal · seed 1  epoch 3/10, loss 0.41")
    assert shown[1] == "resnet50 seed 0/attention  attention"
    assert max(map(len, shown)) <= 50
