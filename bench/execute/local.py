"""Run jobs in worker processes on this machine: one per GPU, or several on a CPU.

A worker that dies takes only its run with it. Workers end when the parent does.
"""

import contextlib
import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from bench.job import DerivedJob, Job


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended: done, failed or held (by another process)."""

    run_id: str
    state: str
    reason: str
    seconds: float


_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
OnEvent = Callable[[str, str, int, int], None]  # run id, what, done, total


@dataclass(slots=True)
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | DerivedJob
    began: float


def warm_up() -> None:
    """Start the process that workers are forked from: it imports torch once for all, while other things go on."""
    if _METHOD == "forkserver":
        from multiprocessing import forkserver

        multiprocessing.get_context(_METHOD).set_forkserver_preload(["bench.pipeline"])
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


def submit(jobs: Sequence[Job | DerivedJob], devices: Sequence[str], on_event: OnEvent) -> Iterator[Outcome]:
    """Do the jobs, one at a time on each device (a device may be named several times), and yield how each ended."""
    context = multiprocessing.get_context(_METHOD)
    waiting, free = list(jobs), list(devices)
    busy: dict[Connection, _Worker] = {}
    spare: dict[str, list[_Worker]] = {}
    try:
        while waiting or busy:
            while waiting and free:
                device = free.pop(0)
                job = replace(waiting.pop(0), device=device)
                worker = spare[device].pop() if spare.get(device) else _start(context, job)
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
                    worker.job.store.fail(worker.job.run.id, rest[0])
                if kind == "progress":
                    on_event(worker.job.run.id, *rest)
                    continue
                del busy[worker.connection]
                free.append(worker.job.device)
                if worker.process.is_alive():
                    spare.setdefault(worker.job.device, []).append(worker)
                yield Outcome(worker.job.run.id, kind, rest[0], time.monotonic() - worker.began)
    finally:
        everyone = [*busy.values(), *(w for group in spare.values() for w in group)]
        for worker in everyone:
            worker.process.terminate()
        for worker in everyone:
            worker.process.join()


def _start(context: Any, job: Job | DerivedJob) -> _Worker:
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there,), daemon=True)
    with _threads(job.run.config.threads):
        process.start()
    there.close()
    return _Worker(process, here, job, time.monotonic())


def _work(connection: Connection) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    while True:
        try:
            job: Job | DerivedJob = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        last = 0.0

        def progress(what: str, done: int, total: int) -> None:
            nonlocal last
            now = time.monotonic()
            if done >= total or now - last > 0.2:
                last = now
                connection.send(("progress", what, done, total))

        try:
            connection.send(_attempt(job, progress))
        except (BrokenPipeError, KeyboardInterrupt):
            return


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


def _attempt(job: Job | DerivedJob, progress: Callable[[str, int, int], None]) -> tuple[str, str]:
    folder = job.store.begin(job.run.id, job.run.document)
    with (folder / "log.txt").open("a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        try:
            return ("done", "") if _do(job, progress) else ("held", "another process is at work on this run")
        except Exception as error:  # noqa: BLE001  (whatever stops one run must not stop the others; it is recorded)
            text = traceback.format_exc()
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            job.store.fail(job.run.id, f"{text}\n{reason}")
            return "failed", reason


def _do(job: Job | DerivedJob, progress: Callable[[str, int, int], None]) -> bool:
    """Do a job; False when another process holds its run. The work imports torch, so it is named here alone."""
    if isinstance(job, DerivedJob):
        from bench.average import derive_one

        return derive_one(job, progress)
    from bench.pipeline import run_one

    return run_one(job, progress)
