"""The imports of worker processes, in a process that is no fork server."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_process_that_imports_what_workers_need_keeps_its_exit_code() -> None:
    code = "import sys, bench.executors.worker_imports; sys.exit(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")


@pytest.mark.slow
def test_workers_share_the_libraries_whose_import_takes_longest() -> None:
    slow = ("torch", "timm", "sklearn.linear_model", "scipy.stats")
    code = f"import sys, bench.executors.worker_imports; print([name for name in {slow} if name not in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
