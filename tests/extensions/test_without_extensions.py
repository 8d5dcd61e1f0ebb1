"""The program lives without each of its extensions, without several, and without all of them."""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in (ROOT / "bench" / "extensions").glob("*/__init__.py"))
SEVERAL = [random.Random(seed).sample(NAMES, number) for seed, number in enumerate((2, 2, 2, 2, 2, 2, 3, 3))]
# tests of documents are left out: documents name commands of extensions
CORE_TESTS = ("tests/unit", "tests/properties", "tests/end_to_end", "tests/contracts")
PYTEST = str(Path(sys.executable).with_name("pytest"))
_OPTIONS = (
    *("-q", "-p", "no:randomly"),
    *("--ignore-glob=*/unit/benchmarks/*", "-m", "not grid and not slow and not browser"),
)
_ASKS = re.compile(r"from reports import extensions|import .*\bscore_run\b|importorskip\(\"(bench|tests)\.extensions\.")
ASSEMBLED = {
    "test_cli.py",
    "test_start.py",
    "test_registry.py",
    "test_grid.py",
    "test_open_grid.py",
    "test_plan.py",
    "test_page.py",
}


def test_no_other_test_needs_an_extension_to_be_collected() -> None:
    """Outside this folder, a test asks for an extension by `pytest.importorskip`."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if "extensions" not in path.parts]
    assert len(files) > 300
    unguarded = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        and any(name.startswith(("bench.extensions.", "tests.extensions.")) for name in _imported_names(node))
    ]
    assert unguarded == []


def _imported_names(node: ast.Import | ast.ImportFrom) -> list[str]:
    names = [alias.name for alias in node.names]
    return names if isinstance(node, ast.Import) else [f"{node.module}.{name}" for name in names]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, from which tests move extensions away and back, with a store in which `tiny` is finished."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("bench", "reports", "harmonize", "tests", "grids", "docs", "scripts", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("kernels-*"))
    for file in [*ROOT.glob("*.*"), ROOT / ".importlinter"]:
        if file.is_file():
            shutil.copy(file, folder)
    _start(folder, "-m", "bench.cli", "run", "--grid", "tiny", "--quiet")
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize("deleted", [*([name] for name in NAMES), *SEVERAL, NAMES], ids="+".join)
def test_without_an_extension_a_grid_writes_its_page_and_the_other_tests_pass(deleted: list[str], copy: Path) -> None:
    assert NAMES
    check(copy, deleted)


def check(copy: Path, deleted: list[str]) -> None:
    """Run a grid and the tests of the core without some extensions."""
    places = [copy / folder / name for folder in ("bench/extensions", "tests/extensions") for name in deleted]
    away = {place: copy / "away" / place.relative_to(copy) for place in places if place.exists()}
    for place, to in away.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        place.rename(to)
    try:
        for made_from_logits in ("scores", "report", "grids"):
            shutil.rmtree(copy / "runs" / made_from_logits, ignore_errors=True)
        _start(copy, "-m", "bench.cli", "run", "--grid", "tiny", "--quiet")
        assert (copy / "runs" / "report" / "tiny" / "leaderboard.html").stat().st_size > 100_000
        assert " passed" in _start(copy, PYTEST, *_OPTIONS, *_tests(deleted))
    finally:
        for place, to in away.items():
            to.rename(place)


def _tests(deleted: list[str]) -> list[str]:
    """Return the tests of the core: all if all extensions are deleted, otherwise those that may notice that one is missing.

    An extension takes part in the program by its modules with fixed names, and each of them is optional. All tests of the core pass
    with all of these modules and without any. So one missing extension can change the result of a test only if others are there: if
    the test asks for some of them (`importorskip`, `extensions.modules`), or looks at what all of them make together: commands, a
    registry, a plan, scores of a run (`score_run`), a page.
    """
    if deleted == NAMES:
        return [*CORE_TESTS]
    files = [path for folder in CORE_TESTS for path in sorted((ROOT / folder).rglob("test_*.py"))]
    chosen = [path for path in files if path.name in ASSEMBLED or _ASKS.search(path.read_text(encoding="utf-8"))]
    assert {path.name for path in chosen} > ASSEMBLED
    return [str(path.relative_to(ROOT)) for path in chosen]


def _start(copy: Path, *words: str) -> str:
    """Run a program of Python, of the copy alone, and return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run(
        [sys.executable, *words], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout
