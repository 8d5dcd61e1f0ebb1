"""Run jobs as tasks of one Slurm job array, with submitit.

All nodes must see the store under the same path. A task that reaches its time limit, or is preempted, is queued again and
resumes from the run's last checkpoint.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.executors.execute_job import EVERY, OnEvent, Outcome, Remote, Work, check_devices, follow, placed, trained_by
from bench.system.devices import require_device
from harmonize.errors import SetupError

_QUERY_S = 20.0  # seconds between two queries of the Slurm queue


@dataclass(frozen=True, slots=True)
class Slurm:
    """The resources of a run on a Slurm cluster. The package submitit is installed with `pip install "unseen-cxr[slurm]"`."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    hours: float = 24.0  # hours until a task is stopped and queued again
    gpus: int = 1  # GPUs per run; several GPUs train a run together
    memory_gb: float = 16.0
    at_once: int = 256  # maximum number of tasks in parallel
    requeues: int = 10  # maximum number of times that a task is queued again after its time limit
    # slurm, or local: the tasks are processes on this machine, so that the executor can be tried without a cluster
    cluster: str = "slurm"

    def __post_init__(self) -> None:
        if self.cluster not in ("slurm", "local"):
            raise ValueError(f"cluster must be slurm or local (got {self.cluster!r})")
        if self.hours <= 0 or self.memory_gb <= 0 or self.at_once < 1 or self.gpus < 0 or self.requeues < 0:
            raise ValueError("hours, memory_gb and at_once must be above 0, gpus and requeues must not be negative")

    def prepare(self) -> None:
        """Raise SetupError if submitit is not installed or this machine cannot submit jobs."""
        _submitit()
        if self.cluster == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
            fix = "run the command on a machine with `sbatch`, or use --executor local"
            raise SetupError("this machine cannot submit Slurm jobs: no sbatch", "--executor slurm", fix)

        if self.cluster == "local" and self.gpus:
            try:
                require_device(f"cuda:{self.gpus - 1}")
            except SetupError as error:
                what = f"cluster=local trains on this machine, which does not have {self.gpus} GPUs"
                fix = "write slurm:cluster=local,gpus=0 to train on the CPU"
                raise SetupError(what, "--executor slurm:cluster=local", fix) from error

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs, as many in parallel as Slurm allows, and yield their outcomes."""
        self.prepare()
        check_devices(trained_by(jobs), self.gpus, "--executor slurm:gpus")
        on_nodes = [placed(job, [f"cuda:{i}" for i in range(self.gpus)] or ["cpu"]) for job in jobs]
        folder = jobs[0].store.root.resolve() / "slurm"  # Slurm's scripts and logs; all nodes see it
        executor = _submitit().AutoExecutor(folder, cluster=self.cluster, slurm_max_num_timeout=self.requeues)
        own = {key: getattr(self, key) for key in ("partition", "account", "qos", "constraint") if getattr(self, key)}
        executor.update_parameters(
            name="unseen",
            timeout_min=max(1, round(self.hours * 60)),
            cpus_per_task=max(job.run.config.threads for job in jobs),
            mem_gb=self.memory_gb,
            slurm_array_parallelism=self.at_once,
            **({"gpus_per_node": self.gpus} if self.gpus else {}),
            **{f"slurm_{key}": value for key, value in own.items()},
        )
        began = time.monotonic()
        tickets = executor.map_array(_Task.__call__, [_Task(Remote.of(job)) for job in on_nodes])
        running = list(zip(tickets, on_nodes, strict=True))
        lost_tasks = _LostTasks(self.cluster)
        try:
            while running:
                time.sleep(EVERY / 4 if self.cluster == "local" else EVERY)
                follow([job for _, job in running], on_event)
                lost = lost_tasks.query([ticket for ticket, _ in running])
                for pair in [(t, j) for t, j in running if t.job_id in lost or t.paths.result_pickle.exists()]:
                    running.remove(pair)
                    yield _ended(*pair, time.monotonic() - began)
        except SystemExit:  # SIGTERM, for example at the time limit of the Slurm job in which this command runs
            if self.cluster == "slurm":
                running.clear()  # the tasks continue
            raise
        finally:
            for ticket, _ in running:
                ticket.cancel(check=False)


def _ended(ticket: Any, job: Work, seconds: float) -> Outcome:
    """Return the outcome of a task that has ended.

    A task without a result is recorded as failed, and so is a task with an error outside the job, for example of an import.
    """
    has_result = ticket.paths.result_pickle.exists()
    if has_result and ticket.exception() is None:
        state, reason = ticket.result()
    else:
        state = "failed"
        how = "with an error" if has_result else "without a result (killed, or out of memory)"
        reason = f"the task {ticket.job_id} ended {how}: see {ticket.paths.stderr}"
        job.begin()
        job.fail(reason)
    return Outcome(job.id, state, reason, seconds, job.folder / "log.txt")


class _LostTasks:
    """The search for tasks that ended without a result: tasks that `squeue` does not list.

    `sacct` is not used, because not every cluster records its jobs.
    """

    def __init__(self, cluster: str) -> None:
        self.cluster, self.last_query, self.missing = cluster, time.monotonic(), set[str]()

    def query(self, tickets: Sequence[Any]) -> set[str]:
        """Return the ids of lost tasks.

        A task is lost if two queries in a row do not list it, because results may arrive late.
        """
        if self.cluster == "local":
            return {ticket.job_id for ticket in tickets if ticket.done()}
        if time.monotonic() - self.last_query < _QUERY_S:
            return set()
        self.last_query = time.monotonic()
        arrays = sorted({ticket.job_id.partition("_")[0] for ticket in tickets})
        command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(arrays)}"]
        queue = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if queue.returncode and "Invalid job id" not in queue.stderr:
            return set()  # Slurm does not answer, so no task counts as lost until the next query
        missing = {ticket.job_id for ticket in tickets} - set(queue.stdout.split())
        lost, self.missing = missing & self.missing, missing
        return lost


@dataclass(frozen=True, slots=True)
class _Task:
    """A job that submitit may queue again."""

    remote: Remote

    def __call__(self) -> tuple[str, str]:
        return self.remote()

    def checkpoint(self) -> Any:
        """Return the task that is queued again: the same task, which resumes from its checkpoint."""
        return _submitit().helpers.DelayedSubmission(self)


def _submitit() -> Any:
    """Return the module submitit, an optional dependency."""
    try:
        import submitit
    except ImportError as error:
        raise SetupError("submitit is not installed", "--executor slurm", 'pip install "unseen-cxr[slurm]"') from error
    return submitit
