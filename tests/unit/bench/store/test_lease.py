"""One process works on a run: it holds the run's lease until its block or the process itself ends."""

import errno
import fcntl
import json
import multiprocessing
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.executors.execute_job import attempt
from bench.store.lease import holder_of, is_held, lease
from harmonize.errors import StoreError
from tests.jobs import tiny_job


def test_only_one_process_holds_a_lease_until_it_ends(tmp_path: Path) -> None:
    with lease(tmp_path) as first:
        assert first
        assert is_held(tmp_path / "LOCK")
        with lease(tmp_path) as second:
            assert not second
        assert holder_of(tmp_path / "LOCK") == (os.uname().nodename, os.getpid())
    assert not (tmp_path / "LOCK").exists()
    assert not is_held(tmp_path / "LOCK")


def _hold(folder: str, ready: object) -> None:
    with lease(Path(folder)):
        ready.set()  # type: ignore[attr-defined]
        signal.pause()


@pytest.fixture
def held(tmp_path: Path) -> Iterator[multiprocessing.process.BaseProcess]:
    """Another process of this machine that holds the lease."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    yield process
    process.kill()
    process.join()


def test_the_lease_of_a_killed_process_is_free_at_once(
    held: multiprocessing.process.BaseProcess, tmp_path: Path
) -> None:
    with lease(tmp_path) as mine:
        assert not mine
    os.kill(held.pid or 0, signal.SIGKILL)
    os.waitid(os.P_PID, held.pid or 0, os.WEXITED | os.WNOWAIT)  # its exit status is left: it stays as a zombie
    assert holder_of(tmp_path / "LOCK")[1] == held.pid
    assert not is_held(tmp_path / "LOCK")
    with lease(tmp_path) as mine:
        assert mine


@pytest.mark.parametrize("content", ["", "[]", "null", "\x00", '{"pid": null, "host": 7}'])
def test_an_unreadable_lock_that_nobody_holds_is_free(content: str, tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(content)
    assert holder_of(tmp_path / "LOCK") == ("", 0)
    with lease(tmp_path) as mine:
        assert mine
        assert json.loads((tmp_path / "LOCK").read_text())["pid"] == os.getpid()


def test_a_lock_that_its_holder_removed_before_it_was_locked_here_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the opening and the locking of LOCK, its holder ends."""

    def lock_after_the_end(file: int, operation: int) -> None:
        if not removed:
            removed.append(1)
            (tmp_path / "LOCK").unlink()
        flock(file, operation)

    removed: list[int] = []
    flock = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lock_after_the_end)
    with lease(tmp_path) as mine:
        assert mine
        assert is_held(tmp_path / "LOCK")


def test_a_file_system_without_locks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(StoreError, match="cannot lock files"), lease(tmp_path):
        pass


def test_a_run_held_by_another_process_keeps_its_state(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "runs")
    job.begin()
    (job.folder / "DONE").touch()
    with lease(job.folder):
        assert attempt(job, lambda *_: None)[0] == "held"
        assert job.store.state(job.id) == "done"
