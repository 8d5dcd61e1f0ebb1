"""Write the page of a grid while its runs are still training, so that first results can be seen early."""

import contextlib
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.executors.execute_job import Outcome
from bench.planning.manifest import Manifest
from bench.study.job_progress import Display

_WORTH_S = 20.0  # a page is worth its cost if a run takes at least this long
_LONG_S = 300.0  # beside runs of this length, a page takes no time that a user feels
_EVERY_S = 600.0  # least seconds between the beginnings of two pages


@dataclass(slots=True)
class PageSoFar:
    """The page of the runs that are finished so far. `bench report`, in a process of low priority, scores them and writes the page.

    Scores of finished runs are kept, so the final page does not need them again. A failure of this process is no failure of
    the grid: the final page is written in any case. As a context manager, it waits for a page that is not complete, because
    two processes must not write one page; after an error or Ctrl-C, it stops the process.
    """

    manifest: Manifest
    with_images: bool
    display: Display
    places: int = 1  # how many runs are trained at a time
    process: "subprocess.Popen[bytes] | None" = None
    began: float = 0.0

    def update(self, outcome: Outcome, finished: int, total: int) -> None:
        """Begin a page after a run has ended, if the run took long, the last page is old, and the final page is not near.

        The final page is near if no other run waits for a place, unless runs take minutes. A page would only delay it.
        """
        now = time.monotonic()
        is_early = self.process is not None and (self.process.poll() is None or now - self.began < _EVERY_S)
        left = total - finished
        is_last = left == 0 or (left <= self.places and outcome.seconds < _LONG_S)
        if outcome.state != "done" or outcome.seconds < _WORTH_S or is_last or is_early:
            return
        store, grid = self.manifest.store.root, str(self.manifest.content["name"])
        command = [
            "nice",
            sys.executable,
            "-m",
            "bench.cli",
            "report",
            "--grid",
            grid,
            "--store",
            str(store),
            "--quiet",
        ]
        command += ["--with-images"] if self.with_images else []
        nowhere = subprocess.DEVNULL
        with contextlib.suppress(OSError):  # no memory for another process, say
            self.process, self.began = subprocess.Popen(command, stdin=nowhere, stdout=nowhere, stderr=nowhere), now  # noqa: S603
            page = store / "report" / grid / "leaderboard.html"
            said = f"leaderboard of {finished} of {total} runs: {page}"
            threading.Thread(target=self._say_when_written, args=(self.process, said), daemon=True).start()

    def _say_when_written(self, process: "subprocess.Popen[bytes]", said: str) -> None:
        if process.wait() == 0:
            self.display.say(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process is not None:
            if kind is not None:
                self.process.terminate()
            self.process.wait()
