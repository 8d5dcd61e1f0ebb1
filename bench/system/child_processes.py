"""Stop child processes together with their parent process."""

import multiprocessing
import os
import threading
from multiprocessing.process import BaseProcess


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
