"""Run jobs in worker processes on this machine: one worker per GPU (or `per_device` workers), several workers on a CPU.

If a worker dies, only the job of this worker fails. Workers stop when their parent process stops. When it is interrupted, it
ends them with SIGTERM, so that they release the leases of their runs.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from bench.executors.execute_job import OnEvent, Outcome, Work, attempt, check_devices, placed, trained_by
from bench.planning.jobs import Job
from bench.system.devices import choose_devices
from harmonize.child_processes import end_with_parent, interrupts_held
from harmonize.errors import SetupError

START_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"

# By default, an OpenMP thread that waits for other threads keeps its core busy for milliseconds. If several processes share
# the cores, the waiting thread blocks the thread that it waits for. With these variables, a waiting thread soon gives up its
# core. GNU's OpenMP reads the first two variables; the OpenMP of LLVM and Intel reads the first and the last.
_WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}


@dataclass(frozen=True, slots=True)
class Local:
    """Worker processes on the devices of this machine."""

    device: str  # auto, cpu, cuda or cuda:N
    workers: int  # number of cores to use
    # parallel runs per GPU, or on all cores of a CPU; 0: one run per GPU, or one run per `threads` cores of a CPU
    per_device: int = 0
    together: int = 1  # devices that train one run together

    def prepare(self) -> None:
        """Start the fork server in the background."""
        warm_up()

    def submit(self, jobs: Sequence[Work], on_event: OnEvent) -> Iterator[Outcome]:
        """Run the jobs and yield their outcomes."""
        threads = max(job.run.config.threads for job in jobs)
        check_devices(trained_by(jobs), self.together, "--together")
        devices = choose_devices(self.device, self.workers, threads, self.per_device)
        # only training uses all devices of a team (a group of devices for one job); other jobs use one device
        trains = any(isinstance(job, Job) for job in jobs)
        return submit(jobs, teams(devices, self.together if trains else 1), on_event)


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    devices: tuple[str, ...]
    job: Work
    began: float


def teams(devices: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Divide the devices into teams of `size` devices. Remaining devices are not used.

    >>> teams(["cuda:0", "cuda:1", "cuda:2"], 2)
    [('cuda:0', 'cuda:1')]

    Raises SetupError if there are too few devices for one team.
    """
    if size > len(devices):
        more = ", or give more --workers" if devices[0] == "cpu" else ""
        fix = f"lower --together to {len(devices)} or less{more}"
        raise SetupError(f"--together needs {size} devices, but {len(devices)} are available", "--together", fix)
    return [tuple(devices[i : i + size]) for i in range(0, len(devices) - size + 1, size)]


def warm_up() -> None:
    """Start the process from which workers are forked, in the background. This process imports torch once for all workers."""
    if START_METHOD == "forkserver":
        from multiprocessing import forkserver, resource_tracker

        resource_tracker.ensure_running()  # otherwise the fork server starts it, and that lets Ctrl-C pass
        multiprocessing.get_context(START_METHOD).set_forkserver_preload(["bench.executors.worker_imports"])
        with _threads(1), interrupts_held():
            forkserver.ensure_running()


@contextlib.contextmanager
def _threads(number: int) -> Iterator[None]:
    """Set, during the block, the variables for the number of threads, which OpenMP and MKL read when torch is imported.

    A run sets its own number of threads later. The variables of `_WAITING`, which make waiting threads sleep soon, are also
    set. If the user has set one of these three variables, all three stay unchanged.
    """
    set_by_user = any(name in os.environ for name in _WAITING)
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(number)) | ({} if set_by_user else _WAITING)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def submit(jobs: Sequence[Work], slots: Sequence[tuple[str, ...]], on_event: OnEvent) -> Iterator[Outcome]:
    """Run the jobs, one at a time per slot, and yield their outcomes.

    A slot is the group of devices that one job uses. Several slots may have the same device.
    """
    warm_up()  # does nothing if `prepare` was called
    context = multiprocessing.get_context(START_METHOD)
    waiting, free = list(jobs), list(slots)
    busy: dict[Connection, _Worker] = {}
    spare: dict[tuple[str, ...], list[_Worker]] = {}

    def start_next() -> None:
        while waiting and free:
            devices = free.pop(0)
            job = placed(waiting.pop(0), devices)
            sharing = sum(slot[0] == devices[0] for slot in slots)
            worker = spare[devices].pop() if spare.get(devices) else _start(context, job, devices, sharing)
            worker.job, worker.began = job, time.monotonic()
            worker.connection.send(job)
            busy[worker.connection] = worker

    try:
        start_next()
        while busy:
            for ready in wait(list(busy)):
                worker = busy[ready]  # type: ignore[index]
                try:
                    kind, *rest = worker.connection.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    died = f"the worker process died (exit code {worker.process.exitcode}): killed, or out of memory"
                    worker.job.fail(died)
                    kind, rest = "failed", [died]
                if kind == "progress":
                    on_event(worker.job.id, *rest)
                    continue
                del busy[worker.connection]
                free.append(worker.devices)
                if worker.process.is_alive():
                    spare.setdefault(worker.devices, []).append(worker)
                seconds, log = time.monotonic() - worker.began, worker.job.folder / "log.txt"
                outcome = Outcome(worker.job.id, kind, rest[0], seconds, log)
                start_next()  # first, because the caller may take minutes for an outcome, such as to write a page
                yield outcome
    finally:
        workers = [*busy.values(), *(worker for idle in spare.values() for worker in idle)]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(30)  # a training writes a checkpoint after its step
            worker.process.kill()  # if it still runs: no handler interrupts a long call of C++ code


def _start(context: Any, job: Work, devices: tuple[str, ...], sharing: int) -> _Worker:
    ours, of_worker = context.Pipe()
    process = context.Process(target=_work, args=(of_worker, sharing), daemon=True)
    with _threads(job.run.config.threads):
        process.start()
    of_worker.close()
    return _Worker(process, ours, devices, job, time.monotonic())


def _work(connection: Connection, sharing: int) -> None:
    """Run jobs until the parent stops. If `sharing` workers share a GPU, each gets an equal part of its memory."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to the parent, too, which then sends SIGTERM
    signal.signal(signal.SIGTERM, _end_with_cleanup)
    last = 0.0

    def progress(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        is_due = done >= total or now - last > 0.2
        if is_due and select.select((), (connection,), (), 0)[1]:  # a parent that does not read must not delay the job
            last = now
            connection.send(("progress", what, done, total))

    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent has ended
        while True:
            job: Work = connection.recv()
            if sharing > 1 and job.device.startswith("cuda"):
                import torch

                torch.cuda.set_per_process_memory_fraction(1 / sharing, job.device)
            last = 0.0
            connection.send(attempt(job, progress))


def _end_with_cleanup(number: int, _: object) -> NoReturn:
    """Raise SystemExit, once: after SIGTERM, the parent sends it twice."""
    signal.signal(number, signal.SIG_IGN)
    raise SystemExit(128 + number)
