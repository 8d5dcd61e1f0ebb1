"""A grid that something happens to: it is watched from outside, and in the end its store holds what an undisturbed one holds."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.store.checked_files import read_grid, write_grid
from bench.store.checked_folders import CheckedFolder
from bench.store.file_integrity import file_sha256
from bench.store.lease import is_held
from bench.store.store import Store
from tests.forked import Begun

WITH_IMAGES = ("phantom", "cache", "store.json")  # what a grid makes before its first run


def with_parts(finished: Path, folder: Path, parts: Sequence[str]) -> Path:
    """Make a folder whose store has these parts of the finished one, and none of its runs; return it."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for part in parts:
        source = finished / "runs" / part
        if source.is_dir():
            shutil.copytree(source, folder / "runs" / part, symlinks=True)
        else:
            shutil.copy(source, folder / "runs" / part)
    return folder


def with_data(finished: Path, folder: Path, *changed: str) -> Path:
    """Make a folder with the images of the finished store; return it. The hospitals that a test changes are copies, the others links."""
    (phantom,) = (finished / "runs" / "phantom").iterdir()
    folder.mkdir()
    for part in phantom.iterdir():
        if part.name in changed:
            shutil.copytree(part, folder / part.name)
        else:
            (folder / part.name).symlink_to(part)
    return folder


def with_cohorts(store: Path, folder: Path, external: Sequence[str]) -> Path:
    """Write a copy of a finished store without scores, as a laboratory would have it that has few external hospitals; return it.

    Images and caches are links.
    """
    shutil.copytree(store, folder, ignore=shutil.ignore_patterns("phantom", "cache", "report", "scores"))
    for part in ("phantom", "cache"):
        (folder / part).symlink_to(store / part)
    grid = read_grid(Store(folder), "tiny")
    kept = [cohort for cohort in grid["cohorts"] if cohort["name"] in ("chexpert", *external)]
    write_grid(Store(folder), "tiny", {**grid, "cohorts": kept})
    return folder


def wait_for(pattern: str, folder: Path, process: "subprocess.Popen[str] | Begun") -> Path:
    """Return the first file of the store that fits, as soon as there is one."""
    for _ in range(12000):
        found = next((folder / "runs").glob(pattern), None)
        if found is not None:
            return found
        assert process.poll() is None, f"the grid ended before {pattern}:\n{process.communicate()}"
        time.sleep(0.05)
    raise AssertionError(f"no {pattern} after 600 s")


def kill(process: Begun, folder: Path) -> None:
    """Kill a grid with all its processes, and wait until none of them holds a run: the kernel ends them one after the other.

    The process must have begun with `lead_process_group`.
    """
    with contextlib.suppress(ProcessLookupError):  # it has ended
        while os.getpgid(process.pid) != process.pid:
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for lock in (folder / "runs").rglob("LOCK"):
        while is_held(lock):
            time.sleep(0.01)


def holder(run: Path) -> int:
    """Return the process that is at work on a run, once its LOCK is written."""
    while not (text := (run / "LOCK").read_text()):
        time.sleep(0.01)
    return int(json.loads(text)["pid"])


def bound_by_permissions() -> list[str]:
    """Return the words before a command that is to be kept from writing: root may write everywhere, unless it gives that up."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root without setpriv cannot be kept from writing")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]


@contextlib.contextmanager
def read_only(root: Path) -> Iterator[None]:
    """Let nobody write into the folders of a store while the block runs; links to shared phantoms stay as they are."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir() and not path.is_symlink())]
    for path in folders:
        path.chmod(0o555)
    try:
        yield
    finally:
        for path in folders:
            path.chmod(0o755)


def assert_same_bytes(folder: Path, finished: Path) -> None:
    """Every run is done, no LOCK or half-written file is left, and weights, predictions and scores are those of the finished store."""
    mine, theirs = folder / "runs", finished / "runs"
    assert Store(mine).run_ids() == Store(theirs).run_ids()
    for run in (Store(theirs).run_dir(run_id) for run_id in Store(theirs).run_ids()):
        kept = [run / "model.safetensors", run / "run.json", *(run / "predictions").iterdir()]
        for path in [*kept, *(theirs / "scores" / run.name).iterdir()]:
            assert path.read_bytes() == (mine / path.relative_to(theirs)).read_bytes(), path.name
        assert (mine / run.relative_to(theirs) / "DONE").is_file()
        own = mine / run.relative_to(theirs)
        assert CheckedFolder(own).checksums() == {
            name: file_sha256(own / name) for name in CheckedFolder(own).stored_files()
        }
    assert not [p for p in mine.rglob("*") if p.name == "LOCK" or p.suffix == ".part"]
