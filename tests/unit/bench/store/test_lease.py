"""Leases: one holder at a time, freed when the holder is dead, independent of clocks."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

import bench.store.lease
from bench.executors.execute_job import attempt
from bench.store.lease import claim, holder_of, lease
from bench.store.store import canonical_json, write_bytes
from tests.jobs import tiny_job

ELSEWHERE = {"host": "elsewhere", "place": "another start", "token": "theirs"}


@contextmanager
def repeated(step: Callable[[], None]) -> Iterator[None]:
    """Call `step` every 20 ms in a thread during the block."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(0.02):
            step()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_only_one_process_holds_a_lease_until_it_ends(tmp_path: Path) -> None:
    with lease(tmp_path) as first:
        assert first
        with lease(tmp_path) as second:
            assert not second
        assert (tmp_path / "LOCK").exists()
    assert not (tmp_path / "LOCK").exists()


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
    began = time.monotonic()
    with lease(tmp_path) as mine:
        assert mine
    assert time.monotonic() - began < 5


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="start times count from the machine's start on Linux")
def test_a_change_of_the_clock_does_not_end_a_lease(
    held: multiprocessing.process.BaseProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    born = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: born(process) + 3600)
    assert holder_of(tmp_path / "LOCK").alive_here is True
    with lease(tmp_path) as mine:
        assert not mine
    assert holder_of(tmp_path / "LOCK").pid == held.pid


def test_another_process_with_the_same_id_is_not_the_holder(tmp_path: Path) -> None:
    write_bytes(tmp_path / "LOCK", canonical_json(claim() | {"born": "1"}))
    assert holder_of(tmp_path / "LOCK").alive_here is False
    with lease(tmp_path) as mine:
        assert mine


def test_the_lease_of_another_machine_is_held_while_its_heartbeat_changes(tmp_path: Path) -> None:
    lock, there = tmp_path / "LOCK", claim() | ELSEWHERE
    write_bytes(lock, canonical_json(there))
    assert holder_of(lock).alive_here is None

    def beat() -> None:
        there["beat"] += 1
        write_bytes(lock, canonical_json(there))

    with repeated(beat), lease(tmp_path, beat_s=0.2) as mine:
        assert not mine
    assert json.loads(lock.read_bytes()) == there


def test_the_lease_of_another_machine_is_free_when_its_heartbeat_stops(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(json.dumps(claim() | ELSEWHERE))
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine


@pytest.mark.parametrize("content", ["", "[]", "null", "\x00", '{"pid": null, "host": 7}'])
def test_an_unreadable_lock_is_free_if_it_does_not_change(content: str, tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(content)
    assert holder_of(tmp_path / "LOCK").pid == 0
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine


def test_a_holder_that_lost_its_lease_does_not_remove_the_new_lock(tmp_path: Path) -> None:
    lock, theirs = tmp_path / "LOCK", canonical_json(claim() | ELSEWHERE)
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine
        while json.loads(lock.read_bytes())["beat"] < 2:
            time.sleep(0.01)
        write_bytes(lock, theirs)
        time.sleep(0.2)
        assert lock.read_bytes() == theirs
    assert lock.read_bytes() == theirs
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]


def test_a_run_held_by_another_process_keeps_its_state(tmp_path: Path) -> None:
    job = tiny_job(tmp_path / "runs")
    job.begin()
    (job.folder / "DONE").touch()
    with lease(job.folder):
        assert attempt(job, lambda *_: None)[0] == "held"
        assert job.store.state(job.id) == "done"


def test_a_lock_renewed_while_it_is_removed_stays_where_hard_links_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A suspended holder of another machine wakes up just when its LOCK is taken away; exFAT and SMB have no hard links."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    def rename_after_a_beat(path: Path, target: Path) -> Path:
        if path == lock and not renewed:
            renewed.append(there | {"beat": 1})
            lock.write_bytes(canonical_json(renewed[0]))
        return rename(path, target)

    def beat_after_renewal() -> None:
        if renewed and lock.exists():
            renewed[0]["beat"] = int(str(renewed[0]["beat"])) + 1
            lock.write_bytes(canonical_json(renewed[0]))

    lock, there = tmp_path / "LOCK", claim() | ELSEWHERE
    renewed: list[dict[str, object]] = []
    lock.write_bytes(canonical_json(there))
    rename = Path.rename
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(Path, "rename", rename_after_a_beat)
    with repeated(beat_after_renewal), lease(tmp_path, beat_s=0.05) as mine:
        assert not mine
    assert json.loads(lock.read_bytes())["token"] == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["LOCK"]


def test_a_new_lock_yields_to_one_that_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two renames of another process, LOCK is free for a moment although its holder is alive."""
    holder = canonical_json(claim())

    def put_back(descriptor: int, entry: object) -> None:
        write(descriptor, entry)  # type: ignore[arg-type]
        write_bytes(tmp_path / "LOCK", holder)

    write = bench.store.lease._write
    monkeypatch.setattr(bench.store.lease, "_write", put_back)
    with lease(tmp_path) as mine:
        assert not mine
    assert (tmp_path / "LOCK").read_bytes() == holder


def test_a_lease_ends_although_its_last_beat_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        beats.append(1)
        raise OSError(28, "No space left on device")

    beats: list[int] = []
    monkeypatch.setattr(bench.store.lease, "_renew", fail)
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine
        while not beats:
            time.sleep(0.01)
    assert not (tmp_path / "LOCK").exists()
