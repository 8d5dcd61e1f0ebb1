"""docs/dev/predecessors.md has a line for every point of the earlier systems, and each names what exists."""

import re
from pathlib import Path

import pytest
import typer.main

from bench.cli.main import app
from bench.config.grid import Grid
from bench.config.grid_file import shipped_grids
from bench.config.registry import Registry

ROOT = Path(__file__).parents[2]
RECIPE_VALUES = "`pytest tests/unit/bench/config/test_recipe_values.py -k"  # which the document writes as `-k ROW`
TEXT = (ROOT / "docs" / "dev" / "predecessors.md").read_text().replace("`-k", RECIPE_VALUES)
LINES = re.findall(r"^\| ([XVPMT]\d+(?: to [XVPMT]\d+)?) \| (.+?) \| (.+?) \|(.*)\|$", TEXT, re.MULTILINE)
PROGRAMS = ("bench", "pytest", "python", "tox", "git")
COUNTS = {"X": 52, "V": 35, "P": 22, "M": 31, "T": 22}


def test_every_point_has_one_line_in_order() -> None:
    points = []
    for first, _, last in (line[0].partition(" to ") for line in LINES):
        points += [f"{first[0]}{number}" for number in range(int(first[1:]), int((last or first)[1:]) + 1)]
    assert points == [f"{letter}{i}" for letter, n in COUNTS.items() for i in range(1, n + 1)]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0])
def test_a_line_says_how_it_stands_and_what_runs_is_shown(line: tuple[str, str, str, str]) -> None:
    _, _, state, shown = line
    assert re.search(r"\b(yes|not adopted)\b", state)
    assert "not adopted" not in state or ": " in state or "," in state  # it says why
    if not state.startswith("not adopted"):
        assert re.search(rf"`(?:{'|'.join(PROGRAMS)})\b", shown), "name the command that shows it"


def shown_by() -> list[str]:
    return sorted({name for line in LINES for name in re.findall(r"`([^`]+)`", line[3])})


@pytest.mark.parametrize("name", shown_by())
def test_what_a_line_is_shown_by_exists(name: str) -> None:
    program, *words = name.split()
    if program == "pytest":
        path, *chosen = words
        tests = (ROOT / path).read_text()
        assert not chosen or (chosen[0] == "-k" and re.search(chosen[1], tests)), "no test of that name"
        return
    if program in ("tox", "git"):
        assert not words or words[0] in ("-e", "check-ignore")
        return
    if program != "bench":
        assert (ROOT / (words[0] if program == "python" else name)).exists()
        return
    command = typer.main.get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    if "--grid" in words:
        assert words[words.index("--grid") + 1] in shipped_grids()


RECIPES = ("main-study", "xand-ray", "chexvision", "chexpert-poc", "chexnet")


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_has_published_numbers_and_a_twin_in_small(recipe: str) -> None:
    registry = Registry.read()
    grid, twin = (Grid.read(name, registry) for name in (recipe, f"{recipe}-smoke"))
    assert grid.references
    assert twin.references == grid.references
    assert (twin.train_on, twin.evaluate_on, twin.tta) == (grid.train_on, grid.evaluate_on, grid.tta)
    assert f"bench run --grid {recipe} " in TEXT
    kept = ("space", "task", "heads", "optimizer", "loss", "uncertainty", "blank", "augmentation")
    for name in kept:
        assert {getattr(c, name) for c in twin.configs} <= {getattr(c, name) for c in grid.configs}, name


def test_what_is_ours_is_marked_in_every_recipe() -> None:
    for recipe in RECIPES:
        text = (ROOT / "grids" / f"{recipe}.yaml").read_text()
        assert "ours" in text, recipe
