"""Run jobs in the current process, one after the other. The library uses this executor for scripts and notebooks."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.executors.execute_job import OnEvent, Outcome, Work, attempt, placed
from bench.system.devices import choose_devices

_one_at_a_time = threading.Lock()  # the output of this process goes to the log of one job


@dataclass(frozen=True, slots=True)
class Here:
    """Run jobs in the current process.

    The output of the process goes to the log of the job. After the last job, torch's number of threads and its random state
    are as they were. Jobs of other threads wait.
    """

    device: str = "auto"  # auto, cpu, cuda or cuda:N

    def prepare(self) -> None:
        """Do nothing, because this executor starts no workers."""

    def side_by_side(self, threads: int) -> int:  # noqa: ARG002
        """Return 1: jobs run one after the other."""
        return 1

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes."""
        import torch

        device = choose_devices(self.device, 1, 1)[:1]
        threads = torch.get_num_threads()
        gpus = [torch.device(name) for name in device if name != "cpu"]
        try:
            with torch.random.fork_rng(gpus):
                for job in jobs:
                    yield self._do(placed(job, device), on_event)
        finally:
            torch.set_num_threads(threads)

    def _do(self, job: Work, on_event: OnEvent) -> Outcome:
        def progress(what: str, done: int, total: int) -> None:
            on_event(job.id, what, done, total)

        began = time.monotonic()
        with _one_at_a_time:
            state, reason = attempt(job, progress)
        return Outcome(job.id, state, reason, time.monotonic() - began, job.folder / "log.txt")
