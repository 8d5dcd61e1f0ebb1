"""Who holds a run: its LOCK, a file that only one process can create and that its holder keeps counting up.

No clock is asked, neither this machine's nor another's: they are set, stepped and differ.
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

_SIZE = 512  # bytes of a LOCK, whatever the count: who reads while it is written finds whole JSON


@contextlib.contextmanager
def lease(folder: Path, beat_s: float = 5.0) -> Iterator[bool]:
    """Hold a run's LOCK while the block runs; give False when another live process holds it.

    The holder counts a heartbeat up; a waiter trusts the count and not the clock. A holder on this machine whose process
    is gone is dead at once; one elsewhere is dead when its count stands still for 12 beats. A holder that stood still so
    long has lost the run: it leaves the LOCK of whoever took over alone, whatever it still does in the block.
    """
    lock, me = folder / "LOCK", claim()
    while True:
        try:
            handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            holder = _read(lock)
            if _alive(lock, holder, beat_s):
                yield False
                return
            _remove(lock, holder)
            continue
        break
    try:
        _write(handle, me)
    except OSError:
        lock.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(beat_s):
            me["beat"] += 1
            with contextlib.suppress(OSError, ValueError):
                _renew(lock, me)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        stop.set()
        thread.join()
        if _read(lock).get("token") == me["token"]:
            _remove(lock, me)


def claim() -> dict[str, Any]:
    """Return what this process writes into a LOCK: pid, host, place, born, a token of its own, and how often it has beaten."""
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
    """Who holds a LOCK: alive_here is None where only the machine that it names could tell."""

    pid: int
    host: str
    alive_here: bool | None


def holder_of(lock: Path) -> Holder:
    """Return what a LOCK says, at one look."""
    facts = _read(lock)
    pid = facts.get("pid", 0)
    return Holder(
        pid if isinstance(pid, int) else 0, str(facts.get("host", "")), _alive_here(facts) if facts else False
    )


def _place() -> str:
    """Return where process ids mean what they mean here: this start of this machine and, in a container, its processes.

    Two machines may have one name. Without Linux's /proc the name has to do.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _born(pid: int) -> str:
    """Return when a process began, "" when there is none.

    On Linux in clock ticks since the machine started: psutil adds the time of that start, which moves with the clock.
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


def _write(handle: int, holder: Mapping[str, Any]) -> None:
    os.pwrite(handle, canonical_json(holder).ljust(_SIZE), 0)
    os.fsync(handle)


def _renew(lock: Path, me: Mapping[str, Any]) -> None:
    """Write the count into a lock that is still mine: into the very file that was read, whatever has its name by then."""
    handle = os.open(lock, os.O_RDWR)
    try:
        if json.loads(os.read(handle, _SIZE)).get("token") == me["token"]:
            _write(handle, me)
    finally:
        os.close(handle)


def _read(lock: Path) -> dict[str, Any]:
    try:
        return json_object(lock)
    except (OSError, ValueError):
        return {}


def _alive_here(holder: Mapping[str, Any]) -> bool | None:
    """Whether a holder's process is there; None when it is not of this place."""
    if holder.get("place") != _place():
        return None
    pid = holder.get("pid")
    return isinstance(pid, int) and pid > 0 and holder.get("born") == _born(pid)


def _alive(lock: Path, holder: Mapping[str, Any], beat_s: float) -> bool:
    """Whether a holder is alive: by its process when that is here, else by its count, watched for 12 beats."""
    here = _alive_here(holder)
    if here is not None:
        return here
    pause = threading.Event()
    for _ in range(12):
        pause.wait(beat_s)
        if _read(lock) != holder:
            return lock.exists()
    return False


def _remove(lock: Path, holder: Mapping[str, Any]) -> None:
    """Take this holder's lock away, but not one that has been renewed or is another's by now."""
    aside = lock.with_name(f".LOCK.{secrets.token_hex(8)}")
    with contextlib.suppress(FileNotFoundError):
        lock.rename(aside)
        if _read(aside) != holder:
            with contextlib.suppress(FileExistsError):
                os.link(aside, lock)
        aside.unlink()
