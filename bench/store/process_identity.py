"""Identify a process so that no process of another machine has the same identity, and test whether it still exists."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """The identity of a process. Process ids are compared only between processes of an equal `place`.

    pid    process id; 0 if unknown
    place  identifier of the machine, its current start and, in a container, its process namespace
    born   start time of the process
    """

    pid: int
    place: str
    born: str

    @classmethod
    def current(cls) -> Self:
        """Return the identity of this process."""
        return cls(os.getpid(), _place(), _born(os.getpid()))

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self:
        """Return the identity that a file states; values of a wrong type count as unknown."""
        pid = entry.get("pid")
        return cls(pid if isinstance(pid, int) else 0, str(entry.get("place")), str(entry.get("born")))

    @property
    def label(self) -> str:
        """The identity as a short part of a file name.

        >>> ProcessIdentity(71, "a machine", "1234").label
        'cf31bfe2-71-1234'
        """
        return f"{_digest(self.place)}-{self.pid}-{self.born}"

    def is_alive(self) -> bool | None:
        """Return whether the process exists; None for a process of another place, which only that place can check."""
        if self.place != _place():
            return None
        return self.pid > 0 and self.born == _born(self.pid)

    @staticmethod
    def label_is_alive(label: str) -> bool | None:
        """Return whether the process with this label exists; None for a process of another place."""
        digest, pid, born = label.split("-")
        return born == _born(int(pid)) if digest == _digest(_place()) else None


@lru_cache(1)
def _place() -> str:
    """Return the place of this process. Host names are not unique, so they are used only where /proc does not exist."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def _born(pid: int) -> str:
    """Return the start time of a process, or "" if it does not exist.

    On Linux, the start time is in clock ticks since the start of the machine. On other systems, it is psutil's time in
    seconds since 1970, which changes when the clock is set.
    """
    if Path("/proc/self/stat").is_file():
        try:
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except OSError:
            return ""
    import psutil

    try:
        return str(round(psutil.Process(pid).create_time()))
    except psutil.NoSuchProcess:
        return ""


def _digest(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:8]
