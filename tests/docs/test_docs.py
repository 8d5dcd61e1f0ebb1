"""The documents say what the program does: commands exist, blocks can be read, nothing is left unmentioned."""

import ast
import configparser
import re
from pathlib import Path

import pytest
import typer.main
import yaml

import harmonize.errors
from bench.cli.main import app
from bench.config.grid import Grid
from bench.config.registry import SECTIONS, Registry
from bench.config.run_config import RunConfig, Schedule
from docs import column_reference
from harmonize.cohorts.specs import read_data
from reports.schemas.tables import SCHEMAS
from tests.nonempty import nonempty

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = typer.main.get_command(app)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def named_commands() -> list[tuple[str, list[str]]]:
    found = []
    for path in DOCUMENTS:
        for block in [*blocks(path, "bash"), *blocks(path, "text")]:
            for line in block.splitlines():
                match = re.search(r"(?:^|[ /])bench ([a-z].*?)(?:\s+#.*)?$", line)
                if match:
                    found.append((path.name, match[1].split()))
    return found


@pytest.mark.parametrize(("document", "words"), named_commands())
def test_every_command_in_the_documents_is_understood(document: str, words: list[str]) -> None:
    command = COMMANDS
    while hasattr(command, "commands"):
        command = command.commands[words[0]]
        words = words[1:]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    used = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert used <= known, f"{document}: {used - known}"


def test_every_command_is_in_the_documents() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS)
    for name, command in nonempty(COMMANDS.commands.items()):  # type: ignore[attr-defined]
        for words in [f"{name} {sub}" for sub in getattr(command, "commands", {})] or [name]:
            assert f"bench {words}" in text


def test_the_reference_of_columns_describes_every_table() -> None:
    described = column_reference.described_tables()
    assert described.keys() == SCHEMAS.keys()
    assert all(about for about, _ in described.values())
    assert described["cohorts"][1]["role"] == "internal or external"


def grid_blocks() -> list[tuple[str, str]]:
    pages = [p for p in DOCUMENTS if p.parent.name != "dev"]  # test_contributing.py reads the grid of docs/dev/add.md
    return [(p.name, b) for p in pages for b in blocks(p, "yaml") if "sweeps:" in b]


@pytest.mark.parametrize(("document", "text"), grid_blocks())
def test_every_grid_in_the_documents_can_be_read(document: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(re.sub(r"expect: \{runs: \d+", "expect: {runs: 0", text))
    assert len(Grid.read(str(path), Registry.read()).configs) > 1, document


def test_the_data_file_of_the_documents_can_be_read(tmp_path: Path) -> None:
    data, mapping = (b for b in blocks(ROOT / "docs" / "real-data.md", "yaml"))
    (tmp_path / "data.yaml").write_text(data)
    (tmp_path / "covid.yaml").write_text(mapping)
    specs = read_data(tmp_path / "data.yaml")
    assert list(specs) == ["nih-mini", "covid-real"]
    grid = Grid.read("real-mini", Registry.read())
    assert {grid.train_on, *grid.evaluate_on} == set(specs)
    assert set(yaml.safe_load(mapping)["findings"]) == {"Pneumonia", "No Finding"}


def test_every_field_of_a_configuration_is_documented() -> None:
    text = (ROOT / "docs" / "grids.md").read_text()
    reserved = {"label_source", "head_weights", "cohort", "split", "schedule", "train_on"}
    for name in {*RunConfig.__dataclass_fields__, *Schedule.__dataclass_fields__} - reserved:
        assert f"`{name}`" in text, name


def test_every_metric_is_documented_with_its_formula() -> None:
    text = (ROOT / "docs" / "scores.md").read_text()
    for name in nonempty(Registry.read().sections["metrics"]):
        assert re.search(rf"^\|[^|]*`{name}`[^|]*\| ?[^|]*\w", text, re.MULTILINE), name


@pytest.mark.parametrize("section", ["losses", "uncertainty"])
def test_every_loss_and_policy_is_documented(section: str) -> None:
    text = (ROOT / "docs" / "grids.md").read_text()
    for name in nonempty(Registry.read().sections[section]):
        assert f"`{name}`" in text, name


def test_every_training_algorithm_is_documented() -> None:
    text = (ROOT / "docs" / "algorithms.md").read_text()
    for name, entry in nonempty(Registry.read().sections["algorithms"].items()):
        assert f"| `{name}` |" in text
        assert all(f"`{option}`" in text for option in entry.options), name


def test_every_error_and_registry_section_is_in_the_documents() -> None:
    text = "".join(p.read_text() for p in [*DOCUMENTS, ROOT / "ARCHITECTURE.md", ROOT / "registry.yaml"])
    for name in vars(harmonize.errors):
        if name.endswith("Error"):
            assert name in text
    for section in SECTIONS:
        assert section in text


def test_the_picture_of_the_street_has_the_layers_of_import_linter() -> None:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    layers = [line.split(" | ") for line in rules["importlinter:contract:bench"]["layers"].split("\n") if line]
    picture = (ROOT / "ARCHITECTURE.md").read_text().split("```")[1].split(" reports ")[0]
    assert [line[13:40].split() for line in picture.splitlines() if line] == layers


def test_each_rule_is_where_contributing_says() -> None:
    rows = re.findall(r"^\| .* \| `(\S+\.py)`: `(\w+)` \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    for file, name in nonempty(rows):
        module = ast.parse((ROOT / file).read_text())
        targets = [t for n in module.body for t in (getattr(n, "targets", None) or [getattr(n, "target", n)])]
        assert name in {getattr(t, "name", getattr(t, "id", "")) for t in targets}, (file, name)


def test_the_architecture_can_be_read_in_ten_minutes() -> None:
    assert len((ROOT / "ARCHITECTURE.md").read_text().split()) < 1500


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)", document.read_text())
    assert [target for target in targets if not (document.parent / target).exists()] == []
