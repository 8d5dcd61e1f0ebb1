"""What tests cost: `pytest --costs FILE` writes the CPU seconds of each test, in the order in which the tests end."""

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

_TICKS = os.sysconf("SC_CLK_TCK")
# mean cost of a test with this mark, divided by that of a test without a mark, in a run of all tests with `--costs`
COSTS = {"grid": 27, "browser": 38, "slow": 11}
COLLECTION = "collection of all tests"  # names a row of costs that is no test
File = TypeVar("File", bound=Hashable)


class Costs:
    """A plugin of pytest. The CPU seconds of a test are those of its process and of all processes that descend from it.

    A fixture of a module or of the session counts for the first test that needs it. The collection of all tests by a process has a
    row of its own.
    """

    def __init__(self, file: Path, in_worker: bool) -> None:
        self._file, self._spent, self._collecting = file, cpu_seconds(os.getpid()), 0.0
        if not in_worker:
            file.write_text("cpu_s,test\n", encoding="utf-8")
        self.pytest_runtest_logreport = None if in_worker else self._write

    def pytest_collection_finish(self) -> None:
        before, self._spent = self._spent, cpu_seconds(os.getpid())
        self._collecting = self._spent - before

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        before, self._spent = self._spent, cpu_seconds(os.getpid())
        item.user_properties.append(("cpu_s", max(self._spent - before, 0.0)))
        if self._collecting:
            item.user_properties.append(("collecting_s", self._collecting))
            self._collecting = 0.0
        return (yield)

    def _write(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            spent = sum(value for name, value in report.user_properties if name == "cpu_s")
            with self._file.open("a", encoding="utf-8") as file:
                for value in (value for name, value in report.user_properties if name == "collecting_s"):
                    file.write(f"{value:.2f},{COLLECTION}\n")
                file.write(f'{spent:.2f},"{report.nodeid.replace(chr(34), chr(39))}"\n')


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, of its descendants, and of those that have ended. A process that ends meanwhile has 0."""
    process = Path(f"/proc/{pid}")
    try:
        own = sum(map(int, (process / "stat").read_text().rpartition(")")[2].split()[11:15])) / _TICKS
        threads = [*(process / "task").iterdir()]
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return own + sum(cpu_seconds(child) for thread in threads for child in _children(thread))


def _children(thread: Path) -> list[int]:
    """Return the processes that a thread has begun. A thread that ends meanwhile has none; its process goes on."""
    try:
        return [int(child) for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def evenly(costs: Mapping[File, Sequence[float]]) -> list[File]:
    """Return the files in an order in which a part of the tests takes about the same part of the costs; costly files first.

    costs: {file: cost of each of its tests}.
    """
    mean = sum(map(sum, costs.values())) / max(sum(map(len, costs.values())), 1)
    ahead = {
        file: sum(each) - mean * len(each) for file, each in costs.items()
    }  # cost beyond that of as many usual tests
    dense = sorted((file for file in costs if ahead[file] > 0), key=lambda file: -ahead[file])
    light = [file for file in costs if ahead[file] <= 0]
    order: list[File] = []
    balance = 0.0
    while dense or light:
        order.append((dense if dense and (balance <= 0 or not light) else light).pop(0))
        balance += ahead[order[-1]]
    return order
