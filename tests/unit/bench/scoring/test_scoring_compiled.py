import ast
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scoring.bootstrap.compiled import PACKAGE, compiled, kernel_files, writable_folder
from tests.nonempty import nonempty

KERNEL = """
import sys
from bench.scoring.bootstrap.compiled import compiled, kernel_folder
from bench.scoring.bootstrap.callee import step

@compiled
def result(x: float) -> float:
    return step(x)

print(result(3.0), kernel_folder(), sum(result.stats.cache_hits.values()))
"""
CALLEE = """
from bench.scoring.bootstrap.compiled import compiled

@compiled
def step(x: float) -> float:
    return x {sign} 2.0
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package with only `compiled.py` and a function that calls a function of another file."""
    for name in (
        "__init__.py",
        "scoring/__init__.py",
        "scoring/bootstrap/__init__.py",
        "scoring/bootstrap/compiled.py",
    ):
        path = tmp_path / "bench" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, path)
    folder = tmp_path / "bench" / "scoring" / "bootstrap"
    (folder / "kernel.py").write_text(KERNEL)
    write_callee(tmp_path, "*")
    return tmp_path


def write_callee(package: Path, sign: str) -> None:
    """Write the called function. File size and time stamp are equal for each sign, as in a reproducible wheel."""
    path = package / "bench" / "scoring" / "bootstrap" / "callee.py"
    path.write_text(CALLEE.format(sign=sign))
    os.utime(path, (1e9, 1e9))


def call(package: Path, **environment: str) -> tuple[float, str, int]:
    """Call the function in a new process; return its result, the folder of its machine code, and how many functions came from it."""
    code = [sys.executable, "-B", "-m", "bench.scoring.bootstrap.kernel"]
    own = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    settings = {"PYTHONPATH": str(package), "PYTHONPYCACHEPREFIX": str(package / "bytecode")}
    done = subprocess.run(
        code, cwd=package, env=own | settings | environment, capture_output=True, text=True, check=True
    )
    value, folder, hits = done.stdout.split()
    return float(value), folder, int(hits)


@pytest.mark.slow
def test_an_edit_of_a_called_function_is_noticed_at_the_same_file_size_and_time_stamp(package: Path) -> None:
    """The choice of the folder with machine code."""
    first, folder, _ = call(package)
    assert first == 6.0
    write_callee(package, "+")
    edited, other, _ = call(package)
    assert edited == 5.0
    assert other != folder
    write_callee(package, "*")
    assert call(package) == (6.0, folder, 1), "the machine code of the first version was not used again"


def test_machine_code_of_other_versions_is_removed_after_a_week_without_use(tmp_path: Path) -> None:
    old, recent = tmp_path / "kernels-old", tmp_path / "kernels-recent"
    old.mkdir()
    recent.mkdir()
    (tmp_path / "other").mkdir()
    os.utime(old, (1e9, 1e9))
    os.utime(tmp_path / "other", (1e9, 1e9))
    new = writable_folder([tmp_path], "kernels-new")
    assert {path.name for path in tmp_path.iterdir()} == {"kernels-recent", "kernels-new", "other"}, (
        "a recent folder may be in use"
    )
    assert new == tmp_path / "kernels-new"


def test_a_read_only_installation_uses_the_next_writable_folder_or_none(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")  # a file: not even root can create a folder in it
    assert writable_folder([tmp_path / "file", tmp_path / "user"], "kernels-1") == tmp_path / "user" / "kernels-1"
    assert writable_folder([tmp_path / "file"], "kernels-1") is None


@pytest.mark.slow
def test_without_a_folder_each_process_compiles_and_the_folder_set_by_the_user_comes_first(
    package: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert call(package, NUMBA_CACHE_DIR=str(tmp_path / "file")) == (6.0, "None", 0)
    value, folder, _ = call(package, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))
    assert value == 6.0
    assert Path(folder).is_relative_to(tmp_path / "chosen")


def test_compiled_functions_use_names_of_hashed_files_only() -> None:
    hashed = kernel_files()
    for name, content in nonempty(hashed.items()):
        tree = ast.parse(content)
        origin = {
            alias.asname or alias.name: f"{node.module.replace('.', '/')}.py"
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] in {"bench", "harmonize", "reports"}
            for alias in node.names
        }
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and "compiled" in map(ast.unparse, function.decorator_list):
                used = {node.id for line in function.body for node in ast.walk(line) if isinstance(node, ast.Name)}
                foreign = {origin[name_used] for name_used in used & origin.keys()}
                assert {path.removeprefix("bench/") for path in foreign} <= hashed.keys(), (name, function.name)


def test_a_division_by_zero_is_not_an_error() -> None:
    @compiled
    def share(part: float, whole: float) -> float:
        return part / whole

    assert math.isnan(share(0.0, 0.0))
