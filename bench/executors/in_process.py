"""Run jobs in the current process, one after the other. The library uses this executor for scripts and notebooks."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.executors.execute_job import OnEvent, Outcome, Work, attempt, placed
from bench.system.devices import first_device

_one_at_a_time = threading.Lock()  # a job takes the output, the random state and the threads of the whole process


@dataclass(frozen=True, slots=True)
class Here:
    """Run jobs in the current process.

    The output of the process goes to the log of the job. After each job, torch's number of threads and its random state are
    as they were. Jobs of other threads wait.
    """

    device: str = "auto"  # auto, cpu, cuda or cuda:N

    def prepare(self) -> None:
        """Do nothing, because this executor starts no workers."""

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes."""
        device = first_device(self.device)
        for job in jobs:
            yield self._run_one_job(placed(job, [device]), device, on_event)

    def _run_one_job(self, job: Work, device: str, on_event: OnEvent) -> Outcome:
        """Run a job; the random state and the number of threads of this process are afterwards as before."""
        import torch

        def progress(what: str, done: int, total: int) -> None:
            on_event(job.id, what, done, total)

        gpus = [] if device == "cpu" else [torch.device(device)]
        began = time.monotonic()
        with _one_at_a_time, torch.random.fork_rng(gpus):
            threads = torch.get_num_threads()
            try:
                state, reason = attempt(job, progress)
            finally:
                torch.set_num_threads(threads)
        return Outcome(job.id, state, reason, time.monotonic() - began, job.folder / "log.txt")
