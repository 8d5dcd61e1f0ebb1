"""The lease of a run: a file LOCK that one process holds locked, until its block or the process itself ends.

The system ends the lock of a dead process, also on another machine: NFS and parallel file systems share locks between machines.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from bench.store.file_integrity import json_object
from bench.store.store import canonical_json
from bench.store.unfinished_files import label, remove_abandoned
from harmonize.errors import StoreError


@contextlib.contextmanager
def lease(folder: Path) -> Iterator[bool]:
    """Hold the lease of a run's `folder` during the block. Yield True, or False at once if another process holds the lease.

    The holder removes the half-written files that a dead holder left. Raises StoreError for a file system without locks.
    """
    lock = folder / "LOCK"
    descriptor = _locked(lock)
    if descriptor is None:
        yield False
        return
    try:
        before = holder_of(lock)  # LOCK stays if its holder is killed
        os.ftruncate(descriptor, 0)
        os.write(descriptor, canonical_json({"host": os.uname().nodename, "pid": os.getpid()}))
        # LOCK was changed just now, so its time of change is the current time of the file server
        now = lock.stat().st_mtime
        for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            remove_abandoned(each, now, label(*before))
        yield True
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def holder_of(lock: Path) -> tuple[str, int]:
    """Return the machine and the process id that LOCK states; "" and 0 without a readable LOCK."""
    try:
        stated = json_object(lock)
        return str(stated["host"]), int(stated["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def is_held(lock: Path) -> bool:
    """Return whether a process holds this LOCK."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no LOCK
        pass
    return False


def _locked(lock: Path) -> int | None:
    """Make LOCK if it is missing, and lock it; return its descriptor, None if another process holds it."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    return descriptor
            os.close(descriptor)  # the holder before has just removed this file
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            fix = "mount it with locks (Lustre: `-o flock`), or give another folder with --store"
            raise StoreError(f"the file system of the store cannot lock files: {error}", str(lock), fix) from error
