"""Plug-ins: the entries of installed packages; a broken plug-in stops only what needs it."""

import sys
from collections.abc import Callable, Iterator
from importlib import invalidate_caches
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli.main import app
from bench.config.registry import Registry
from bench.diagnostics.checks import examine
from harmonize.errors import ConfigError, RegistryError

Install = Callable[..., None]
OURS = Path(__file__).parents[4] / "registry.yaml"
LOSS = "{use: 'bench.training.losses:bce', title: Mine}"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install packages as pip does: a folder of code, and a dist-info folder with the entry point."""
    monkeypatch.syspath_prepend(str(tmp_path))
    installed: set[str] = set()

    def one(name: str, point: str, **files: str) -> None:
        facts = tmp_path / f"{name}-1.0.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (facts / "entry_points.txt").write_text(f"[unseen_cxr.registry]\n{name} = {point}\n")
        (tmp_path / name).mkdir()
        for file, text in ({"__init__": ""} | files).items():
            (tmp_path / name / (f"{file}.py" if "registry" not in file else f"{file}.yaml")).write_text(text)
        installed.add(name)
        invalidate_caches()

    yield one
    for module in [m for m in sys.modules if m.partition(".")[0] in installed]:
        del sys.modules[module]


def test_a_yaml_file_of_a_package_adds_entries_without_importing_it(install: Install) -> None:
    install("pa", "pa:registry.yaml", __init__="raise RuntimeError", registry=f"schema: 1\nlosses: {{mine: {LOSS}}}")
    registry = Registry.read(OURS)
    entry = registry.find("losses", "mine", "here")
    assert entry.plugin == "pa"
    assert entry.identity == {"use": "bench.training.losses:bce", "with": {}, "version": 1}
    assert list(registry.sections["losses"])[-1] == "mine"
    assert registry.refused == {}


@pytest.mark.parametrize("code", ["ENTRIES = {}", "def ENTRIES():\n    return {}"])
def test_a_mapping_or_a_function_of_a_package_adds_entries(install: Install, code: str) -> None:
    content = "{'losses': {'mine': {'use': 'bench.training.losses:bce'}}}"
    install("pb", "pb.entries:ENTRIES", entries=code.replace("{}", content))
    registry = Registry.read(OURS)
    assert registry.refused == {}
    assert registry.find("losses", "mine", "here").plugin == "pb"


@pytest.mark.parametrize(
    ("point", "files", "what"),
    [
        ("bad:registry.yaml", {}, "cannot read the file"),
        ("absent_package:registry.yaml", {}, "no package named 'absent_package'"),
        ("bad.code:ENTRIES", {"code": "import no_such_module"}, "No module named 'no_such_module'"),
        ("bad.code:ENTRIES", {"code": "raise SystemError('boom')"}, "boom"),
        ("bad.code:OTHER", {"code": "ENTRIES = {}"}, "OTHER"),
        ("bad.code:ENTRIES", {"code": "ENTRIES = 3"}, "must be a mapping"),
        ("bad:registry.yaml", {"registry": "losses: [a]"}, "must be a block of names"),
        ("bad:registry.yaml", {"registry": "losses: {a: {uze: b}}"}, "unknown key 'uze'"),
        ("bad:registry.yaml", {"registry": "lossen: {}"}, "unknown section 'lossen'"),
        ("bad:registry.yaml", {"registry": "losses: {a: {use: 'a:b', with: gamma}}"}, "must be a block of options"),
        ("bad:registry.yaml", {"registry": "metrics: {m: {use: 'a:b'}}"}, "does not state its input"),
        ("bad:registry.yaml", {"registry": "datasets: {m: {use: 'a.b'}}"}, "cannot add datasets"),
        ("bad:registry.yaml", {"registry": "weights: {radimagenet: {}}"}, "file of these starting weights is missing"),
    ],
)
def test_a_broken_plug_in_is_reported_and_does_not_affect_others(
    install: Install, point: str, files: dict[str, str], what: str
) -> None:
    install("bad", point, **files)
    install("good", "good:registry.yaml", registry=f"losses: {{mine: {LOSS}}}")
    registry = Registry.read(OURS)
    assert list(registry.refused) == ["bad"]
    assert what in registry.refused["bad"].what
    assert "plug-in bad" in registry.refused["bad"].where
    assert registry.find("losses", "mine", "here").plugin == "good"
    assert registry.find("losses", "bce", "here").plugin == ""
    with pytest.raises(ConfigError, match="plug-in bad was not read"):
        registry.find("losses", "theirs", "grid.yaml")


def test_a_plug_in_cannot_reuse_a_name_and_the_name_becomes_ambiguous(install: Install) -> None:
    install("pc", "pc:registry.yaml", registry=f"losses: {{bce: {LOSS}, new: {LOSS}}}")
    registry = Registry.read(OURS)
    assert "losses.bce" in registry.refused["pc"].what
    assert "new" not in registry.sections["losses"]
    with pytest.raises(RegistryError, match=r"in use: losses\.bce"):
        registry.find("losses", "bce", "grid.yaml")
    assert registry.find("losses", "focal", "grid.yaml").plugin == ""


def test_two_plug_ins_cannot_use_the_same_name(install: Install) -> None:
    for name in ("pe", "pd"):
        install(name, f"{name}:registry.yaml", registry=f"losses: {{mine: {LOSS}}}")
    registry = Registry.read(OURS)
    assert list(registry.refused) == ["pe"]  # in the order of names, however they were installed
    with pytest.raises(RegistryError, match=r"losses\.mine"):
        registry.find("losses", "mine", "grid.yaml")


def test_list_and_check_report_refused_plug_ins_and_list_added_entries(install: Install, tmp_path: Path) -> None:
    install("pf", "pf:registry.yaml", registry="lossen: {}")
    install("pg", "pg:registry.yaml", registry=f"losses: {{mine: {LOSS}}}")
    shown = CliRunner().invoke(app, ["list", "losses"])
    assert shown.exit_code == 0
    assert "unknown section 'lossen'" in shown.stderr
    line = next(line for line in shown.stdout.splitlines() if line.startswith("mine "))
    assert line.split()[-1] == "pg"
    faults = [c for c in examine(None, tmp_path / "none", OURS) if c.level == "fault"]
    assert [c.what for c in faults] == ["plug-in pf"]
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
