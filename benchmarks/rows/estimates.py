"""B14: expected scores at a hospital without labels, from stored logits; uses `benchmarks/estimate_speed.py`."""

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

from benchmarks.harness import Benchmark, Measured, check, spread

ROUNDS = 3
ALONE = """import json, sys
from benchmarks.estimate_speed import measure
print(json.dumps(measure(*map(int, sys.argv[1:]))._asdict()))"""


@cache
def rounds(quick: bool) -> list[dict[str, Any]]:
    """Return the result of `measure` for each round. Each round is a process of its own, with one thread."""
    size = ("500", "3", "2", "500", "1000") if quick else ("25000", "9", "20", "20000", "100000")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = [
        subprocess.run(
            [sys.executable, "-c", ALONE, *size], capture_output=True, text=True, check=True, env=environment
        )
        for _ in range(1 if quick else ROUNDS)
    ]
    return [json.loads(process.stdout) for process in done]


def gate(quick: bool) -> str:
    """Return how many values have an interval; all runs, findings and quantities need one."""
    num, wanted = min(found["num_values"] for found in rounds(quick)), 6 * (2 * 3 if quick else 20 * 9)
    return check(num == wanted, f"{num:,} of {wanted:,} expected values have an interval")


def seconds(quick: bool) -> Measured:
    """Return the CPU seconds of a whole estimate."""
    found = rounds(quick)
    parts = ", ".join(f"{name} {value:.1f} s" for name, value in found[0]["seconds"].items())
    return spread([sum(one["seconds"].values()) for one in found], gate(quick), f"CPU time on one thread: {parts}")


def memory(quick: bool) -> Measured:
    """Return the peak memory in GB."""
    return spread([found["megabytes"] / 1e3 for found in rounds(quick)], gate(quick))


BENCHMARKS = (
    Benchmark("B14", "expected scores of 25,000 images, 9 findings, 20 runs, one core", "-", "<= 10", seconds, "s"),
    Benchmark("B14", "peak memory: expected scores of 25,000 images, 9 findings, 20 runs", "-", "<= 1", memory, "GB"),
)
