"""A command ends with its own exit code, even if a library crashes during the teardown, or an extension is broken."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# C++ libraries register their teardown with __cxa_atexit. This one aborts, as a thread pool with a living thread does.
SCRIPT = """
import atexit, ctypes, sys
libc = ctypes.CDLL(None)
libc.__cxa_atexit(libc.abort, None, None)
import bench.cli.main as loaded
from bench.cli.__main__ import main
run = loaded.main
loaded.main = lambda: (atexit.register(print, "an exit function ran"), run())
sys.argv = ["bench", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["list", "losses"], 0, "bce"),
        (["list", "nothing"], 2, ""),
        (["list", "runs", "--store", "absent"], 2, ""),
    ],
)
def test_a_crash_during_teardown_changes_no_exit_code(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, cwd=tmp_path, check=False
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert said in done.stdout
    assert "an exit function ran" in done.stdout


def test_a_reader_that_closes_the_pipe_is_no_crash() -> None:
    shell = f"set -o pipefail; {sys.executable} -m bench.cli list architectures | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 120, 141)
    assert "Traceback" not in done.stderr


def test_a_broken_extension_is_named_and_the_command_goes_on(tmp_path: Path) -> None:
    for name, text in {
        "broken/__init__.py": "",
        "broken/commands.py": "def add(): ...",
        "broken-1.dist-info/METADATA": "Name: broken\nVersion: 1\n",
        "broken-1.dist-info/entry_points.txt": "[unseen_cxr.extensions]\nbroken = broken\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[4])])
    done = subprocess.run(
        [sys.executable, "-m", "bench", "list", "losses"],
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "focal" in done.stdout
    assert "does not fit the hook Commands: the attribute add is no function of (app)" in " ".join(done.stderr.split())
    assert "broken.commands" in done.stderr
