"""Ctrl-C in a terminal reaches child processes, too, also while they import modules: they print nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# a module that a child process imports for seconds; it does so before it runs anything
SLOW = "import pathlib, time; pathlib.Path('importing').touch(); time.sleep(9)\ndef start(): pass\n"
POOL = "from harmonize.child_processes import ProcessPool\n    with ProcessPool(1, start) as pool: pool.submit(print).result()"
FORK_SERVER = "from bench.executors.local import warm_up\n    warm_up(); time.sleep(60)"
PARENT = """import sys, time, types
def start(): pass
start.__module__ = "slow"  # the child imports this module, the parent does not
if __name__ == "__main__":
    sys.modules["slow"] = types.SimpleNamespace(start=start)
    try:
        {work}
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("work", "module"), [(POOL, "slow"), (FORK_SERVER, "torch")])
def test_an_interrupt_while_a_child_process_imports_prints_no_traceback(work: str, module: str, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in a shell's background it is ignored, by children, too
    (tmp_path / f"{module}.py").write_text(SLOW)
    (tmp_path / "parent.py").write_text(PARENT.format(work=work.replace("\n", "\n    ")))
    variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.Popen(
        [sys.executable, "parent.py"], cwd=tmp_path, env=variables, stderr=subprocess.PIPE, start_new_session=True
    )
    for _ in range(600):
        if (tmp_path / "importing").exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[1].decode() == ""
    assert process.returncode == 130
