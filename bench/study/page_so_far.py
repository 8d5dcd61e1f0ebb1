"""Write the page of a grid while its runs are still training, so that first results can be seen early."""

import contextlib
import multiprocessing
import os
import time
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess

from bench.executors.execute_job import Outcome
from bench.planning.manifest import Manifest
from bench.results.write_report import score_and_report
from bench.study.job_progress import Display
from bench.system.child_processes import end_with_parent

_WORTH_S = 20.0  # a page is worth its cost if a run takes at least this long
_EVERY_S = 600.0  # least seconds between two pages


@dataclass(slots=True)
class PageSoFar:
    """The page of the runs that are finished so far. A child process of low priority scores them and writes the page.

    Scores of finished runs are kept, so the final page does not need them again. A failure of the child process is no
    failure of the grid: the final page is written in any case.
    """

    manifest: Manifest
    with_images: bool
    display: Display
    child: SpawnProcess | None = None
    began: float = 0.0

    def update(self, outcome: Outcome, finished: int, total: int) -> None:
        """Begin a page after a run has ended, if the run took long, others are missing, and the last page is old."""
        now = time.monotonic()
        is_early = self.child is not None and (self.child.is_alive() or now - self.began < _EVERY_S)
        if outcome.state != "done" or outcome.seconds < _WORTH_S or finished >= total or is_early:
            return
        self.child = multiprocessing.get_context("spawn").Process(
            target=_write, args=(self.manifest, self.with_images), daemon=True
        )
        self.child.start()
        self.began = now
        page = self.manifest.store.root / "report" / str(self.manifest.content["name"]) / "leaderboard.html"
        self.display.say(f"leaderboard of {finished} of {total} runs, in a few seconds: {page}")

    def finish(self) -> None:
        """Wait for a page that is not complete: two processes must not write one page."""
        if self.child is not None:
            self.child.join()


def _write(manifest: Manifest, with_images: bool) -> None:
    """Score the finished runs and write the page, without any output."""
    end_with_parent()
    os.nice(10)
    with open(os.devnull, "w") as silent, contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):  # noqa: PTH123
        try:
            score_and_report(manifest, None, lambda *_: None, with_images)
        except Exception:  # noqa: BLE001  (a full disk, say: the final page reports it)
            return
