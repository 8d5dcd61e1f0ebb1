"""Define what a benchmark is, and time two implementations against each other.

A peer is a library or implementation that ours is compared with.

A file in `benchmarks/rows` ends in `BENCHMARKS: tuple[Benchmark, ...]`. Each `run(quick)` first compares the results of
both implementations (the gate), then times them alternately in this process, and returns a Measured:

    def decode(quick: bool) -> Measured:
        tv = peer("torchvision")                                  # NotMeasured if it is not installed
        gate = check(worst <= 3, f"largest difference {worst}")   # GateFailed if the results differ
        spent = interleaved({"ours": ours, "peer": theirs}, rounds=3 if quick else 7)
        return compared(spent["peer"], spent["ours"], gate)

Peers are imported inside `run`, so a missing peer does not affect other benchmarks. By default times are CPU times of this
process, which other processes hardly change. `benchmarks/rows/gpu.py` has a clock for GPU work.
"""

import importlib
import math
import resource
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

LEAST_S = 0.05  # seconds; a timing repeats a call until all calls together have lasted at least this long
Clock = Callable[[], float]


class NotMeasured(Exception):  # noqa: N818  (this is not an error)
    """The benchmark cannot run here: its peer is not installed, or there is no GPU."""


class GateFailed(Exception):  # noqa: N818
    """The results of the two implementations differ, so a ratio of times would be meaningless."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a benchmark.

    ratio      median over rounds, in the benchmark's unit, for "units" in CPU seconds; for the unit "x" mostly the peer's time divided by our time
    low, high  smallest and largest round
    gate       result of comparing the outputs of both implementations, as a sentence with numbers
    note       further facts for the reader: times, sizes, limits of the comparison
    """

    ratio: float
    low: float
    high: float
    gate: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One line of the table.

    name   name of the benchmark, such as "B1"; several lines with different peers may have the same name
    what   short description of the computation that is measured
    peer   library or implementation that ours is compared with; "-" if the benchmark is not a comparison
    goal   bound for the measured value, such as ">= 3.5" or "<= 1.2", in `unit`; "" without a goal
    run    function that runs the benchmark; with `quick` it takes seconds instead of minutes (less data, fewer rounds)
    unit   "x" for ratios, else the unit of the figure, such as "GB"; "units" if `run` gives CPU seconds (benchmarks/unit.py)
    """

    name: str
    what: str
    peer: str
    goal: str
    run: Callable[[bool], Measured]
    unit: str = "x"

    def __post_init__(self) -> None:
        if self.goal:
            parse_goal(self.goal)

    @property
    def key(self) -> tuple[str, str, str]:
        """Return the three fields that identify the benchmark's row in the table."""
        return self.name, self.what, self.peer


def parse_goal(goal: str) -> tuple[bool, float]:
    """Return whether a larger value is better, and the bound.

    >>> parse_goal(">= 3.5"), parse_goal("<= 0.25")
    ((True, 3.5), (False, 0.25))
    """
    sign, _, bound = goal.partition(" ")
    if sign not in (">=", "<="):
        raise ValueError(f"a goal is '>= number' or '<= number', not {goal!r}")
    return sign == ">=", float(bound)


def peer(module: str, install: str = "") -> ModuleType:
    """Return the module of a peer library; raise NotMeasured if the library is not installed.

    `install` is the library's name for pip, which the error names; "" if it is the name of the module.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotMeasured(f"peer not installed: {install or module} ({error})") from error


def measured(benchmark: Benchmark, quick: bool) -> Measured | Exception:
    """Run a benchmark and return its result, or the exception that it raised, so that the other benchmarks still run."""
    try:
        return benchmark.run(quick)
    except (NotMeasured, GateFailed) as reason:
        return reason
    except Exception as error:  # noqa: BLE001  (a peer may raise any exception)
        traceback.print_exc()
        return error


def check(passed: bool, text: str) -> str:
    """Return the text of a gate that passed. Raises GateFailed with this text if the gate failed."""
    if not passed:
        raise GateFailed(text)
    return text


def largest_memory() -> int:
    """Return the peak memory of this program in kB.

    Linux states this number in /proc. On other systems, `getrusage` gives a number that may be too large: this number
    includes the memory that the process had as a copy of its parent, before the process started this program.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1])
    except (OSError, StopIteration):
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def timed(function: Callable[[], object], clock: Clock = time.process_time, least_s: float = LEAST_S) -> float:
    """Return the seconds of one call, as the mean over repeated calls of at least `least_s` seconds in total."""
    calls, start = 0, clock()
    while True:
        function()
        calls += 1
        spent = clock() - start
        if spent >= least_s:
            return spent / calls


def interleaved(
    implementations: Mapping[str, Callable[[], object]],
    rounds: int,
    clock: Clock = time.process_time,
    items: Mapping[str, int] | None = None,
    least_s: float = LEAST_S,
) -> dict[str, list[float]]:
    """Return the seconds of each implementation in each round.

    The implementations take turns. The first call of each implementation is not counted. `items` gives the number of images or
    steps that a call processes; the seconds are then those of one image or step.
    """
    for function in implementations.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for round_index in range(rounds):
        # The order alternates, so that no implementation always runs after the same other one.
        names = list(implementations) if round_index % 2 == 0 else list(implementations)[::-1]
        for name in names:
            seconds[name].append(timed(implementations[name], clock, least_s) / (items or {}).get(name, 1))
    return seconds


def compared(numerator: Sequence[float], denominator: Sequence[float], gate: str, note: str = "") -> Measured:
    """Return the median, smallest and largest ratio `numerator` / `denominator` over the rounds.

    In most benchmarks, the numerator is the peer's time and the denominator is our time.

    >>> compared([8.0, 9.0, 8.0], [2.0, 3.0, 1.0], "equal")
    Measured(ratio=4.0, low=3.0, high=8.0, gate='equal', note='')
    """
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)], gate, note)


def spread(values: Sequence[float], gate: str, note: str = "") -> Measured:
    """Return the median, smallest and largest of `values`, one per round. Raises ValueError unless all are finite."""
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"a benchmark needs finite values, at least one, not {list(values)}")
    return Measured(statistics.median(values), min(values), max(values), gate, note)


def ms(seconds: Sequence[float]) -> str:
    """Return the median in milliseconds with three digits, as text for a note.

    >>> ms([0.0123, 0.0125, 0.1])
    '12.5 ms'
    """
    return f"{1e3 * statistics.median(seconds):.3g} ms"
