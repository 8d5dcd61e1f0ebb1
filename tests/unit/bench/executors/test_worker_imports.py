"""The imports of worker processes, in a process that is no fork server."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_process_that_imports_what_workers_need_keeps_its_exit_code_and_has_the_slowest_libraries() -> None:
    """The import of what workers need, in a process of its own."""
    slow = ("torch", "timm", "sklearn.linear_model", "scipy.stats")
    code = (
        f"import sys, bench.executors.worker_imports; print([n for n in {slow} if n not in sys.modules]); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "[]\n", "")
