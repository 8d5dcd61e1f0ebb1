"""The lease of a run: a file LOCK that only one process can create.

The holder of the lease increases a number in LOCK, the heartbeat count, every few seconds. Other processes see from this number
that the holder is alive. No time of day is compared, because clocks can be set and differ between machines.
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
    """Hold the lease of a run's `folder` during the block. Yield True, or False if another live process holds the lease.

    A dead holder loses the lease to this process. A holder on this machine is dead if its process does not exist. A holder on
    another machine counts as dead if its heartbeat count does not change for 12 intervals of `beat_s` seconds. So a process that
    was suspended for a long time may lose the lease; at the end of its block, it does not remove the LOCK of the new holder.
    The new holder removes the half-written files of the dead holder.
    """
    lock, own_entry = folder / "LOCK", claim()
    dead: list[str] = []
    # repeat until LOCK has the token of this process, because `_remove` in another process may replace a new LOCK by the
    # LOCK of a live holder
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
    """Return the content of LOCK for this process: pid, place and born of `ProcessIdentity`, host, token and beat.

    `token` is random and belongs to this call. `beat` is the heartbeat count, 0 at the beginning.
    """
    return asdict(ProcessIdentity.current()) | {"host": os.uname().nodename, "token": secrets.token_hex(8), "beat": 0}


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a LOCK.

    alive_here: whether the process exists; None for a process of another machine, because only that machine can check this.
    """

    pid: int
    host: str
    alive_here: bool | None


def holder_of(lock: Path) -> Holder:
    """Read a LOCK once and return its holder, without waiting for heartbeats. Without a readable LOCK, no holder is alive."""
    facts = _read(lock)
    process = ProcessIdentity.of(facts)
    return Holder(process.pid, str(facts.get("host", "")), process.is_alive() if facts else False)


def _write(descriptor: int, holder: Mapping[str, Any]) -> None:
    os.pwrite(descriptor, canonical_json(holder).ljust(_SIZE), 0)
    os.fsync(descriptor)


def _renew(lock: Path, own_entry: Mapping[str, Any]) -> None:
    """Write the new heartbeat count if LOCK still belongs to this process.

    LOCK is opened once for reading and writing. If another process replaces LOCK in the meantime, the new file is not changed.
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
    """Return whether a holder is alive.

    On this machine, the holder is alive if its process exists. On another machine, the holder is alive if LOCK changes within
    12 intervals of `beat_s` seconds. If LOCK disappears, the result is False.
    """
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
    """Remove LOCK if its content is still `holder`.

    No system call compares and removes a file in one step. So LOCK is renamed first, and renamed back if its content differs
    from `holder`. Between the two renames, another process may create a new LOCK, which the second rename may replace. The loop
    in `lease` notices this. A hard link would not have this problem, but exFAT, SMB and many FUSE file systems refuse hard links.
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
    """Remove the half-written files of dead processes from a run's folder and its subfolders.

    `dead`: labels of processes that are known to be dead, see `ProcessIdentity.label`.
    """
    # LOCK was created in the folder just now, so the folder's time of change is the current time of the file server
    now = folder.stat().st_mtime
    for each in (folder, *(path for path in folder.iterdir() if path.is_dir())):
        remove_abandoned(each, now, dead)
