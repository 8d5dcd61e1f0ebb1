"""The page of a grid while its runs are still training."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.executors.execute_job import Outcome
from bench.planning.manifest import read_manifest
from bench.store.store import Store
from bench.study import page_so_far
from bench.study.page_so_far import PageSoFar


class Said:
    """A display that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def ended(seconds: float = 30.0, state: str = "done") -> Outcome:
    return Outcome("3fa9", state, "", seconds, Path("log.txt"))


@pytest.mark.grid
def test_a_page_is_written_while_other_runs_are_missing(store_copy: Path) -> None:
    store, said = Store.open(store_copy / "runs"), Said()
    page = store.root / "report" / "tiny" / "leaderboard.html"
    page.unlink()
    with PageSoFar(read_manifest(store, "tiny"), False, said) as so_far:  # type: ignore[arg-type]
        so_far.update(ended(), 1, 3)
    assert page.is_file()
    for _ in range(100):  # the line follows when the process has ended
        if said.lines:
            break
        time.sleep(0.1)
    assert said.lines == [f"leaderboard of 1 of 3 runs: {page}"]


@pytest.mark.grid
def test_an_interrupt_stops_the_page_and_says_nothing(store_copy: Path) -> None:
    store, said = Store.open(store_copy / "runs"), Said()
    so_far = PageSoFar(read_manifest(store, "tiny"), False, said)  # type: ignore[arg-type]

    def interrupted() -> None:
        with so_far:
            so_far.update(ended(), 1, 3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert so_far.process is not None
    assert so_far.process.poll() is not None
    assert not said.lines


@pytest.mark.parametrize(
    ("outcome", "finished", "total"),
    [(ended(5.0), 1, 4), (ended(state="failed"), 1, 4), (ended(), 2, 4), (ended(), 3, 4), (ended(1e4), 4, 4)],
    ids=["a short run", "a failed run", "two runs that are trained", "a last run that is trained", "the last run"],
)
def test_no_page_is_begun_for(outcome: Outcome, finished: int, total: int) -> None:
    manifest: Any = None  # it is not read
    said = Said()
    so_far = PageSoFar(manifest, False, said, places=2)  # type: ignore[arg-type]
    so_far.update(outcome, finished, total)
    assert (so_far.process, said.lines) == (None, [])


def test_a_second_page_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    class Process:
        def __init__(self, command: list[str], **_: Any) -> None:
            started.append(command)

        def poll(self) -> int:
            return 0

        def wait(self) -> int:
            return 1

    monkeypatch.setattr(page_so_far.subprocess, "Popen", Process)
    clock = [1000.0]
    monkeypatch.setattr(page_so_far.time, "monotonic", lambda: clock[0])

    manifest: Any = SimpleNamespace(store=SimpleNamespace(root=Path("runs")), content={"name": "g"})
    so_far = PageSoFar(manifest, False, Said())  # type: ignore[arg-type]
    for now, pages in ((1000.0, 1), (1500.0, 1), (1700.0, 2)):
        clock[0] = now
        so_far.update(ended(), 1, 40)
        assert len(started) == pages
    clock[0] = 3000.0
    so_far.update(ended(3600.0), 39, 40)  # the last run takes as long, so there is time for a page
    assert len(started) == 3
