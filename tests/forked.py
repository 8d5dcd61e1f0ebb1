"""The `bench` command in a process of its own that starts at once: it is forked from one that has imported what commands need.

A command that starts Python anew imports for 2 to 5 CPU seconds (torch, pandas, scipy), and the tests start some 200 commands.
The process that is forked is `multiprocessing`'s fork server, from which `bench run` forks its workers, too.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

from bench.executors.local import _threads

_IMPORTED = [
    "bench.cli.main",
    "bench.results.write_report",
    "bench.runs.run_one",
    "bench.scoring.score_run",
    "bench.study.run_grid",
]
_LIMIT_S = 600


def bench_forked(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run `bench` in a folder and return what it printed and its exit status."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with _threads(1):  # as `bench run` starts it
        forkserver.ensure_running()
    with tempfile.TemporaryDirectory() as printed:
        process = context.Process(target=_bench, args=(arguments, folder, dict(environment), printed))
        process.start()
        process.join(_LIMIT_S)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(["bench", *arguments], _LIMIT_S)
        out, err = ((Path(printed) / name).read_text() for name in ("1", "2"))
    return subprocess.CompletedProcess(["bench", *arguments], process.exitcode or 0, out, err)


def _bench(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], printed: str) -> None:
    """Do in a forked process what `python -m bench.cli` does."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    for number in (1, 2):
        os.dup2(os.open(Path(printed) / str(number), os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = ["bench", *arguments]
    try:
        runpy.run_module("bench.cli", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves them out
