"""Start and end the processes of a run that several devices train together.

Rank 0 is the worker process that has the run. Rank 0 starts the other ranks as child processes. A child ends when rank 0
ends, because rank 0 holds the other end of the child's standard input.
"""

import os
import pickle  # between this process and a child that it starts  # nosec B403
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from bench.planning.jobs import Job
from bench.training.data_parallel import SINGLE_PROCESS, TIMEOUT, DataParallelGroup

HOST = "127.0.0.1"


class DataParallelError(RuntimeError):
    """Error: a process of a data-parallel run ended before the run."""


@dataclass(frozen=True, slots=True)
class WorkerTask:
    """The instructions that rank 0 sends to a child process."""

    job: Job
    trains: bool  # False if the network is trained already and only predicts
    rank: int
    size: int
    port: int


@contextmanager
def launched_group(job: Job, trains: bool, device: torch.device) -> Iterator[DataParallelGroup]:
    """Yield the data-parallel group of a job, with this process as rank 0; the group ends with the block.

    When a child dies, the run fails with DataParallelError. But if this process waits for the dead child in a collective
    call (a call that needs all processes), this process records the failure and ends with exit code 3.
    """
    if not job.others:
        yield SINGLE_PROCESS
        return
    size = 1 + len(job.others)
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HOST, 0, size, is_master=True, wait_for_workers=False, timeout=TIMEOUT
    )
    children = [_start(WorkerTask(job, trains, rank, size, store.port)) for rank in range(1, size)]
    finished = threading.Event()
    threading.Thread(target=_watch, args=(job, children, finished), daemon=True).start()
    try:
        yield DataParallelGroup.join(0, size, HOST, store.port, device)
        dist.destroy_process_group()  # the children do the same; with NCCL, each process waits here for all others
        finished.set()
        for child in children:
            if child.wait():
                raise DataParallelError(f"a process of the data-parallel group ended with exit code {child.returncode}")
    except RuntimeError as error:  # a collective call raises this error when another process is gone
        if _has_died(children):
            raise DataParallelError(
                f"a process of the data-parallel group died: {str(error).splitlines()[0]}"
            ) from error
        raise
    finally:
        finished.set()
        for child in children:
            child.kill()
            child.wait()
            if child.stdin:
                child.stdin.close()
        if dist.is_initialized():
            _leave_group()


def _has_died(children: Sequence["subprocess.Popen[bytes]"]) -> bool:
    """Return whether a child has died, or does so within a second: its connections close before its exit code is known."""
    end = time.monotonic() + 1
    while not any(child.poll() for child in children):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _leave_group() -> None:
    """End the group after an error, when the children are gone. Without an abort, NCCL would wait for them."""
    if dist.get_backend() == "nccl" and dist.group.WORLD is not None:
        dist.group.WORLD.abort()
    dist.destroy_process_group()


def _start(task: WorkerTask) -> "subprocess.Popen[bytes]":
    """Start a child process and send the task to it. The child prints to the standard error of this process.

    The child has its own process group, which signals to this process do not reach: this process first writes a checkpoint.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = "from bench.runs.run_one import member; member()"
    child = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment, stdout=2, process_group=0
    )
    if child.stdin is None:
        raise DataParallelError("the child process has no standard input")
    child.stdin.write(pickle.dumps(task))
    child.stdin.flush()
    return child


def _watch(job: Job, children: list["subprocess.Popen[bytes]"], finished: threading.Event) -> None:
    """End this process when a child dies, because a collective call that waits for the child may never return.

    First, the main thread has five seconds to end the run by itself; if `finished` is set in this time, this process is
    not ended.
    """
    while not finished.wait(0.5):
        exit_codes = [child.poll() for child in children if child.poll() is not None]
        if exit_codes and not finished.wait(5):
            job.fail(
                f"a process of the data-parallel group died (exit code {exit_codes[0]}): killed, or out of memory; "
                "run the command again"
            )
            os._exit(3)


def receive_task() -> WorkerTask:
    """Return the task of this child process; from then on the process ends when rank 0 ends."""
    task: WorkerTask = pickle.load(sys.stdin.buffer)  # noqa: S301  # written by the parent process  # nosec B301
    threading.Thread(target=_end_with_input, daemon=True).start()
    return task


def _end_with_input() -> None:
    # read without a buffer: a buffered read would hold a lock when this process ends normally
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
