"""Runs as tasks of one Slurm job array, submitted and followed by submitit.

All nodes must see the store under the same path. A task that meets its time limit, or is preempted, is put in the queue
again and goes on from the run's last checkpoint.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.executors.execute_job import EVERY, OnEvent, Outcome, Remote, Work, follow, placed
from harmonize.errors import SetupError

_LOOK = 20.0  # seconds between two questions to Slurm about tasks that said nothing


@dataclass(frozen=True, slots=True)
class Slurm:
    """What a run asks of Slurm. Needs `pip install "unseen-cxr[slurm]"`."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    hours: float = 24.0  # until a task is put in the queue again
    gpus: int = 1  # of a run, which they train together
    memory_gb: float = 16.0
    at_once: int = 256  # tasks of the array
    requeues: int = 10  # after meeting the time limit
    cluster: str = "slurm"  # local: processes of this machine, to try things out

    def __post_init__(self) -> None:
        if self.cluster not in ("slurm", "local"):
            raise ValueError(f"cluster is slurm or local, not {self.cluster!r}")
        if self.hours <= 0 or self.memory_gb <= 0 or self.at_once < 1 or self.gpus < 0 or self.requeues < 0:
            raise ValueError("hours, memory_gb and at_once are above 0, gpus and requeues are 0 or more")

    def prepare(self) -> None:
        """Raise SetupError when submitit is not installed or this is no machine to submit from."""
        _submitit()
        if self.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            fix = "run the command where `sbatch` works, or use --executor local"
            raise SetupError("Slurm cannot be reached from this machine: no sbatch", "--executor slurm", fix)

    def side_by_side(self, threads: int) -> int:  # noqa: ARG002
        """Return how many tasks of the array may go on at once."""
        return self.at_once

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Do the jobs, as many at once as Slurm gives room for, and yield how each ended."""
        self.prepare()
        there = [placed(job, [f"cuda:{i}" for i in range(self.gpus)] or ["cpu"]) for job in jobs]
        folder = jobs[0].store.root.resolve() / "slurm"  # scripts and what Slurm itself writes; nodes see it
        executor = _submitit().AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=self.requeues)
        executor.update_parameters(**self._asked(max(job.run.config.threads for job in jobs)))
        began = time.monotonic()
        going = list(zip(executor.map_array(_Task.__call__, [_Task(Remote.of(j)) for j in there]), there, strict=True))
        gone = _Gone(self.cluster)
        try:
            while going:
                time.sleep(EVERY / 4 if self.cluster == "local" else EVERY)
                follow([job for _, job in going], on_event)
                lost = gone.look([ticket for ticket, _ in going])
                for pair in [(t, j) for t, j in going if t.job_id in lost or t.paths.result_pickle.exists()]:
                    going.remove(pair)
                    yield _ended(*pair, time.monotonic() - began)
        finally:
            for ticket, _ in going:
                ticket.cancel(check=False)

    def _asked(self, threads: int) -> dict[str, Any]:
        """Return submitit's parameters."""
        own = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint") if getattr(self, key)}
        return {
            "name": "unseen",
            "timeout_min": max(1, round(self.hours * 60)),
            "cpus_per_task": threads,
            "mem_gb": self.memory_gb,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            "slurm_array_parallelism": self.at_once,
            **{f"slurm_{key}": value for key, value in own.items()},
        }


def _ended(ticket: Any, job: Work, seconds: float) -> Outcome:
    """Return how a task ended; one that left no result is recorded as a failure here."""
    error: Exception | str | None = "lost"
    if ticket.paths.result_pickle.exists():
        error = ticket.exception()
    if error is None:
        state, reason = ticket.result()
    else:
        where = ticket.paths.stderr
        state, reason = (
            "failed",
            f"the task {ticket.job_id} ended without a result (killed, or out of memory): see {where}",
        )
        job.begin()
        job.fail(reason)
    return Outcome(job.id, state, reason, seconds, job.folder / "log.txt")


class _Gone:
    """Which tasks ended without a result. Slurm is asked by `squeue`: not every cluster keeps accounts for `sacct`."""

    def __init__(self, cluster: str) -> None:
        self.cluster, self.asked, self.missed = cluster, time.monotonic(), set[str]()

    def look(self, tickets: Sequence[Any]) -> set[str]:
        """Return the ids of those that are neither in the queue nor at work, two looks long: results arrive late."""
        if self.cluster == "local":
            return {ticket.job_id for ticket in tickets if ticket.done()}
        if time.monotonic() - self.asked < _LOOK:
            return set()
        self.asked = time.monotonic()
        arrays = sorted({ticket.job_id.partition("_")[0] for ticket in tickets})
        asked = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
        if told.returncode and "Invalid job id" not in told.stderr:
            return set()  # Slurm does not answer now: it is asked again
        missing = {ticket.job_id for ticket in tickets} - set(told.stdout.split())
        lost, self.missed = missing & self.missed, missing
        return lost


@dataclass(frozen=True, slots=True)
class _Task:
    """A job that submitit may put in the queue again."""

    remote: Remote

    def __call__(self) -> tuple[str, str]:
        return self.remote()

    def checkpoint(self) -> Any:
        """Return what is to be done when the task starts again: the same, which goes on where it stopped."""
        return _submitit().helpers.DelayedSubmission(self)


def _submitit() -> Any:
    """Return the module, imported where it is used: it is an extra."""
    try:
        import submitit
    except ImportError as error:
        raise SetupError("submitit is not installed", "--executor slurm", 'pip install "unseen-cxr[slurm]"') from error
    return submitit
