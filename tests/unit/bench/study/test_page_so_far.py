"""The page of a grid while its runs are still training."""

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.executors.execute_job import Outcome
from bench.planning.manifest import Manifest, read_manifest
from bench.results import score_runs
from bench.results.score_runs import score_all
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
        so_far.update(ended(), 2, 4)
    assert page.is_file()
    for _ in range(100):  # the line follows when the process has ended
        if said.lines:
            break
        time.sleep(0.1)
    assert said.lines == [f"leaderboard of 2 of 4 runs: {page}"]


@pytest.mark.grid
def test_an_interrupt_stops_the_page_and_says_nothing(store_copy: Path) -> None:
    store, said = Store.open(store_copy / "runs"), Said()
    so_far = PageSoFar(read_manifest(store, "tiny"), False, said)  # type: ignore[arg-type]

    def interrupted() -> None:
        with so_far:
            so_far.update(ended(), 2, 4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert so_far.process is not None
    assert not so_far.process.is_alive()
    assert not said.lines


@pytest.mark.grid
def test_scores_are_made_while_other_runs_are_missing_and_damaged_ones_are_named(store_copy: Path) -> None:
    store, said = Store.open(store_copy / "runs"), Said()
    files = sorted((store.root / "scores").glob("*/gaps.parquet"))
    whole = [file.read_bytes() for file in files]
    files[0].write_bytes(whole[0][:-1])
    (files[1].parent / "KEY").unlink()
    with PageSoFar(read_manifest(store, "tiny"), False, said) as so_far:  # type: ignore[arg-type]
        so_far.update(ended(5.0), 1, 3)
    assert [file.read_bytes() for file in files] == whole
    assert (files[1].parent / "KEY").is_file()
    (line,) = said.lines
    assert line.startswith(f"scores of run {files[0].parent.name}: gaps.parquet is ")


def score_in_processes(manifest: Manifest, _: bool) -> None:
    """Score in worker processes, as large predictions are scored."""
    score_runs.WORTH = 1
    score_all(manifest, lambda *_: None, 2)


@pytest.mark.grid
def test_a_process_that_scores_with_workers_ends(store_copy: Path) -> None:
    store = Store.open(store_copy / "runs")
    keys = list((store.root / "scores").glob("*/KEY"))
    assert len(keys) > 1  # one run alone needs no workers
    for key in keys:
        key.unlink()
    process, connection = page_so_far._begun(score_in_processes, read_manifest(store, "tiny"), False)
    assert connection.recv() is True
    process.join(60)
    ended = not process.is_alive()
    process.kill()
    assert ended
    assert all(key.is_file() for key in keys)


class Started:
    """Processes that were asked for, and that have failed at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.commands: list[str] = []
        monkeypatch.setattr(page_so_far, "_begun", self)
        monkeypatch.setattr(page_so_far, "remarks", lambda _: [])

    def __call__(self, work: Callable[..., None], *_: Any) -> Any:
        self.commands.append(work.__name__.strip("_"))
        ours, its = multiprocessing.Pipe(duplex=False)
        its.close()
        return SimpleNamespace(join=lambda: None), ours


def wait_for_its_end(so_far: PageSoFar) -> None:
    if so_far.follower is not None:
        so_far.follower.join()


def so_far_of(places: int = 1, **content: Any) -> PageSoFar:
    manifest: Any = SimpleNamespace(
        store=SimpleNamespace(root=Path("runs")), **{"name": "g", "search": None, **content}
    )
    return PageSoFar(manifest, False, Said(), places)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("outcome", "finished", "has_analyses", "command"),
    [
        (ended(1.0), 2, True, "score"),
        (ended(10.0), 2, True, "report"),
        (ended(), 1, True, "score"),
        (ended(), 2, True, "report"),
        (ended(), 2, False, "score"),
        (ended(), 3, True, "report"),
        (ended(3600.0), 3, False, "report"),
        (ended(state="failed"), 2, True, None),
        (ended(1e4), 4, True, None),
    ],
    ids=[
        "short",
        "not short beside analyses",
        "nothing to compare",
        "analyses follow",
        "the final page is near",
        "one is trained, and analyses follow",
        "one is trained for an hour",
        "failed",
        "the last",
    ],
)
def test_what_is_begun_when_a_run_of_four_has_ended(
    outcome: Outcome, finished: int, has_analyses: bool, command: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = Started(monkeypatch)
    so_far = so_far_of(places=2)
    so_far.has_analyses = has_analyses
    so_far.update(outcome, finished, 4)
    assert started.commands == ([command] if command else [])


def test_a_search_is_not_scored_before_its_page(monkeypatch: pytest.MonkeyPatch) -> None:
    started, so_far = Started(monkeypatch), so_far_of(search={"trials": 2})
    so_far.update(ended(5.0), 1, 40)
    wait_for_its_end(so_far)
    assert not started.commands
    so_far.update(ended(), 2, 40)
    assert started.commands == ["report"]


def test_a_second_page_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    started, so_far, clock = Started(monkeypatch), so_far_of(), [1000.0]
    monkeypatch.setattr(page_so_far.time, "monotonic", lambda: clock[0])
    for now, command in ((1000.0, "report"), (1500.0, "score"), (1700.0, "report")):
        clock[0] = now
        so_far.update(ended(), 2, 40)
        wait_for_its_end(so_far)
        assert started.commands[-1] == command


class AtWork(Started):
    """Processes that end when the test says so; each test ends by letting all of them end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.processes: list[Connection] = []

    def __call__(self, work: Callable[..., None], *_: Any) -> Any:
        process, _ = super().__call__(work)
        ours, its = multiprocessing.Pipe(duplex=False)
        self.processes.append(its)
        return process, ours

    def end(self, index: int) -> None:
        self.processes[index].send(True)


def wait(has_happened: Callable[[], bool]) -> None:
    """Wait until something has happened, for a minute at most: what the test asserts next says whether it has."""
    for _ in range(600):
        if has_happened():
            break
        time.sleep(0.1)


def test_runs_that_end_while_others_are_scored_are_scored_next_as_long_as_there_is_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = AtWork(monkeypatch)
    with so_far_of() as so_far:
        so_far.update(ended(5.0), 1, 3)
        so_far.update(ended(5.0), 2, 3)
        so_far.update(ended(5.0), 3, 3)
        assert started.commands == ["score"]
        started.end(0)
        wait(lambda: len(started.processes) == 2)
        assert started.commands == ["score", "score"]
        threading.Timer(0.2, started.end, [1]).start()
    time.sleep(0.5)
    assert len(started.commands) == 2


def test_a_page_follows_the_first_scores_as_soon_as_runs_can_be_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows, and counts, also the runs that end before it begins."""
    started = AtWork(monkeypatch)
    with so_far_of() as so_far:
        so_far.update(ended(), 1, 5)
        so_far.update(ended(), 2, 5)
        so_far.update(ended(), 3, 5)
        assert started.commands == ["score"]
        started.end(0)
        wait(lambda: len(started.processes) == 2)
        assert started.commands == ["score", "report"]
        threading.Timer(0.2, started.end, [1]).start()
    wait(lambda: bool(so_far.display.lines))  # type: ignore[attr-defined]
    page = Path("runs", "report", "g", "leaderboard.html")
    assert so_far.display.lines == [f"leaderboard of 3 of 5 runs: {page}"]  # type: ignore[attr-defined]


def test_nothing_more_is_scored_when_there_is_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    started = AtWork(monkeypatch)
    with so_far_of() as so_far:
        so_far.update(ended(5.0), 1, 2)
        so_far.update(ended(5.0), 2, 2)
        threading.Timer(0.2, started.end, [0]).start()
    time.sleep(0.5)
    assert started.commands == ["score"]
