"""Extensions are found, left out without what they need, and named when their code is broken."""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harmonize.errors import RegistryError
from reports import extensions, hooks
from tests.nonempty import nonempty

ADD = "def add(app): ..."


def forget() -> None:
    extensions._needs.cache_clear()
    extensions.modules.cache_clear()
    extensions.refused.clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of extensions that stands for `bench/extensions`, and no installed extensions."""
    root = tmp_path / "invented"
    root.mkdir()
    (root / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(extensions, "FOLDER", "invented")
    monkeypatch.setattr(extensions, "entry_points", lambda group: [])
    forget()
    yield root
    forget()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("invented", "installed")]:
        del sys.modules[name]


def extension(folder: Path, name: str, **files: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(files.pop("init", ""))
    for module, text in files.items():
        (folder / name / f"{module}.py").write_text(text)


def names(hook: type) -> list[str]:
    return [found.__name__ for found in extensions.modules(hook)]


def test_modules_of_one_name_are_found_in_the_order_of_their_extensions(folder: Path) -> None:
    extension(folder, "second", commands=ADD, library='__all__ = ["f"]')
    extension(folder, "first", commands=ADD)
    (folder / "no_package.py").write_text("raise ValueError")
    assert names(hooks.Commands) == ["invented.first.commands", "invented.second.commands"]
    assert names(hooks.Library) == ["invented.second.library"]
    assert names(hooks.Sections) == []


def test_an_extension_without_what_it_needs_is_left_out(folder: Path) -> None:
    extension(folder, "first", init='NEEDS = ("second",)', commands=ADD)
    assert names(hooks.Commands) == []
    extension(folder, "second")
    forget()
    assert names(hooks.Commands) == ["invented.first.commands"]


def test_an_extension_that_needs_one_that_is_left_out_is_left_out(folder: Path) -> None:
    extension(folder, "first", init='NEEDS = ("second",)', commands=f"from invented.second import commands\n{ADD}")
    extension(folder, "second", init='NEEDS = ("third",)', commands=f"from invented.third import commands\n{ADD}")
    assert names(hooks.Commands) == []
    extension(folder, "third", commands=ADD)
    forget()
    assert names(hooks.Commands) == [f"invented.{name}.commands" for name in ("first", "second", "third")]


@pytest.mark.parametrize("needs", ["", 'NEEDS = ("first",)'])
def test_an_installed_package_is_an_extension(
    needs: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension(folder, "first", commands=ADD)
    extension(tmp_path, "installed", init=needs, commands=ADD)
    point = EntryPoint("any", "installed", extensions.GROUP)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point] if group == extensions.GROUP else [])
    assert names(hooks.Commands) == ["invented.first.commands", "installed.commands"]
    (folder / "first").rename(tmp_path / "away")
    forget()
    assert names(hooks.Commands) == ([] if needs else ["installed.commands"])


@pytest.mark.parametrize("where", ["init", "commands"])
def test_an_extension_with_broken_code_is_refused_and_named(folder: Path, where: str) -> None:
    extension(folder, "first", **{"commands": ADD, where: "import no_such_module"})
    extension(folder, "second", commands=ADD)
    assert names(hooks.Commands) == ["invented.second.commands"]
    (error,) = extensions.refused.values()
    assert re.search(r"(?s)cannot be imported: ModuleNotFoundError.*no_such_module.*invented.first", str(error))


def test_a_section_without_a_place_on_the_page_is_refused(folder: Path) -> None:
    text = "from reports.html.section import PlacedSection\nSECTIONS = (PlacedSection(print, 'Other'),)"
    extension(folder, "first", sections=text)
    assert names(hooks.Sections) == []
    (error,) = extensions.refused.values()
    assert "the page has no group 'Other'; name one of Ranking" in error.what


@pytest.mark.parametrize(
    ("hook", "text", "misfit"),
    [
        (hooks.Commands, "", "Commands: the attribute add is missing"),
        (hooks.Commands, "add = 3", "Commands: the attribute add is no function of (app)"),
        (hooks.Scores, "def tables(run, other): ...", "Scores: the attribute tables is no function of (run)"),
        (hooks.Schemas, "SHOWN = ()", "Schemas: the attribute SCHEMAS is missing"),
        (hooks.Schemas, "SCHEMAS = {}\nFLOATS = 'value'", "Schemas: the attribute FLOATS is no tuple"),
    ],
)
def test_an_extension_that_does_not_fit_is_refused_as_a_whole_and_the_others_go_on(
    folder: Path, hook: type, text: str, misfit: str
) -> None:
    module = {hooks.Commands: "commands", hooks.Scores: "scores", hooks.Schemas: "schemas"}[hook]
    extension(folder, "first", **{module: text, "library": "__all__ = []"})
    extension(folder, "second", init='NEEDS = ("first",)', library="__all__ = []")
    extension(folder, "third", library="__all__ = []")
    assert names(hook) == []
    (error,) = extensions.refused.values()
    assert isinstance(error, RegistryError)
    assert f"does not fit the hook {misfit}" in error.what
    assert error.where == f"invented.first.{module}"
    assert names(hooks.Library) == ["invented.third.library"]


def test_all_shipped_extensions_fit() -> None:
    for hook in nonempty([hook for hook in vars(hooks).values() if getattr(hook, "__module__", "") == hooks.__name__]):
        extensions.modules(hook)
    assert not extensions.refused


def test_what_a_module_leaves_out_is_as_in_its_hook(folder: Path) -> None:
    extension(folder, "first", schemas="SCHEMAS = {'mine': ('run_id',)}")
    (schemas,) = extensions.modules(hooks.Schemas)
    assert (schemas.SCHEMAS, schemas.SHOWN, schemas.FLOATS) == ({"mine": ("run_id",)}, (), ())
