"""Workers of this machine do not wait while the command writes a page."""

from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.executors import local


def test_a_worker_has_its_next_job_before_the_command_handles_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, its = Pipe()
    process: Any = SimpleNamespace(is_alive=lambda: True, terminate=str, join=str, kill=str)
    monkeypatch.setattr(local, "warm_up", lambda: None)
    monkeypatch.setattr(local, "placed", lambda job, _: job)
    monkeypatch.setattr(local, "_start", lambda _, job, devices, __: local._Worker(process, ours, devices, job, 0.0))
    jobs: Any = [SimpleNamespace(id=name, folder=tmp_path) for name in "ab"]
    its.send(("done", ""))
    assert next(iter(local.submit(jobs, [("cpu",)], lambda *_: None))).job_id == "a"
    assert its.recv().id == "a"
    assert its.poll(10)
    assert its.recv().id == "b"


def test_progress_that_nobody_reads_does_not_stop_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def report_often(_: object, progress: Any) -> None:
        for _ in range(10_000):
            progress("train", 1, 1)
        raise EOFError  # the parent has ended

    ours, its = Pipe()
    monkeypatch.setattr(local, "end_with_parent", lambda: None)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    monkeypatch.setattr(local, "attempt", report_often)
    ours.send(SimpleNamespace(device="cpu"))
    local._work(its, 1)
    assert ours.recv() == ("progress", "train", 1, 1)
