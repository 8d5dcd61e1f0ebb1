"""Extensions are found, left out without what they need, and named when their code is broken."""

import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from harmonize.errors import RegistryError
from reports import extensions


def forget() -> None:
    extensions.packages.cache_clear()
    extensions.modules.cache_clear()


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


def names(module: str) -> list[str]:
    return [found.__name__ for found in extensions.modules(module)]


def test_modules_of_one_name_are_found_in_the_order_of_their_extensions(folder: Path) -> None:
    extension(folder, "second", commands="", library="")
    extension(folder, "first", commands="")
    (folder / "no_package.py").write_text("raise ValueError")
    assert names("commands") == ["invented.first.commands", "invented.second.commands"]
    assert names("library") == ["invented.second.library"]
    assert names("sections") == []


def test_an_extension_without_what_it_needs_is_left_out(folder: Path) -> None:
    extension(folder, "first", init='NEEDS = ("second",)', commands="")
    assert names("commands") == []
    extension(folder, "second")
    forget()
    assert names("commands") == ["invented.first.commands"]


def test_an_extension_that_needs_one_that_is_left_out_is_left_out(folder: Path) -> None:
    extension(folder, "first", init='NEEDS = ("second",)', commands="from invented.second import commands")
    extension(folder, "second", init='NEEDS = ("third",)', commands="from invented.third import commands")
    assert names("commands") == []
    extension(folder, "third", commands="")
    forget()
    assert names("commands") == [f"invented.{name}.commands" for name in ("first", "second", "third")]


@pytest.mark.parametrize("needs", ["", 'NEEDS = ("first",)'])
def test_an_installed_package_is_an_extension(
    needs: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extension(folder, "first", commands="")
    extension(tmp_path, "installed", init=needs, commands="")
    point = EntryPoint("any", "installed", extensions.GROUP)
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point] if group == extensions.GROUP else [])
    assert names("commands") == ["invented.first.commands", "installed.commands"]
    (folder / "first").rename(tmp_path / "away")
    forget()
    assert names("commands") == ([] if needs else ["installed.commands"])


@pytest.mark.parametrize("where", ["init", "commands"])
def test_an_extension_with_broken_code_is_named(folder: Path, where: str) -> None:
    extension(folder, "first", **{"commands": "", where: "import no_such_module"})
    with pytest.raises(
        RegistryError, match=r"(?s)cannot be imported: ModuleNotFoundError.*no_such_module.*invented.first"
    ):
        extensions.modules("commands")
