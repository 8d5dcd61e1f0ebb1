"""Child processes: a pool of them, their end together with the parent process, and their silence at Ctrl-C."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from typing import Any


class ProcessPool:
    """A pool of `num` processes, each of which first calls `prepare`. Ctrl-C ends them in silence.

    At the end of the block, tasks in the queue are dropped, and tasks at work are waited for: in a process of `multiprocessing`,
    pool and process would otherwise never end. The processes are spawned: a fork would copy locks that threads hold.
    """

    def __init__(self, num: int, prepare: Callable[..., None], *arguments: Any) -> None:
        self.pool = ProcessPoolExecutor(num, multiprocessing.get_context("spawn"), _begin, (prepare, *arguments))
        with interrupts_held():
            for _ in range(num):  # a task starts a process, unless one is idle already
                self.pool.submit(os.getpid)

    def __enter__(self) -> ProcessPoolExecutor:
        return self.pool

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)


def _begin(prepare: Callable[..., None], *arguments: Any) -> None:
    end_at_interrupts()
    end_with_parent()
    prepare(*arguments)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back during the block; a process that starts in the block holds it back until `end_at_interrupts`.

    Ctrl-C in a terminal reaches child processes, too. Those that import modules would print a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_at_interrupts() -> None:
    """Let Ctrl-C end this process at once and in silence, unless the process ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def end_with_parent() -> None:
    """Make this process stop as soon as its parent process ends, because a killed parent cannot stop its children.

    A daemon thread waits for the end of the parent. Without a parent (not a child of `multiprocessing`), nothing happens.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)
