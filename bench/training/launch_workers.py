"""The processes of a team: started for a run that several devices train, ended with it.

The first member is the worker that has the run. The others are processes of their own, which end when it does: it holds
the other end of what they read.
"""

import os
import pickle  # nosec B403  (between this process and one that it starts)
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from bench.planning.jobs import Job
from bench.training.data_parallel import ALONE, PATIENCE, Team

HOST = "127.0.0.1"


class TeamError(RuntimeError):
    """A member of a team ended before the run did."""


@dataclass(frozen=True, slots=True)
class Summons:
    """What a further member is told when it starts."""

    job: Job
    trains: bool  # whether there is something to train, or only to predict
    rank: int
    size: int
    port: int


@contextmanager
def assembled(job: Job, trains: bool, device: torch.device) -> Iterator[Team]:
    """Give the team of a job, with its first member here, for as long as the block runs.

    When a member dies, the others wait in vain: then the run fails with TeamError, or, where this process itself waits for
    the member, ends with exit code 3.
    """
    if not job.others:
        yield ALONE
        return
    size = 1 + len(job.others)
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HOST, 0, size, is_master=True, wait_for_workers=False, timeout=PATIENCE
    )
    began = [_start(Summons(job, trains, rank, size, store.port)) for rank in range(1, size)]
    over = threading.Event()
    threading.Thread(target=_watch, args=(job, began, over), daemon=True).start()
    try:
        yield Team.join(0, size, HOST, store.port, device)
        over.set()
        for member in began:
            if member.wait():
                raise TeamError(f"a member of the team ended with exit code {member.returncode}")
    except RuntimeError as error:  # what a call says whose other end is gone
        if any(member.poll() for member in began):
            raise TeamError(f"a member of the team died: {str(error).splitlines()[0]}") from error
        raise
    finally:
        over.set()
        if dist.is_initialized():
            dist.destroy_process_group()
        for member in began:
            member.kill()
            member.wait()
            if member.stdin:
                member.stdin.close()


def _start(summons: Summons) -> "subprocess.Popen[bytes]":
    """Start a further member; what it prints goes where this process prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = "from bench.runs.run_one import member; member()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment, stdout=2)  # noqa: S603
    if process.stdin is None:
        raise TeamError("a member of the team cannot be told what to do")
    process.stdin.write(pickle.dumps(summons))
    process.stdin.flush()
    return process


def _watch(job: Job, members: list["subprocess.Popen[bytes]"], over: threading.Event) -> None:
    """End this process when a member dies: a call that waits for it may never return."""
    while not over.wait(0.5):
        ended = [member.poll() for member in members if member.poll() is not None]
        if ended and not over.wait(5):
            job.fail(f"a member of the team died (exit code {ended[0]}): killed, or out of memory")
            os._exit(3)


def summoned() -> Summons:
    """Return what this process, a further member, is to do; it ends when the first member does."""
    summons: Summons = pickle.load(sys.stdin.buffer)  # noqa: S301  # nosec B301  (written by the process that started this one)
    threading.Thread(target=_end_with_input, daemon=True).start()
    return summons


def _end_with_input() -> None:
    os.read(sys.stdin.fileno(), 1)  # not through the buffer: its lock would be held when this process ends well
    os._exit(1)
