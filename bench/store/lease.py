"""The lease of a run: a file LOCK that only one process can create. Its holder increments a heartbeat count in the file.

No clock is used, because clocks jump and differ between machines.
"""

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.store.file_integrity import json_object
from bench.store.store import canonical_json

_SIZE = 512  # bytes of a LOCK. The size is fixed, so that a read during a write gives complete JSON


@contextlib.contextmanager
def lease(folder: Path, beat_s: float = 5.0) -> Iterator[bool]:
    """Hold a run's lease during the block. Yields False if another live process holds it.

    A holder on this machine is dead as soon as its process is gone. A holder on another machine is dead if its
    heartbeat count does not change for 12 intervals of `beat_s` seconds. A holder that was suspended for that long
    loses the lease. At the end of its block it does not remove the new holder's LOCK.
    """
    lock, own_entry = folder / "LOCK", claim()
    while True:
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            holder = _read(lock)
            if _alive(lock, holder, beat_s):
                yield False
                return
            _remove(lock, holder)
            continue
        break
    try:
        _write(descriptor, own_entry)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
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
        if _read(lock).get("token") == own_entry["token"]:
            _remove(lock, own_entry)


def claim() -> dict[str, Any]:
    """Return the LOCK entry of this process: pid, host, place, born, a unique token, and the heartbeat count.

    `place` identifies the machine and its start, `born` the start time of the process.
    """
    pid = os.getpid()
    return {
        "pid": pid,
        "host": os.uname().nodename,
        "place": _place(),
        "born": _born(pid),
        "token": secrets.token_hex(8),
        "beat": 0,
    }


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a LOCK. alive_here is None if the holder runs on another machine, which only that machine can check."""

    pid: int
    host: str
    alive_here: bool | None


def holder_of(lock: Path) -> Holder:
    """Read a LOCK once and return its holder; do not wait for heartbeats."""
    facts = _read(lock)
    pid = facts.get("pid", 0)
    return Holder(
        pid if isinstance(pid, int) else 0, str(facts.get("host", "")), _alive_here(facts) if facts else False
    )


def _place() -> str:
    """Return an identifier of this machine, its current start and, in a container, its process namespace.

    Process ids can only be compared within one place. Host names are not unique, so they are used only where /proc does
    not exist.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _born(pid: int) -> str:
    """Return the start time of a process, or "" if it does not exist.

    On Linux: clock ticks since the start of the machine. psutil adds the start time of the machine, which changes with the clock.
    """
    if Path("/proc/self/stat").is_file():
        try:
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except OSError:
            return ""
    try:
        return str(round(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return ""


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


def _alive_here(holder: Mapping[str, Any]) -> bool | None:
    """Return whether a holder's process exists on this machine; None for a holder on another machine."""
    if holder.get("place") != _place():
        return None
    pid = holder.get("pid")
    return isinstance(pid, int) and pid > 0 and holder.get("born") == _born(pid)


def _alive(lock: Path, holder: Mapping[str, Any], beat_s: float) -> bool:
    """Return whether a holder is alive: by its process on this machine, otherwise by its heartbeat count, watched for 12 intervals."""
    process_alive = _alive_here(holder)
    if process_alive is not None:
        return process_alive
    pause = threading.Event()
    for _ in range(12):
        pause.wait(beat_s)
        if _read(lock) != holder:
            return lock.exists()
    return False


def _remove(lock: Path, holder: Mapping[str, Any]) -> None:
    """Remove a holder's LOCK, unless the holder has renewed it or another process has taken it over."""
    renamed = lock.with_name(f".LOCK.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        lock.rename(renamed)
        if _read(renamed) != holder:
            with contextlib.suppress(FileExistsError):
                os.link(renamed, lock)
        renamed.unlink()
