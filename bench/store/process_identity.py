"""Identify a process uniquely among all machines, and test whether the process still exists."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from bench.store.file_integrity import bytes_sha256

_ENDED = "ZXx"  # states in /proc/PID/stat: zombie, dead


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The identity of a process. Two processes with equal ids (pid) are different if their place or start time differs.

    pid    process id; 0 if unknown
    place  text that identifies the machine since its last boot, and the process namespace (of a container)
    born   start time of the process as text, see `_born`
    """

    pid: int
    place: str
    born: str

    @classmethod
    def current(cls) -> Self:
        """Return the identity of this process."""
        return cls(os.getpid(), _place(), _own_start())

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Return the identity that the content of a LOCK states. If the pid is missing or no integer, it is 0 (unknown)."""
        pid = entry.get("pid")
        return cls(pid if isinstance(pid, int) else 0, str(entry.get("place")), str(entry.get("born")))

    @property
    def label(self) -> str:
        """The identity as a short text for file names: hash of the place, pid and start time.

        >>> ProcessIdentity(71, "a machine", "1234").label
        'cf31bfe2-71-1234'
        """
        return f"{_digest(self.place)}-{self.pid}-{self.born}"

    def is_alive(self) -> bool | None:
        """Return whether the process runs; None for a process of another machine or container, because this can be checked only there.

        A process that has ended does not run, even if its parent never asks for its exit status (a zombie), as in containers
        whose first process adopts the others and does not wait for them.
        """
        if self.place != _place():
            return None
        return self.pid > 0 and self.born == _born(self.pid)

    @staticmethod
    def label_is_alive(label: str) -> bool | None:
        """Return whether the process with this label exists; None for a process of another machine or container."""
        digest, pid, born = label.split("-")
        return born == _born(int(pid)) if digest == _digest(_place()) else None


@lru_cache(1)
def _place() -> str:
    """Return the place of this process: boot id and process namespace, or the host name if /proc does not exist.

    Host names are only the second choice, because two machines may have the same host name.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _born(pid: int) -> str:
    """Return the start time of a process as text; "" if the process does not exist or has ended.

    On Linux, the unit is clock ticks since the boot of the machine. On other systems, the unit is seconds since 1970 (from
    psutil); this value changes when the clock is set.
    """
    if Path("/proc/self/stat").is_file():
        try:
            state, *others = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if state in _ENDED else others[18]
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(round(process.create_time()))
    except psutil.NoSuchProcess:
        return ""


_starts: dict[int, str] = {}  # process id -> start time of this process; a forked process has another id


def _own_start() -> str:
    """Return the start time of this process.

    Each file that a store writes needs it, so it is read once. A failed reading, such as with too many open files, is repeated.
    """
    pid = os.getpid()
    if start := _starts.get(pid) or _born(pid):
        _starts[pid] = start
    return start


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_starts.clear)


def _digest(place: str) -> str:
    return bytes_sha256(place.encode())[:8]
