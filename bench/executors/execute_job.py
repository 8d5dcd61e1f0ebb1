"""Run one job, as every executor does: write its log, report progress, record a failure."""

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

from bench.planning.jobs import AnalysisJob, DerivedJob, Job
from bench.planning.run import RunSpec
from bench.store.store import write_bytes
from bench.system.devices import keep_freed_memory
from harmonize.disk_space import DiskFullError
from harmonize.errors import ConfigError
from harmonize.progress import Progress

Work = Job | DerivedJob | AnalysisJob
# arguments: job id, name of the step, number of units done, total number of units
OnEvent = Callable[[str, str, int, int], None]
PROGRESS = "PROGRESS"  # progress file of a job on another machine: the job writes it, the waiting process reads it
EVERY = 1.0  # seconds between two writes and between two reads of the progress file


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one job."""

    job_id: str
    state: str  # done, failed, or held (another process works on the run)
    reason: str  # why the job failed or is held; "" if it is done
    seconds: float
    log: Path


class Executor(Protocol):
    """The interface of objects that run jobs.

    A failing job does not stop the others. Closing the iterator that `submit` returns stops the running jobs.
    """

    def prepare(self) -> None:
        """Start slow preparations in the background."""

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes."""


def trained_by(jobs: Sequence[Work]) -> list[RunSpec]:
    """Return the runs that the jobs train."""
    return [job.run for job in jobs if isinstance(job, Job)]


def check_devices(runs: Sequence[RunSpec], num_devices: int, where: str) -> None:
    """Raise ConfigError if several devices cannot share the batches of a run. `where`: the option.

    The devices divide the micro-batches of a batch. An algorithm that compares the groups of a batch needs the whole batch.
    """
    for run in runs if num_devices > 1 else ():
        schedule = run.config.schedule
        if run.compares_groups:
            what = (
                f"{run.config.algorithm} compares the groups of a whole batch, which {num_devices} devices would divide"
            )
            raise ConfigError(what, where, "train each run on one device, or use `algorithm: erm`")
        micro = schedule.micro_batch or schedule.batch_size
        if num_devices > schedule.batch_size // micro:
            what = f"{num_devices} devices cannot share a batch of {schedule.batch_size} images in micro-batches of {micro}"
            fix = f"set `schedule.micro_batch` to {max(2, schedule.batch_size // num_devices)} or less, or use fewer devices"
            raise ConfigError(what, where, fix)


def placed(job: Work, devices: Sequence[str]) -> Work:
    """Return the job with these devices: a run is trained on all devices, other jobs use the first device."""
    if isinstance(job, Job):
        return replace(job, device=devices[0], others=tuple(devices[1:]))
    return replace(job, device=devices[0])


def attempt(job: Work, progress: Progress) -> tuple[str, str]:
    """Run a job, with output to log.txt; return the fields `state` and `reason` of its `Outcome`."""
    try:
        return _attempt(job, progress)
    except OSError as error:
        # the disk is so full that not even the folder or the log can be written
        if DiskFullError.of(error, job.folder):
            return "failed", _reason(error, job)
        raise


def _attempt(job: Work, progress: Progress) -> tuple[str, str]:
    job.begin()
    with (job.folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            return ("done", "") if _do(job, progress) else ("held", "another process works on this run")
        except Exception as error:  # noqa: BLE001  (a failing run must not stop the others; the failure is recorded)
            reason = _reason(error, job)
            with contextlib.suppress(DiskFullError):  # the failure is not recorded, but the command prints the reason
                job.fail(f"{traceback.format_exc()}\n{reason}")
            return "failed", reason


def _reason(error: Exception, job: Work) -> str:
    """Return the reason of a failure in one line; for a full disk, with the file, the free space and the fix."""
    if full := DiskFullError.of(error, job.folder):
        return f"cannot write {full.filename}: {full.strerror}; {full.fix}"
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"


def _do(job: Work, progress: Progress) -> bool:
    """Run a job; return False if another process works on its run.

    The function contains imports, so that torch is loaded only when a job begins.
    """
    keep_freed_memory()
    if isinstance(job, DerivedJob):
        from bench.runs.make_derived import derive_one

        return derive_one(job, progress)
    if isinstance(job, AnalysisJob):
        from bench.analyses.run_analysis import run_one_analysis

        return run_one_analysis(job, progress)
    from bench.runs.run_one import run_one

    return run_one(job, progress)


@dataclass(frozen=True, slots=True)
class Remote:
    """A job that another machine runs by calling this object.

    Both machines must see the same files under the same paths.
    """

    job: Work
    folder: str  # working directory of `bench`: paths of the job may be relative to it
    imports: tuple[str, ...]  # sys.path, which may contain the user's own code

    @classmethod
    def of(cls, job: Work) -> "Remote":
        """Return a job in a form that another machine can run."""
        return cls(job, os.getcwd(), tuple(sys.path))  # noqa: PTH109  (a string can be sent to another machine)

    def __call__(self) -> tuple[str, str]:
        """Run the job and write its progress; return its state and the reason."""
        os.chdir(self.folder)
        sys.path.extend(path for path in self.imports if path not in sys.path)
        path, last = self.job.folder / PROGRESS, 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last > EVERY:
                last = now
                write_bytes(path, json.dumps([what, done, total]).encode())

        try:
            return attempt(self.job, progress)
        finally:
            path.unlink(missing_ok=True)


def follow(jobs: Sequence[Work], on_event: OnEvent) -> None:
    """Report the progress of the jobs that have written a progress file."""
    for job in jobs:
        try:
            what, done, total = json.loads((job.folder / PROGRESS).read_text())
        except (OSError, ValueError):
            continue
        on_event(job.id, what, done, total)
