"""The folder of phantom cohorts: complete or not, never mixed up with other data, written by one process at a time."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmonize.errors import ConfigError
from harmonize.phantom.settings import VERSION, PhantomSettings
from harmonize.phantom.sites import SITES

MARK = "phantom.json"
PARTIAL = ".phantom-partial"
CHILDREN = (*SITES, "truth", "masks")


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Hold the folder; a second process waits and then finds it complete. The lock dies with its process."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    handle = os.open(root, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_complete(root: Path, settings: PhantomSettings, masks: bool) -> bool:
    """Return whether root holds the cohorts of these settings, with masks if they are asked for.

    Raises ConfigError when it holds other phantoms.
    """
    if not (root / MARK).is_file():
        return False
    fix = "choose another folder, or delete this one"
    try:
        found = json.loads((root / MARK).read_text(encoding="utf-8"))
        same = found["version"] == VERSION and found["settings"] == settings.as_dict()
        has_masks = bool(found["masks"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("the file is damaged", str(root / MARK), fix) from error
    if not same:
        raise ConfigError("the folder holds phantoms of other settings", str(root / MARK), fix)
    return has_masks or not masks


def workspace(root: Path) -> Path:
    """Return an empty folder inside root to write into, after a look that nothing foreign would be overwritten."""
    partial = root / PARTIAL
    there = [name for name in CHILDREN if (root / name).exists()]
    if there and not partial.is_dir() and not (root / MARK).is_file():
        raise ConfigError(f"the folder already holds {', '.join(there)}", str(root), "choose a new folder for phantoms")
    partial.mkdir(exist_ok=True)  # kept to the end: it says that whatever lies beside it is ours
    for child in partial.iterdir():
        shutil.rmtree(child) if child.is_dir() else child.unlink()
    return partial


def publish(root: Path, settings: PhantomSettings, masks: bool) -> None:
    """Move the finished files into place, and write the mark last."""
    partial = root / PARTIAL
    (root / MARK).unlink(missing_ok=True)
    for name in CHILDREN:
        if (root / name).exists():
            shutil.rmtree(root / name)
        if (partial / name).exists():
            (partial / name).replace(root / name)
    content = {"version": VERSION, "settings": settings.as_dict(), "masks": masks}
    (partial / MARK).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    (partial / MARK).replace(root / MARK)
    partial.rmdir()
