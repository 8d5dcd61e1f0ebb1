"""Leases: one holder at a time, freed when the holder is dead, independent of clocks."""

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench.config.registry import Registry
from bench.config.run_config import RunConfig
from bench.executors.execute_job import attempt
from bench.planning.jobs import Job
from bench.planning.run import Run
from bench.store.lease import claim, holder_of, lease
from bench.store.store import Store, canonical_json, write_bytes

ELSEWHERE = {"host": "elsewhere", "place": "another start", "token": "theirs"}


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
    held.join()
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
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.02):
            there["beat"] += 1
            write_bytes(lock, canonical_json(there))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with lease(tmp_path, beat_s=0.2) as mine:
            assert not mine
    finally:
        done.set()
        thread.join()
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
    registry = Registry.read()
    config = RunConfig(
        architecture="seresnet_tiny",
        preprocessing="imagenet_64",
        channels=1,
        optimizer="adamw",
        loss="bce",
        uncertainty="u_ignore",
        augmentation="light",
    )
    job = Job(Run.of(config, registry, "internal", None), Store.open(tmp_path / "runs"), ())
    job.begin()
    (job.folder / "DONE").touch()
    with lease(job.folder):
        assert attempt(job, lambda *_: None)[0] == "held"
        assert job.store.state(job.id) == "done"
