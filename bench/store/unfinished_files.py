"""Name half-written files, and remove the half-written files of dead processes.

The name of a half-written file states which process writes the file.
"""

import contextlib
import os
import re
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

SUFFIX = ".part"
_NAME = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)\.[a-z0-9_]{8}\.part")
_FORGOTTEN_S = 86_400  # seconds without a change after which the half-written file of another machine is removed


@lru_cache(1)
def _namespace() -> str:
    """Return the process namespace: containers may share a host name, but a process id is valid in its own namespace only."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  (no file)
    return ""


def label(host: str, pid: int) -> str:
    """Return a process as a short text for file names: hash of its machine and of this process's namespace, and process id."""
    return f"{sha256((host + _namespace()).encode()).hexdigest()[:8]}-{pid}"


def prefix(target: Path) -> str:
    """Return the beginning of the name of a half-written file: the name of the final file and the label of this process."""
    return f".{target.name}.{label(os.uname().nodename, os.getpid())}."


@lru_cache(100_000)
def remove_once(folder: Path) -> None:
    """Remove the half-written files of dead processes from a folder (absolute path), at most once per process.

    A later call for the same folder does nothing, because a folder may have 900,000 files. The caller must have created a file
    in the folder just now. Then the folder's time of change is the current time of the file server. The times of all files in
    the folder are times of the file server, too.
    """
    remove_abandoned(folder, folder.stat().st_mtime)


def remove_abandoned(folder: Path, now: float, dead: str = "") -> None:
    """Remove the half-written files of dead processes from a folder.

    A process of this machine is dead if it does not exist. A process with the label `dead` is dead, too. Other machines and
    containers cannot be asked: a file of theirs is removed if it has not changed for a day. `now`: current time of the file
    server in seconds since 1970.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and _is_abandoned(entry, found[1], int(found[2]), now, dead):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108  (as fast as the scan)


def _is_abandoned(entry: "os.DirEntry[str]", host: str, pid: int, now: float, dead: str) -> bool:
    if f"{host}-{pid}" == dead:
        return True
    if host != label(os.uname().nodename, pid)[:8]:
        return now - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN_S
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:  # the process of another user
        pass
    return False
