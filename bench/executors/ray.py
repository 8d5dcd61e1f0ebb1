"""Run jobs as tasks of an existing Ray cluster, or of a Ray cluster that is started on this machine.

All nodes must see the store under the same path. If a node or process is lost, its task is retried elsewhere and
resumes from the run's last checkpoint. If a node only lost its connection, the process on this node keeps the run's
lease, and the outcome of the retry is "held" (another process works on the run).
"""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.executors.execute_job import EVERY, OnEvent, Outcome, Remote, Work, check_devices, follow, placed, trained_by
from harmonize.errors import SetupError


@dataclass(frozen=True, slots=True)
class Ray:
    """The resources of a run on a Ray cluster. Ray is installed with `pip install "unseen-cxr[ray]"`."""

    # host:port, or auto. "": the address in the variable RAY_ADDRESS, or else a new cluster on this machine
    address: str = ""
    # GPUs per run. 0.5: two runs share a GPU; 4: four GPUs train a run together; below 0: one GPU if there are GPUs
    gpus: float = -1.0
    memory_gb: float = 0.0  # memory per run that Ray reserves; 0: Ray does not reserve memory
    retries: int = 3  # retries if a node or a process is lost

    def __post_init__(self) -> None:
        if self.memory_gb < 0 or self.retries < 0:
            raise ValueError("memory_gb and retries must not be negative")

    def prepare(self) -> None:
        """Connect to the cluster, or start one.

        Raises SetupError if Ray is not installed or the cluster does not answer.
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
            fix = "start a cluster with `ray start --head`, or remove the address to start one on this machine"
            raise SetupError(
                f"no Ray cluster answers: {str(error).splitlines()[0]}", f"--executor ray:address={address}", fix
            ) from error

    def _gpus(self) -> float:
        """Return the number of GPUs per run."""
        return self.gpus if self.gpus >= 0 else float(_ray().cluster_resources().get("GPU", 0) > 0)

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs, as many in parallel as the cluster can, and yield their outcomes."""
        self.prepare()
        ray = _ray()
        gpus = self._gpus()
        check_devices(trained_by(jobs), int(gpus), "--executor ray:gpus")
        memory = {"memory": self.memory_gb * 2**30} if self.memory_gb else {}
        task = ray.remote(max_retries=self.retries, num_gpus=gpus, max_calls=1, **memory)(_call)
        began = time.monotonic()
        running: dict[Any, Work] = {}
        for job in jobs:
            on_node = placed(job, [f"cuda:{i}" for i in range(max(1, int(gpus)))] if gpus else ["cpu"])
            running[task.options(num_cpus=job.run.config.threads).remote(Remote.of(on_node))] = on_node
        try:
            while running:
                ready, _ = ray.wait(list(running), timeout=EVERY)
                follow(list(running.values()), on_event)
                for reference in ready:
                    job = running.pop(reference)
                    try:
                        state, reason = ray.get(reference)
                    except ray.exceptions.RayError as error:
                        state = "failed"
                        reason = f"{type(error).__name__}: {_first_line(error)}"
                        job.begin()
                        job.fail(reason)
                    yield Outcome(job.id, state, reason, time.monotonic() - began, job.folder / "log.txt")
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def _knock(address: str) -> None:
    """Raise OSError if no server answers at host:port. Without this test, Ray itself would retry for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _call(remote: Remote) -> tuple[str, str]:
    return remote()


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason was given")


def _ray() -> Any:
    """Return the module ray, an optional dependency."""
    try:
        import ray
    except ImportError as error:
        raise SetupError("Ray is not installed", "--executor ray", 'pip install "unseen-cxr[ray]"') from error
    return ray
