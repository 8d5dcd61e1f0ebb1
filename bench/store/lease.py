"""The lease of a run: a file LOCK that only one process can create. Its holder increments a heartbeat count in the file.

No clock is used, because clocks jump and differ between machines.
"""

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.store.file_integrity import json_object
from bench.store.process_identity import ProcessIdentity
from bench.store.store import canonical_json
from bench.store.unfinished_files import SUFFIX, prefix, remove_abandoned

_SIZE = 512  # bytes of a LOCK; because the size is fixed, a process that reads during a write gets complete JSON


@contextlib.contextmanager
def lease(folder: Path, beat_s: float = 5.0) -> Iterator[bool]:
    """Hold a run's lease during the block. Yields False if another live process holds it.

    A holder on this machine is dead as soon as its process is gone. A holder on another machine is dead if its
    heartbeat count does not change for 12 intervals of `beat_s` seconds. A holder that was suspended for that long
    loses the lease. At the end of its block it does not remove the new holder's LOCK.

    The new holder removes the half-written files of the dead one.
    """
    lock, own_entry = folder / "LOCK", claim()
    dead: list[str] = []
    # repeat until LOCK has the token of this process: `_remove` in another process may restore the LOCK of a live
    # holder
    while _read(lock).get("token") != own_entry["token"]:
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            holder = _read(lock)
            if _alive(lock, holder, beat_s):
                yield False
                return
            _remove(lock, holder)
            dead.append(ProcessIdentity.of(holder).label)
            continue
        try:
            _write(descriptor, own_entry)
        except OSError:
            lock.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    _remove_unfinished(folder, dead)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(beat_s):
            own_entry["beat"] += 1
            with contextlib.suppress(OSError, ValueError):
                _renew(lock, own_entry)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        stop.set()
        thread.join()
        if (last := _read(lock)).get("token") == own_entry["token"]:
            _remove(lock, last)


def claim() -> dict[str, Any]:
    """Return the LOCK entry of this process: pid, host, place, born, a unique token, and the heartbeat count.

    pid, place and born are those of `ProcessIdentity`.
    """
    return asdict(ProcessIdentity.current()) | {"host": os.uname().nodename, "token": secrets.token_hex(8), "beat": 0}


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a LOCK. alive_here is None if the holder runs on another machine, which only that machine can check."""

    pid: int
    host: str
    alive_here: bool | None


def holder_of(lock: Path) -> Holder:
    """Read a LOCK once and return its holder; do not wait for heartbeats."""
    facts = _read(lock)
    process = ProcessIdentity.of(facts)
    return Holder(process.pid, str(facts.get("host", "")), process.is_alive() if facts else False)


def _write(descriptor: int, holder: Mapping[str, Any]) -> None:
    os.pwrite(descriptor, canonical_json(holder).ljust(_SIZE), 0)
    os.fsync(descriptor)


def _renew(lock: Path, own_entry: Mapping[str, Any]) -> None:
    """Write the new heartbeat count, if the LOCK still belongs to this process.

    Read and write use one open file. If another process has replaced LOCK, this write does not touch the new file.
    """
    descriptor = os.open(lock, os.O_RDWR)
    try:
        if json.loads(os.read(descriptor, _SIZE)).get("token") == own_entry["token"]:
            _write(descriptor, own_entry)
    finally:
        os.close(descriptor)


def _read(lock: Path) -> dict[str, Any]:
    try:
        return json_object(lock)
    except (OSError, ValueError):
        return {}


def _alive(lock: Path, holder: Mapping[str, Any], beat_s: float) -> bool:
    """Return whether a holder is alive: by its process on this machine, otherwise by its heartbeat count, watched for 12 intervals."""
    process_alive = ProcessIdentity.of(holder).is_alive()
    if process_alive is not None:
        return process_alive
    pause = threading.Event()
    for _ in range(12):
        pause.wait(beat_s)
        if _read(lock) != holder:
            return lock.exists()
    return False


def _remove(lock: Path, holder: Mapping[str, Any]) -> None:
    """Remove a holder's LOCK, unless the holder has renewed it or another process has taken it over.

    No system call compares and removes in one step. So LOCK is renamed first, and renamed back if its content has
    changed. A hard link is not used, because exFAT, SMB and many FUSE file systems refuse hard links. A process may
    create a new LOCK in between. The renaming back may replace this LOCK; the loop in `lease` notices the loss.
    """
    if _read(lock) != holder:
        return
    renamed = lock.with_name(f"{prefix(lock)}{secrets.token_hex(4)}{SUFFIX}")
    with contextlib.suppress(FileNotFoundError):
        lock.rename(renamed)
        if _read(renamed) == holder or lock.exists():
            renamed.unlink()
        else:
            renamed.rename(lock)


def _remove_unfinished(folder: Path, dead: Container[str]) -> None:
    """Remove the half-written files of dead processes from a run's folder and from the folders in it."""
    now = folder.stat().st_mtime  # current time of the file server, because LOCK was created in the folder just now
    for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        remove_abandoned(each, now, dead)
