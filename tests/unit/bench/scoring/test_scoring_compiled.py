import ast
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.scoring.bootstrap.compiled import PACKAGE, compiled, kernel_files, writable_folder

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
    """A copy of what compiles functions, with a function that calls another file's."""
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
    """Write the called function; size and time stamps are the same for each sign, as in a reproducible wheel."""
    path = package / "bench" / "scoring" / "bootstrap" / "callee.py"
    path.write_text(CALLEE.format(sign=sign))
    os.utime(path, (1e9, 1e9))


def call(package: Path, **environment: str) -> tuple[float, str, int]:
    """Return what the function gives in a new process, the folder of its machine code, and how many functions were read from it."""
    code = [sys.executable, "-B", "-m", "bench.scoring.bootstrap.kernel"]
    own = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    settings = {"PYTHONPATH": str(package), "PYTHONPYCACHEPREFIX": str(package / "bytecode")}
    done = subprocess.run(
        code, cwd=package, env=own | settings | environment, capture_output=True, text=True, check=True
    )
    value, folder, hits = done.stdout.split()
    return float(value), folder, int(hits)


def test_an_edit_of_a_called_function_in_another_file_is_seen_at_the_same_size_and_time_stamp(package: Path) -> None:
    first, folder, _ = call(package)
    again, same, hits = call(package)
    assert (first, again, same, hits) == (6.0, 6.0, folder, 1), "machine code is kept"
    write_callee(package, "+")
    edited, other, _ = call(package)
    assert edited == 5.0
    assert other != folder
    write_callee(package, "*")
    assert call(package) == (6.0, folder, 1), "both are kept: a checkout that switches back compiles once"


def test_machine_code_of_other_content_is_removed_when_nothing_used_it_for_a_week(tmp_path: Path) -> None:
    old, recent = tmp_path / "kernels-old", tmp_path / "kernels-recent"
    old.mkdir()
    recent.mkdir()
    (tmp_path / "other").mkdir()
    os.utime(old, (1e9, 1e9))
    os.utime(tmp_path / "other", (1e9, 1e9))
    new = writable_folder([tmp_path], "kernels-new")
    assert {path.name for path in tmp_path.iterdir()} == {"kernels-recent", "kernels-new", "other"}, "it may be in use"
    assert new == tmp_path / "kernels-new"


def test_machine_code_goes_to_the_next_folder_in_a_read_only_installation_and_nowhere_without_one(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("")  # no folder can be made in it, even by root
    assert writable_folder([tmp_path / "file", tmp_path / "user"], "kernels-1") == tmp_path / "user" / "kernels-1"
    assert writable_folder([tmp_path / "file"], "kernels-1") is None


def test_without_a_folder_a_function_is_compiled_in_each_process_and_the_users_folder_goes_first(
    package: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert call(package, NUMBA_CACHE_DIR=str(tmp_path / "file")) == (6.0, "None", 0)
    value, folder, _ = call(package, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))
    assert value == 6.0
    assert Path(folder).is_relative_to(tmp_path / "chosen")


def test_compiled_functions_use_names_of_hashed_files_only() -> None:
    hashed = kernel_files()
    for name, content in hashed.items():
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
                foreign = {origin[each] for each in used & origin.keys()}
                assert {path.removeprefix("bench/") for path in foreign} <= hashed.keys(), (name, function.name)


def test_a_division_by_zero_is_not_an_error() -> None:
    @compiled
    def share(part: float, whole: float) -> float:
        return part / whole

    assert math.isnan(share(0.0, 0.0))
