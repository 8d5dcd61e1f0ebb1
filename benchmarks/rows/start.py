"""B12: CPU seconds of commands that need no neural network; the gate checks that a command imports no large libraries."""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.harness import Benchmark, Measured, check, interleaved, spread

HEAVY = ("torch", "timm", "sklearn", "shap")
PROBE = "import sys; from bench.cli.main import main\ntry: main()\nexcept SystemExit: pass\nprint(*(m for m in {heavy!r} if m in sys.modules), file=sys.stderr)"


@contextmanager
def compiled() -> Iterator[dict[str, str]]:
    """Yield the variables of an environment in which Python stores bytecode; so the second start of a command compiles nothing."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        root = str(Path(__file__).parents[2])
        yield environment | {"PYTHONPYCACHEPREFIX": folder, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}


def children() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def started(code: str, arguments: list[str], environment: dict[str, str]) -> str:
    """Run Python code with arguments and return what it wrote to standard error."""
    process = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return process.stderr


def clean(arguments: list[str], forbidden: tuple[str, ...], environment: dict[str, str]) -> str:
    """Check that a command does not import forbidden libraries, and return the text of the passed gate."""
    lines = started(PROBE.format(heavy=forbidden), arguments, environment).splitlines()
    imported = lines[-1] if lines else ""
    return check(
        not imported, f"imported: {imported}" if imported else f"the command imports none of {', '.join(forbidden)}"
    )


def command(arguments: list[str]) -> Callable[[bool], Measured]:
    """Return the benchmark of a command's CPU seconds, without a peer."""

    def run(quick: bool) -> Measured:
        with compiled() as environment:
            gate_text = clean(arguments, (*HEAVY, "pandas"), environment)
            ours = "from bench.cli.main import main; main()"
            implementations = {"ours": lambda: started(ours, arguments, environment)}
            return spread(
                interleaved(implementations, 2 if quick else 9, children)["ours"],
                gate_text,
                "CPU time; Python's bytecode was compiled before",
            )

    return run


def resumed(quick: bool) -> Measured:
    """Return the CPU seconds of `bench run` for a finished grid; this command trains nothing and writes no page."""
    with compiled() as environment, tempfile.TemporaryDirectory() as folder:
        arguments = ["run", "--grid", "tiny", "--store", folder, "--quiet", "--device", "cpu"]
        code = "from bench.cli.main import main; main()"
        started(code, arguments, environment)
        gate_text = clean(arguments, HEAVY, environment)
        implementations = {"ours": lambda: started(code, arguments, environment)}
        return spread(
            interleaved(implementations, 1 if quick else 5, children)["ours"],
            gate_text,
            "CPU time with grid tiny; bench run trains nothing, and writes no page that is up to date",
        )


BENCHMARKS = (
    Benchmark("B12", "bench --help", "-", "<= 0.3", command(["--help"]), "units"),
    Benchmark("B12", "bench list", "-", "<= 0.3", command(["list"]), "units"),
    Benchmark("B12", "bench run of a finished grid", "-", "<= 2", resumed, "units"),
)
