"""Identify a process among all processes of all machines, and find out whether a process of this machine still exists."""

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(1)
def place() -> str:
    """Return an identifier of this machine, its current start and, in a container, its process namespace.

    Process ids can only be compared between processes with an equal identifier ("place"). Host names are not unique, so
    they are used only where /proc does not exist.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return os.uname().nodename


def born(pid: int) -> str:
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


def identity() -> dict[str, Any]:
    """Return the identity of this process: pid, place (see `place`), and born, the start time of the process."""
    return _identity(os.getpid())


@lru_cache(1)
def _identity(pid: int) -> dict[str, Any]:
    """Return the identity of this process, cached by `pid`, so that a forked child does not get its parent's."""
    return {"pid": pid, "place": place(), "born": born(pid)}


def label(process: Mapping[str, Any]) -> str:
    """Return an identity as a short part of a file name.

    >>> label({"pid": 71, "place": "a machine", "born": "1234"})
    'cf31bfe2-71-1234'
    """
    digest = hashlib.sha256(str(process.get("place")).encode()).hexdigest()[:8]
    return f"{digest}-{process.get('pid')}-{process.get('born')}"


def is_alive(name: str) -> bool | None:
    """Return whether the process with this label exists; None for a process of another machine or process namespace."""
    digest, pid, start = name.split("-")
    if digest != label(identity()).partition("-")[0]:
        return None
    return start == born(int(pid))
