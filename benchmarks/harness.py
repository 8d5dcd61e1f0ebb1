"""Definition of a benchmark, and the timing of two implementations against each other.

A file in `benchmarks/rows` ends in `BENCHMARKS: tuple[Benchmark, ...]`. Each `run(quick)` first compares the results of
both implementations (the gate), then times them alternately in this process, and returns a Measured:

    def decode(quick: bool) -> Measured:
        tv = peer("torchvision")                                  # NotMeasured if it is not installed
        gate = check(worst <= 3, f"largest difference {worst}")   # GateFailed if the results differ
        spent = interleaved({"ours": ours, "peer": theirs}, rounds=3 if quick else 7)
        return compared(spent["peer"], spent["ours"], gate)

Peers are imported inside `run`, so a missing peer does not affect other benchmarks. By default times are CPU times of this
process, which other processes hardly change. GPU work is timed by `gpu_clock`.
"""

import importlib
import math
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

LEAST_S = 0.05  # one timing repeats a call until it has lasted so long
Clock = Callable[[], float]


class NotMeasured(Exception):  # noqa: N818  (nothing is wrong)
    """The benchmark cannot run here: its peer is not installed, or there is no GPU."""


class GateFailed(Exception):  # noqa: N818
    """The results of the two implementations differ, so a ratio of times would be meaningless."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of a benchmark.

    ratio      median over rounds, in the benchmark's unit: how many times as long as ours the peer took, unless its goal
               is an upper bound
    low, high  the least and greatest of the rounds
    gate       what the comparison of results gave, in words and numbers
    note       what else a reader needs: times, sizes, what the figure does not say
    """

    ratio: float
    low: float
    high: float
    gate: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One line of the table.

    name   of the benchmark, "B1"; several lines may have one name and different peers
    what   is measured, short
    peer   what it is held against, with its library's name; "-" for a plain figure
    goal   ">= 3.5" or "<= 1.2", in `unit`; "" for none
    run    does it; `quick` asks for seconds instead of minutes, on less data and with fewer rounds
    unit   "x" for ratios, else of the figure: "s", "GB"
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
        """Return the key of the row."""
        return self.name, self.what, self.peer


def parse_goal(goal: str) -> tuple[bool, float]:
    """Return whether more is better, and the bound.

    >>> parse_goal(">= 3.5"), parse_goal("<= 0.25")
    ((True, 3.5), (False, 0.25))
    """
    sign, _, bound = goal.partition(" ")
    if sign not in (">=", "<="):
        raise ValueError(f"a goal is '>= number' or '<= number', not {goal!r}")
    return sign == ">=", float(bound)


def peer(module: str, install: str = "") -> ModuleType:
    """Return a peer's module. Raises NotMeasured when it is not installed; `install` is its name for pip."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotMeasured(f"peer not installed: {install or module} ({error})") from error


def need_gpu() -> None:
    """Raise NotMeasured if torch finds no GPU."""
    import torch

    if not torch.cuda.is_available():
        raise NotMeasured("no GPU here")


def gpu_clock() -> float:
    """Return the wall-clock seconds after waiting for the GPU."""
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def check(passed: bool, text: str) -> str:
    """Return the text of a passed gate. Raises GateFailed with the text if the gate failed."""
    if not passed:
        raise GateFailed(text)
    return text


def largest_memory() -> int:
    """Return the peak memory of this program in kB.

    Where Linux says it: `getrusage` counts what the process had before it became this program, too, that is its parent's.
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
    """Return the seconds of each way in each round; the ways take turns, and a first call of each is not counted.

    `items` says how many images, steps ... a call of a way does: its seconds are then those of one of them.
    """
    for function in implementations.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in implementations}
    for round_index in range(rounds):
        names = (
            list(implementations) if round_index % 2 == 0 else list(implementations)[::-1]
        )  # so that none always follows the same one
        for name in names:
            seconds[name].append(timed(implementations[name], clock, least_s) / (items or {}).get(name, 1))
    return seconds


def compared(numerator: Sequence[float], denominator: Sequence[float], gate: str, note: str = "") -> Measured:
    """Return the ratios `of` / `to`, round by round: the peer's time over ours, or ours over a floor's.

    >>> compared([8.0, 9.0, 8.0], [2.0, 3.0, 1.0], "equal")
    Measured(ratio=4.0, low=3.0, high=8.0, gate='equal', note='')
    """
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)], gate, note)


def spread(values: Sequence[float], gate: str, note: str = "") -> Measured:
    """Return the median of a figure's rounds with the least and the greatest. Raises ValueError for none, NaN or infinity."""
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError(f"not figures: {list(values)}")
    return Measured(statistics.median(values), min(values), max(values), gate, note)


def ms(seconds: Sequence[float]) -> str:
    """Return the median in milliseconds, three digits: for notes.

    >>> ms([0.0123, 0.0125, 0.1])
    '12.5 ms'
    """
    return f"{1e3 * statistics.median(seconds):.3g} ms"
