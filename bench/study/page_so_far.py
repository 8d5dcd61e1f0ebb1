"""The page of the runs that are finished so far, while a grid trains others."""

import math
import time
from dataclasses import dataclass

from bench.executors.execute_job import Outcome
from bench.planning.manifest import Manifest
from bench.study.job_progress import Display

EVERY_S = 600.0  # seconds without a page of the grid, after which the next run that ends brings one


@dataclass(slots=True)
class PageSoFar:
    """Writes pages of finished runs. A failure is no failure of the grid: the final page is written in any case."""

    manifest: Manifest
    with_images: bool
    display: Display
    last: float = -math.inf  # when the last page was written; the first one comes with the second run

    def update(self, outcome: Outcome, finished: int, total: int) -> None:
        """Score the finished runs and write their page, if it can compare runs, other runs are left, and a page is due."""
        if outcome.state != "done" or not 1 < finished < total or time.monotonic() - self.last < EVERY_S:
            return
        from bench.results.write_report import score_and_report  # slow imports

        try:  # in one process, because other cores train
            report = score_and_report(self.manifest, None, lambda *_: None, self.with_images, processes=1)
            self.display.say(f"leaderboard of {finished} of {total} runs: {report.page}")
        except Exception as error:  # noqa: BLE001  (the runs go on)
            self.display.say(f"no leaderboard of {finished} of {total} runs yet: {error}")
        self.last = time.monotonic()
