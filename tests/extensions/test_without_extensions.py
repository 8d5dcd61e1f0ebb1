"""The program lives without each of its extensions, and without all of them."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in (ROOT / "bench" / "extensions").glob("*/__init__.py"))
# tests of documents are left out: documents name commands of extensions
CORE_TESTS = ("tests/unit", "tests/properties", "tests/end_to_end", "--ignore-glob=*/unit/benchmarks/*", "-m", "not grid and not slow and not browser")  # fmt: skip


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


@pytest.mark.thorough
@pytest.mark.parametrize("deleted", [*([name] for name in NAMES), NAMES], ids="+".join)
def test_without_an_extension_the_other_tests_pass_and_a_grid_writes_its_page(
    deleted: list[str], tmp_path: Path
) -> None:
    assert NAMES
    for folder in ("bench", "reports", "harmonize", "tests", "grids", "docs", "scripts", "benchmarks"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.*"), ROOT / ".importlinter"]:
        if file.is_file():
            shutil.copy(file, tmp_path)
    for name in deleted:
        shutil.rmtree(tmp_path / "bench" / "extensions" / name)
        shutil.rmtree(tmp_path / "tests" / "extensions" / name, ignore_errors=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}

    def start(*words: str) -> str:
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    start(sys.executable, "-m", "bench.cli", "run", "--grid", "tiny", "--quiet")
    assert (tmp_path / "runs" / "report" / "tiny" / "leaderboard.html").stat().st_size > 100_000
    assert " passed" in start(str(Path(sys.executable).with_name("pytest")), "-q", "-p", "no:randomly", *CORE_TESTS)
