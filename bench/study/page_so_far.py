"""Score runs, and write the page of a grid, while other runs are still training."""

import contextlib
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from bench.executors.execute_job import Outcome
from bench.planning.manifest import Manifest
from bench.results.score_runs import remarks
from bench.study.job_progress import Display

_WORTH_S = 20.0  # a page is worth its cost if a run takes at least this long
_LONG_S = 300.0  # beside runs of this length, a page takes no time that a user feels
_EVERY_S = 600.0  # least seconds between the beginnings of two pages


@dataclass(slots=True)
class PageSoFar:
    """The page of the runs that are finished so far, and their scores. One process at a time makes them.

    `bench report`, with low priority, scores the finished runs and writes the page. When no page is due, `bench score` only scores them. Scores are
    kept, so the final page does not need them again, and the first run's scores leave compiled code for those of the others.
    Runs that end while the process is at work are scored by a next one, as long as there is other work beside it. A failure
    of the process is no failure of the grid: the final page is written in any case. As a context manager, this class waits
    for the process, because two processes must not write one page; after an error or Ctrl-C, it stops the process.
    """

    manifest: Manifest
    with_images: bool
    display: Display
    places: int = 1  # how many runs are trained at a time
    process: "subprocess.Popen[bytes] | None" = None
    began: float = -_EVERY_S  # when the last page was begun
    is_behind: bool = False  # whether a run has ended since the process began
    has_ended: bool = False  # whether there is no more work beside the process
    lock: threading.Lock = field(default_factory=threading.Lock)  # held while the next process is chosen

    def update(self, outcome: Outcome, finished: int, total: int) -> None:
        """Begin to score after a run has ended, unless the process is still at work; begin a page if one is due.

        A page is due if the run took long, the last page is old, and the final page is not near. The final page is near if no
        other run waits for a place, unless runs take minutes. In a search, nothing is scored before a page is due, because the
        final choice of trials is not known.
        """
        if outcome.state == "done":
            with self.lock:
                self._update(outcome, finished, total)

    def _update(self, outcome: Outcome, finished: int, total: int) -> None:
        left, now = total - finished, time.monotonic()
        if self.process is not None and self.process.poll() is None:
            self.is_behind = True
            return
        if left == 0:
            return
        is_near = left <= self.places and outcome.seconds < _LONG_S
        if outcome.seconds >= _WORTH_S and now - self.began >= _EVERY_S and not is_near:
            self.began = now
            page = self.manifest.store.root / "report" / str(self.manifest.content["name"]) / "leaderboard.html"
            options = ["--with-images"] if self.with_images else []
            self._start(
                ["nice", sys.executable], "report", options, f"leaderboard of {finished} of {total} runs: {page}"
            )
        else:
            self._score()

    def _score(self) -> None:
        """Begin to score; in a search, do nothing."""
        if not self.manifest.content.get("search"):
            # not with low priority: scores are needed in any case, and one core would make them at the end while others wait
            self._start([sys.executable], "score", [], "")

    def _start(self, python: list[str], command: str, options: list[str], said: str) -> None:
        """Start `bench COMMAND` for the grid; say the text `said` when the command has ended without an error."""
        of_grid = ["--grid", str(self.manifest.content["name"]), "--store", str(self.manifest.store.root), "--quiet"]
        arguments = [*python, "-m", "bench.cli", command, *of_grid, *options]
        nowhere = subprocess.DEVNULL
        if self.process is None:  # the process remains silent on scores that it makes again
            for line in remarks(self.manifest):
                self.display.say(line)
        self.is_behind = False
        with contextlib.suppress(OSError):  # no memory for another process, say
            self.process = subprocess.Popen(arguments, stdin=nowhere, stdout=nowhere, stderr=nowhere)  # noqa: S603
            threading.Thread(target=self._follow, args=(self.process, said), daemon=True).start()

    def _follow(self, process: "subprocess.Popen[bytes]", said: str) -> None:
        """Wait for a process; say the text if it ended without an error, and then score the runs that have ended since."""
        if process.wait() != 0:
            return
        if said:
            self.display.say(said)
        with self.lock:
            if self.is_behind and not self.has_ended and self.process is process:
                self._score()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self.lock:
            self.has_ended = True
        if self.process is not None:
            if kind is not None:
                self.process.terminate()
            self.process.wait()
