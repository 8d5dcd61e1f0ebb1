"""Registry files: of an installed extension, whose broken file stops nothing else, and of a user."""

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.main import app
from bench.config.registry import Registry
from bench.diagnostics.checks import examine
from harmonize.errors import RegistryError
from reports import extensions

Install = Callable[[str, str], None]
OURS = Path(__file__).parents[4] / "registry.yaml"
LOSSES = "losses: {mine: {use: 'bench.training.losses:bce', title: Mine}}"


def forget() -> None:
    extensions._needs.cache_clear()
    extensions.refused.clear()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install extensions that have only a registry file."""
    points: list[EntryPoint] = []
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extensions, "entry_points", lambda group: points)

    def one(name: str, registry: str) -> None:
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("")
        (folder / "registry.yaml").write_text(registry)
        points.append(EntryPoint(name, name, extensions.GROUP))
        forget()

    yield one
    forget()
    for point in points:
        sys.modules.pop(point.value, None)


def test_an_extension_adds_the_entries_of_its_registry_file(install: Install) -> None:
    install("pa", LOSSES)
    registry = Registry.read(OURS)
    entry = registry.find("losses", "mine", "here")
    assert entry.extension == "pa"
    assert entry.identity == {"use": "bench.training.losses:bce", "with": {}, "version": 1}
    assert list(registry.sections["losses"])[-1] == "mine"
    assert not extensions.refused


@pytest.mark.parametrize(
    ("registry", "what"),
    [
        ("3", "must be a mapping"),
        ("losses: [a]", "must be a block of names"),
        ("losses: {a: {uze: b}}", "unknown key 'uze'"),
        ("lossen: {}", "unknown section 'lossen'"),
        ("losses: {a: {use: 'a:b', with: gamma}}", "must be a block of options"),
        ("metrics: {m: {use: 'a:b'}}", "does not state its input"),
        ("weights: {radimagenet: {}}", "file of these starting weights is missing"),
        ("losses: {new: {use: 'a:b'}, bce: {use: 'a:b'}}", "names already in use: losses.bce"),
    ],
)
def test_an_extension_with_a_broken_registry_file_is_refused_and_the_others_go_on(
    install: Install, registry: str, what: str
) -> None:
    install("folder.bad", registry)  # a name with a dot, as those of the extensions in bench/extensions
    install("good", LOSSES)
    entries = Registry.read(OURS)
    assert what in extensions.refused["folder.bad"].what
    assert "folder.bad" not in extensions.packages()
    assert entries.find("losses", "mine", "here").extension == "good"
    assert entries.find("losses", "bce", "here").extension == ""
    assert "new" not in entries.sections["losses"]


def test_two_extensions_cannot_use_the_same_name(install: Install) -> None:
    for name in ("pe", "pd"):
        install(name, LOSSES)
    entry = Registry.read(OURS).find("losses", "mine", "here")
    assert (entry.extension, list(extensions.refused)) == ("pd", ["pe"])  # in the order of names


def test_list_and_check_name_the_extension_of_an_entry_and_refused_extensions(install: Install, tmp_path: Path) -> None:
    install("pf", "lossen: {}")
    install("pg", LOSSES)
    shown = CliRunner().invoke(app, ["list", "losses"])
    assert shown.exit_code == 0
    line = next(line for line in shown.stdout.splitlines() if line.startswith("mine "))
    assert line.split()[-1] == "pg"
    faults = [c for c in examine(None, tmp_path / "none", OURS) if c.level == "fault"]
    assert [c.what for c in faults] == ["extension pf"]
    assert "lossen" in faults[0].found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("include: other.yaml\n", "cannot include"),
        ("include: shipped\nlosses: {bce: {use: 'a:b'}}\n", "names already in use: losses.bce"),
        ("architectures: {a: {timm: resnet18, params: many}}\n", "params must be a number"),
        ("losses: {a: {timm: resnet18}}\n", "unknown key 'timm'"),
    ],
)
def test_a_custom_registry_cannot_replace_entries(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"schema: 1\n{text}")
    with pytest.raises(RegistryError) as error:
        Registry.read(path)
    assert what in error.value.what


def test_a_custom_registry_has_the_shipped_entries_and_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema: 1\ninclude: shipped\narchitectures: {small: {timm: resnet10t.c3_in1k}}\n")
    mine, shipped = Registry.read(path).sections, Registry.read(OURS).sections
    assert [*mine["architectures"]] == [*shipped["architectures"], "small"]
    assert mine["losses"] == shipped["losses"]
