"""Half-written files: their names state which process writes them, so that they are removed after its death."""

import contextlib
import os
import re
from collections.abc import Container
from functools import lru_cache
from pathlib import Path

from bench.store.process_identity import identity, is_alive, label

SUFFIX = ".part"
_NAME = re.compile(r"\..+\.([0-9a-f]{8}-\d+-\d+)\.[a-z0-9_]{8}\.part")
_FORGOTTEN_S = 86_400  # seconds since its last change after which a file of another machine belongs to nobody


def prefix(target: Path) -> str:
    """Return the beginning of the name of a half-written file: its target and this process."""
    return f".{target.name}.{label(identity())}."


@lru_cache(100_000)
def remove_once(folder: Path) -> None:
    """Remove the files that dead processes have left in a folder, once per process: a folder may have 900,000 files.

    The caller must have created a file in the folder just now: the folder's time is then the time on the file server, which
    other machines have used, too.
    """
    remove_abandoned(folder, folder.stat().st_mtime)


def remove_abandoned(folder: Path, now: float, dead: Container[str] = ()) -> None:
    """Remove the half-written files of dead processes from a folder.

    A process is dead if it is missing on this machine, or if its label is in `dead`. Whether a process of another machine is
    alive is unknown: its file is removed when it has not changed for a day.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found and _is_abandoned(entry, found[1], now, dead):
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108  (as fast as the scan)


def _is_abandoned(entry: "os.DirEntry[str]", writer: str, now: float, dead: Container[str]) -> bool:
    alive = writer not in dead and is_alive(writer)
    if alive is None:
        return now - entry.stat(follow_symlinks=False).st_mtime > _FORGOTTEN_S
    return not alive
