"""Run jobs in worker processes on this machine: one per GPU or as many as are asked for, several on a CPU.

A worker that dies takes only its run with it. Workers end when the parent does.
"""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bench.executors.execute_job import OnEvent, Outcome, Work, attempt, placed
from bench.planning.jobs import Job
from bench.system.child_processes import end_with_parent
from bench.system.devices import choose_devices
from harmonize.errors import ConfigError, SetupError

_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


@dataclass(frozen=True, slots=True)
class Local:
    """Worker processes of this machine, on the devices that it has."""

    device: str  # auto, cpu, cuda or cuda:N
    workers: int  # cores that may be used
    per_device: int = 0  # runs that share a GPU, or the cores; 0 = one per GPU, one per `threads` cores
    together: int = 1  # devices that train one run

    def prepare(self) -> None:
        """Begin what takes a while, beside what the caller does next."""
        warm_up()

    def side_by_side(self, threads: int) -> int:
        """Return how often the devices are to be used at once."""
        return len(choose_devices(self.device, self.workers, threads, self.per_device))

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Do the jobs and yield how each ended."""
        threads = max(job.run.config.threads for job in jobs)
        if self.together > 1 and self.per_device > 1:
            fix = "give one of them"
            raise ConfigError("runs cannot share devices and take several of them", "--together, --per-device", fix)
        devices = choose_devices(self.device, self.workers, threads, self.per_device)
        trains = any(isinstance(job, Job) for job in jobs)  # by a team; all else takes one device
        return submit(jobs, teams(devices, self.together if trains else 1), on_event)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    place: tuple[str, ...]
    job: Work
    began: float


def teams(devices: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Return the devices in teams of `size`; what is left over does nothing.

    >>> teams(["cuda:0", "cuda:1", "cuda:2"], 2)
    [('cuda:0', 'cuda:1')]

    Raises SetupError when there is not one team.
    """
    if size > len(devices):
        fix = f"give --together up to {len(devices)}" + (", or more --workers" if devices[0] == "cpu" else "")
        raise SetupError(f"{size} devices are to train a run together, {len(devices)} can be used", "--together", fix)
    return [tuple(devices[i : i + size]) for i in range(0, len(devices) - size + 1, size)]


def warm_up() -> None:
    """Start the process that workers are forked from: it imports torch once for all, while other things go on."""
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.get_context(_METHOD).set_forkserver_preload(["bench.runs.run_one"])
        with _threads(1):
            forkserver.ensure_running()


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set what OpenMP and MKL read once, when torch is imported; a run sets its own number again."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(number)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def submit(jobs: Sequence[Work], places: Sequence[tuple[str, ...]], on_event: OnEvent) -> Iterator[Outcome]:
    """Do the jobs, one at a time on each place (a device may be named several times), and yield how each ended."""
    context = multiprocessing.get_context(_METHOD)
    waiting, free = list(jobs), list(places)
    busy: dict[Connection, _Worker] = {}
    spare: dict[tuple[str, ...], list[_Worker]] = {}
    try:
        while waiting or busy:
            while waiting and free:
                place = free.pop(0)
                job = placed(waiting.pop(0), place)
                sharing = sum(other[0] == place[0] for other in places)
                worker = spare[place].pop() if spare.get(place) else _start(context, job, place, sharing)
                worker.job, worker.began = job, time.monotonic()
                worker.connection.send(job)
                busy[worker.connection] = worker
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                try:
                    kind, *rest = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    kind, rest = (
                        "failed",
                        [f"the worker process died (exit code {worker.process.exitcode}): killed, or out of memory"],
                    )
                    worker.job.fail(rest[0])
                if kind == "progress":
                    on_event(worker.job.id, *rest)
                    continue
                del busy[worker.connection]
                free.append(worker.place)
                if worker.process.is_alive():
                    spare.setdefault(worker.place, []).append(worker)
                seconds, log = time.monotonic() - worker.began, worker.job.folder / "log.txt"
                yield Outcome(worker.job.id, kind, rest[0], seconds, log)
    finally:
        everyone = [*busy.values(), *(w for group in spare.values() for w in group)]
        for worker in everyone:
            worker.process.terminate()
        for worker in everyone:
            worker.process.join()


def _start(context: Any, job: Work, place: tuple[str, ...], sharing: int) -> _Worker:
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, sharing), daemon=True)
    with _threads(job.run.config.threads):
        process.start()
    there.close()
    return _Worker(process, here, place, job, time.monotonic())


def _work(connection: Connection, sharing: int) -> None:
    """Do jobs until the parent ends; on a GPU that `sharing` workers share, with that part of its memory."""
    end_with_parent()
    while True:
        try:
            job: Work = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        if sharing > 1 and job.device.startswith("cuda"):
            import torch

            torch.cuda.set_per_process_memory_fraction(1 / sharing, job.device)
        last = 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last > 0.2:
                last = now
                connection.send(("progress", what, done, total))

        try:
            connection.send(attempt(job, progress))
        except (BrokenPipeError, KeyboardInterrupt):
            return
