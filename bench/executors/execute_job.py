"""What every executor does with a job, wherever it runs: do it, keep its log, record a failure."""

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from bench.planning.jobs import AnalysisJob, DerivedJob, Job, PassJob
from bench.store.store import Progress, write_bytes

Work = Job | DerivedJob | PassJob | AnalysisJob
OnEvent = Callable[[str, str, int, int], None]  # job id, what, done, total
PROGRESS = "PROGRESS"  # how far a job on another machine is: written by it, read by who waits
EVERY = 1.0  # seconds between two notes of it, and between two looks at them


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one job ended: done, failed or held (by another process)."""

    job_id: str
    state: str
    reason: str
    seconds: float
    log: Path


class Executor(Protocol):
    """Where jobs are done. Whatever stops one job stops no other; closing the iterator ends what is still going on."""

    def prepare(self) -> None:
        """Begin what takes a while, beside what the caller does next."""

    def side_by_side(self, threads: int) -> int:
        """Return how many jobs of so many threads, each on one device, may go on at once."""

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Do the jobs and yield how each ended."""


def placed(job: Work, devices: Sequence[str]) -> Work:
    """Return the job on these devices: a run is trained on all of them, everything else is done on the first."""
    if isinstance(job, Job):
        return replace(job, device=devices[0], others=tuple(devices[1:]))
    return replace(job, device=devices[0])


def attempt(job: Work, progress: Progress) -> tuple[str, str]:
    """Do a job; return its state (done, held or failed) and the reason. What it prints goes to log.txt in its folder."""
    job.begin()
    with (job.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            return ("done", "") if _do(job, progress) else ("held", "another process is at work on this run")
        except Exception as error:  # noqa: BLE001  (whatever stops one run must not stop the others; it is recorded)
            text = traceback.format_exc()
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            job.fail(f"{text}\n{reason}")
            return "failed", reason


def _do(job: Work, progress: Progress) -> bool:
    """Do a job; False when another process holds its run. The work imports torch, so it is named here alone."""
    if isinstance(job, DerivedJob):
        from bench.runs.make_derived import derive_one

        return derive_one(job, progress)
    if isinstance(job, AnalysisJob):
        from bench.analyses.run_analysis import analyse_one

        return analyse_one(job, progress)
    from bench.runs.run_one import pass_one, run_one

    return pass_one(job, progress) if isinstance(job, PassJob) else run_one(job, progress)


@dataclass(frozen=True, slots=True)
class Remote:
    """A job that another machine does, which sees the same files under the same paths: call it there."""

    job: Work
    folder: str  # where `bench` was started: paths of the job may be relative to it
    imports: tuple[str, ...]  # where it found code, a user's own among it

    @classmethod
    def of(cls, job: Work) -> "Remote":
        """Return a job of this process, to be done elsewhere."""
        return cls(job, os.getcwd(), tuple(sys.path))  # noqa: PTH109  (a string travels better)

    def __call__(self) -> tuple[str, str]:
        """Do the job, writing how far it is; return its state and the reason."""
        os.chdir(self.folder)
        sys.path.extend(path for path in self.imports if path not in sys.path)
        place, last = self.job.folder / PROGRESS, 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last > EVERY:
                last = now
                write_bytes(place, json.dumps([what, done, total]).encode())

        try:
            return attempt(self.job, progress)
        finally:
            place.unlink(missing_ok=True)


def follow(jobs: Sequence[Work], on_event: OnEvent) -> None:
    """Tell how far those of the jobs are that have said so."""
    for job in jobs:
        try:
            what, done, total = json.loads((job.folder / PROGRESS).read_text())
        except (OSError, ValueError):
            continue
        on_event(job.id, what, done, total)
