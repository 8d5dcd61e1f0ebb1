"""Run the tests of `tests/cuda` and the benchmarks G1 and G2 in one command.

    python -m benchmarks gpu                   # on a machine with a GPU; less than nine minutes; writes the rows
    python -m benchmarks gpu --device cuda:1   # on another GPU
    python -m benchmarks gpu --device cpu      # rehearsal: the same code on a CPU with tiny sizes; writes nothing

The exit status is 0, or 1 if a test or a benchmark fails or a figure became worse, or 2 without a GPU.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks import results
from benchmarks.harness import Benchmark, Measured, NotMeasured, measured

LIMIT_S = 530  # seconds of the whole command: less than nine minutes
TESTS_S = 200  # seconds of them that the tests may take
WORKERS = "4"  # processes of the tests: most of their time is that of compilers and of starting commands
ROW_S = 45  # seconds that a row needs at most
_ROOT = Path(__file__).parents[1]


def main(folder: Path, available: Iterable[Benchmark], arguments: Sequence[str]) -> int:
    """Run the tests, then the benchmarks; return the exit status. folder: where the table of results is."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", default="cuda:0", metavar="DEVICE", help="cuda, cuda:N, or cpu for a rehearsal (default: cuda:0)"
    )
    parser.add_argument("--no-tests", action="store_true", help="only the benchmarks")
    options = parser.parse_args(arguments)
    from bench.system.devices import check_device, first_device
    from harmonize.errors import CxrError

    try:
        check_device(options.device)
        device = first_device(options.device)
    except CxrError as error:
        print(f"{error}\npython -m benchmarks gpu --device cpu rehearses the code without a GPU.", file=sys.stderr)
        return 2
    is_rehearsal = device == "cpu"
    end = math.inf if is_rehearsal else time.monotonic() + LIMIT_S
    session = results.Session.begin(folder, available, writes=not is_rehearsal)
    print(session.machine)
    failed = not options.no_tests and not tests_pass()
    for benchmark in benchmarks(device):
        failed |= session.add(benchmark, in_time(benchmark, end))
    if is_rehearsal:
        print("This was a rehearsal on a CPU: its figures state nothing about a GPU, and nothing was written.")
    return int(failed)


def benchmarks(device: str) -> tuple[Benchmark, ...]:
    """Return G1 and G2."""
    import torch

    from benchmarks.rows.gpu import Scale, of

    return of(Scale.rehearsal() if device == "cpu" else Scale(torch.device(device)))


def in_time(benchmark: Benchmark, end: float) -> Measured | Exception:
    """Run a benchmark, or return NotMeasured if too little time is left."""
    if time.monotonic() + ROW_S > end:
        return NotMeasured(f"the time limit of {LIMIT_S} s; run python -m benchmarks {benchmark.name}")
    return measured(benchmark, quick=False)


def tests_pass() -> bool:
    """Run the tests of `tests/cuda` and print what they print; return whether all pass that do not skip."""
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-n", WORKERS, "-p", "no:cacheprovider", "tests/cuda"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    try:
        return subprocess.run(command, cwd=_ROOT, env=environment, check=False, timeout=TESTS_S).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"tests/cuda did not finish in {TESTS_S} s: pytest tests/cuda runs them without a limit", flush=True)
        return False
