"""Score runs, and write the page of a grid, while other runs are still training."""

import contextlib
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from bench.executors.execute_job import Outcome
from bench.executors.local import START_METHOD
from bench.planning.manifest import Manifest
from bench.results.score_runs import remarks, score_all
from bench.study.job_progress import Display
from harmonize.child_processes import end_with_parent

_WORTH_S = 20.0  # a page is worth its cost if a run takes at least this long
_BEFORE_ANALYSES_S = 5.0  # the same if analyses follow, which take as long as the runs
_LONG_S = 300.0  # beside runs of this length, a page takes no time that a user feels
_EVERY_S = 600.0  # least seconds between the beginnings of two pages
_NICE = 10  # added to the niceness of a process that writes another page, so that it gives way to training
_Work = Callable[[Manifest, bool], None]


@dataclass(slots=True)
class PageSoFar:
    """The page of the runs that are finished so far, and their scores. One process at a time makes them.

    The process scores the finished runs and, if a page is due, writes it. Scores are kept, so the final page
    does not need them again. The process is forked as workers are, because a new Python would import libraries for seconds.
    Runs that end while the process is at work are for a next one, as long as there is other work beside it. A failure
    of the process is no failure of the grid: the final page is written in any case. As a context manager, this class waits
    for the process, because two processes must not write one page; after an error or Ctrl-C, it stops the process.
    """

    manifest: Manifest
    with_images: bool
    display: Display
    places: int = 1  # how many runs are trained at a time
    has_analyses: bool = False  # whether analyses follow the training
    process: BaseProcess | None = None
    follower: threading.Thread | None = None  # waits for the process
    began: float = -_EVERY_S  # when the last page was begun
    is_due: bool = False  # whether the next process writes a page
    ended: str = ""  # how many runs have ended, such as "2 of 4"
    is_behind: bool = False  # whether a run has ended since the process began
    has_ended: bool = False  # whether there is no more work beside the process
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while the next process is chosen

    def update(self, outcome: Outcome, finished: int, total: int) -> None:
        """Begin to score after a run has ended, unless the process is still at work; begin a page if one is due.

        A page is due if it can compare runs, the run took long, the last page is old, and the final page is not near. The final
        page is near if no analyses follow and no other run waits for a place, unless runs take minutes. In a search, nothing is
        scored before a page is due, because the final choice of trials is not known.
        """
        if outcome.state == "done":
            with self.lock:
                self._update(outcome, finished, total)

    def _update(self, outcome: Outcome, finished: int, total: int) -> None:
        left, now, self.ended = total - finished, time.monotonic(), f"{finished} of {total}"
        is_near = not self.has_analyses and left <= self.places and outcome.seconds < _LONG_S
        is_worth = outcome.seconds >= (_BEFORE_ANALYSES_S if self.has_analyses else _WORTH_S)
        if left and finished > 1 and is_worth and now - self.began >= _EVERY_S and not is_near:
            self.began, self.is_due = now, True
        if self.follower is not None and self.follower.is_alive():
            self.is_behind = True
        elif left:
            self._next()

    def _next(self) -> None:
        """Begin a page if one is due, else scores; in a search, only a page."""
        if self.is_due:
            page = self.manifest.store.root / "report" / self.manifest.name / "leaderboard.html"
            self._start(_report, f"leaderboard of {self.ended} runs: {page}")
            self.is_due = False
        elif not self.manifest.search:
            self._start(_score, "")

    def _start(self, work: _Work, said: str) -> None:
        """Start a process that does `work`; say the text `said` when it has ended without an error."""
        if self.process is None:  # the process remains silent on scores that it makes again
            for line in remarks(self.manifest):
                self.display.say(line)
        self.is_behind = False
        with contextlib.suppress(OSError):  # no memory for another process, say
            self.process, connection = _begun(work, self.manifest, self.with_images)
            self.follower = threading.Thread(target=self._follow, args=(connection, said), daemon=True)
            self.follower.start()

    def _follow(self, connection: Connection, said: str) -> None:
        """Wait for a process; say the text if it ended without an error, and then go on if runs have ended since."""
        try:
            connection.recv()
        except (EOFError, OSError):
            return
        if said:
            self.display.say(said)
        with self.lock:
            if self.is_behind and not self.has_ended:
                self._next()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.lock:
            self.has_ended = True
        if self.process is not None and self.follower is not None:
            if kind is not None:
                self.process.terminate()
            try:
                self.follower.join()
                self.process.join()
            except BaseException:
                # after Ctrl-C; otherwise, multiprocessing would wait for the process at the end of the command
                self.process.terminate()
                raise


def _begun(work: _Work, manifest: Manifest, with_images: bool) -> tuple[BaseProcess, Connection]:
    """Start a process that does `work`, and return it with a connection. It sends True at its end, and nothing if it failed."""
    context: Any = multiprocessing.get_context(START_METHOD)
    ours, its = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(its, work, manifest, with_images))
    process.start()
    its.close()
    return process, ours


def _do(connection: Connection, work: _Work, manifest: Manifest, with_images: bool) -> None:
    """Do `work` in silence: the command reports failures when it makes scores and page at its end."""
    end_with_parent()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    work(manifest, with_images)
    connection.send(True)


def _score(manifest: Manifest, _: bool) -> None:
    """Score, with normal priority, because the scores are needed in any case. One process, because other cores train."""
    score_all(manifest, lambda *_: None, 1)


def _report(manifest: Manifest, with_images: bool) -> None:
    """Score, and write the page, with low priority unless it is the first."""
    from bench.results.write_report import score_and_report  # slow imports

    if (manifest.store.root / "report" / manifest.name / "leaderboard.html").is_file():
        os.nice(_NICE)
    score_and_report(manifest, None, lambda *_: None, with_images, processes=1)
