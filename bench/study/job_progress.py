"""Send the jobs of a grid to an executor; report and count the outcomes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, Self

from bench.executors.execute_job import Executor, Outcome, Work

# arguments: outcome of a job, number of jobs that have ended, number of all jobs
OnOutcome = Callable[[Outcome, int, int], None]
TRAINING = 0.95  # share of a run's progress that is reached when its last epoch ends; the rest is for its predictions


class Display(Protocol):
    """The interface of objects that show progress."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Update a progress bar of the main process: `done` of `total` units of the step `what`."""

    def run_progress(self, run_id: str, name: str, what: str, done: int, total: int) -> None:
        """Update the progress bar of a run that is shown as `name`: `done` of `total` units of the step `what`."""

    def overall_progress(self, what: str, finished: int, done: float, total: int) -> None:
        """Update the progress bar of `total` runs or analyses.

        `finished` is the number of ended runs or analyses. `done` is `finished` plus, for each running run or analysis, the share that is done.
        """

    def say(self, text: str) -> None:
        """Print one line."""

    def warn(self, text: str) -> None:
        """Print one line, also if the display shows no progress."""


@dataclass(slots=True)
class Overall:
    """The progress of all jobs of one kind, e.g. of the runs of a grid."""

    display: Display
    what: str
    finished: int
    total: int
    parts: dict[str, float] = field(default_factory=dict)  # id of a running job -> share of the job that is done
    names: Mapping[str, str] = field(default_factory=dict)  # job id -> name of its run

    def on_event(self, job_id: str, what: str, done: int, total: int) -> None:
        """Show the progress of one job, and how far all jobs are."""
        self.display.run_progress(job_id, self.names.get(job_id, ""), what, done, total)
        if what.startswith("epoch") and total:
            self.parts[job_id] = TRAINING * done / total
            self.show()

    def finish(self, job_id: str) -> None:
        """Count a job that has ended."""
        self.parts.pop(job_id, None)
        self.finished += 1
        self.show()

    def show(self) -> None:
        """Show how far all jobs are."""
        done = self.finished + sum(self.parts.values())
        self.display.overall_progress(self.what, self.finished, done, self.total)


@dataclass(slots=True)
class Tally:
    """The outcomes of the jobs so far."""

    display: Display
    executor: Executor
    overall: Overall
    held: int = 0  # number of jobs that were skipped, because another process works on their run
    failed: dict[str, str] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)  # job id -> name of its run

    @classmethod
    def of(cls, display: Display, executor: Executor) -> Self:
        """Return a tally without outcomes."""
        return cls(display, executor, Overall(display, "", 0, 0))

    def expect(self, what: str, finished: int, total: int) -> None:
        """Begin the progress bar of `total` runs or analyses, of which `finished` are done."""
        self.overall = Overall(self.display, what, finished, total)
        self.overall.show()

    def work(self, jobs: Sequence[Work], names: Mapping[str, str], on_outcome: OnOutcome | None = None) -> set[str]:
        """Run the jobs, report how each job ends, and return the ids of the successful jobs.

        `names`: job id -> name of its run. `on_outcome` is called after each job.
        """
        well = set()
        self.overall.names = names
        self.names |= names
        for outcome in self.executor.submit(jobs, self.overall.on_event) if jobs else ():
            self.overall.finish(outcome.job_id)
            name = f"{outcome.job_id} {names[outcome.job_id]}".rstrip()
            if outcome.state == "failed":
                self.failed[outcome.job_id] = outcome.reason
                self.logs[outcome.job_id] = outcome.log
                self.display.say(f"{name} failed: {outcome.reason}")
            elif outcome.state == "held":
                self.held += 1
                self.display.say(f"{name}: {outcome.reason}")
            else:
                well.add(outcome.job_id)
                self.display.say(f"{name} done in {outcome.seconds:.0f} s")
            if on_outcome:
                on_outcome(outcome, self.overall.finished, self.overall.total)
        return well
