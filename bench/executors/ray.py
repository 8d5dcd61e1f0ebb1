"""Runs as tasks of a Ray cluster: one that is there, or one started on this machine.

All nodes must see the store under the same path. A task whose node or process is lost is done again elsewhere and goes on
from the run's last checkpoint; a node that was only cut off keeps the run's lease, and the second attempt is *held*.
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.executors.execute_job import EVERY, OnEvent, Outcome, Remote, Work, follow, placed
from harmonize.errors import SetupError


@dataclass(frozen=True, slots=True)
class Ray:
    """What a run asks of a Ray cluster. Needs `pip install "unseen-cxr[ray]"`."""

    address: str = ""  # host:port, or auto; "": RAY_ADDRESS, else a cluster on this machine that ends with the command
    gpus: float = (
        -1.0
    )  # of a run; .5: two runs share one, 4: they train it together; below 0: one where the cluster has any
    memory_gb: float = 0.0  # of a run, for Ray to plan with; 0: it does not plan with memory
    retries: int = 3  # attempts after the first when a node or a process is lost

    def __post_init__(self) -> None:
        if self.memory_gb < 0 or self.retries < 0:
            raise ValueError("memory_gb and retries are 0 or more")

    def prepare(self) -> None:
        """Connect to the cluster, or start it.

        Raises SetupError when Ray is not installed or the cluster does not answer.
        """
        ray = _ray()
        if ray.is_initialized():
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        address = self.address or os.environ.get("RAY_ADDRESS") or None
        own = {} if address else {"include_dashboard": False}
        try:
            _knock(address or "")
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **own)
        except (OSError, ValueError, RuntimeError) as error:
            fix = "start one with `ray start --head`, or leave the address out: one is started here"
            raise SetupError(
                f"no Ray cluster answers: {str(error).splitlines()[0]}", f"--executor ray:address={address}", fix
            ) from error

    def side_by_side(self, threads: int) -> int:
        """Return for how many runs the cluster has GPUs now, or cores where runs take none."""
        self.prepare()
        there, gpus = _ray().cluster_resources(), self._gpus()
        return max(1, int(there.get("GPU", 0) / gpus if gpus else there.get("CPU", 1) / threads))

    def _gpus(self) -> float:
        """Return the GPUs of a run."""
        return self.gpus if self.gpus >= 0 else float(_ray().cluster_resources().get("GPU", 0) > 0)

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Do the jobs, as many at once as the cluster has room for, and yield how each ended."""
        self.prepare()
        ray = _ray()
        gpus = self._gpus()
        room = {"memory": self.memory_gb * 2**30} if self.memory_gb else {}
        task = ray.remote(max_retries=self.retries, num_gpus=gpus, max_calls=1, **room)(_call)
        began = time.monotonic()
        going: dict[Any, Work] = {}
        for job in jobs:
            there = placed(job, [f"cuda:{i}" for i in range(max(1, int(gpus)))] if gpus else ["cpu"])
            going[task.options(num_cpus=job.run.config.threads).remote(Remote.of(there))] = there
        try:
            while going:
                ready, _ = ray.wait(list(going), timeout=EVERY)
                follow(list(going.values()), on_event)
                for reference in ready:
                    job = going.pop(reference)
                    try:
                        state, reason = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        state, reason = "failed", f"{type(error).__name__}: {_first_line(error)}"
                        job.begin()
                        job.fail(reason)
                    yield Outcome(job.id, state, reason, time.monotonic() - began, job.folder / "log.txt")
        finally:
            for reference in going:
                ray.cancel(reference, force=True)


def _knock(address: str) -> None:
    """Raise OSError when nothing listens at host:port: Ray itself would ask for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _call(remote: Remote) -> tuple[str, str]:
    return remote()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason was given")


def _ray() -> Any:
    """Return the module, imported where it is used: it is an extra."""
    try:
        import ray
    except ImportError as error:
        raise SetupError("Ray is not installed", "--executor ray", 'pip install "unseen-cxr[ray]"') from error
    return ray
