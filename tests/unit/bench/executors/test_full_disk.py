"""A full disk: the reason of the failed run names the file, the space and the fix."""

import errno
import os
import re
import resource
from pathlib import Path

import pytest

import bench.executors.execute_job
from bench.executors.execute_job import attempt
from bench.planning.jobs import Job
from bench.planning.manifest import read_manifest
from bench.results.write_report import write_report
from bench.store.store import Store, replacing, write_bytes
from harmonize.disk_space import DiskFullError
from tests.jobs import tiny_job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return tiny_job(tmp_path / "runs")


def test_the_reason_of_a_run_on_a_full_disk_names_file_space_and_fix(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = job.folder / "model.safetensors"

    def write(*_: object) -> bool:
        with replacing(weights, needed=3_100_000):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(bench.executors.execute_job, "_do", write)
    state, reason = attempt(job, lambda *_: None)
    assert state == "failed"
    assert reason.startswith(f"cannot write {weights}: No space left on device (3.1 MB needed, ")
    assert re.search(r" [\d.]+ [kMGT]B free\); free disk space, then run the same command again$", reason)
    assert job.store.reason(job.id) == reason


def test_a_run_fails_in_words_where_its_failure_cannot_be_written_either(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of the process on file sizes lets no file grow above zero bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def write(*_: object) -> bool:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        write_bytes(job.folder / "trained.json", b"{}")
        return True

    monkeypatch.setattr(bench.executors.execute_job, "_do", write)
    try:
        state, reason = attempt(job, lambda *_: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert state == "failed"
    assert reason.startswith(f"cannot write {job.folder / 'trained.json'}: File too large (0 kB needed, ")
    assert "ulimit -f" in reason
    assert job.store.state(job.id) == "started"


def test_an_error_inside_a_nested_write_keeps_the_name_of_its_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="No space left on device") as raised,
        replacing(tmp_path / "outer"),
        replacing(tmp_path / "inner"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "inner")


@pytest.mark.grid
def test_a_page_on_a_full_disk_names_its_size(store_copy: Path) -> None:
    manifest = read_manifest(Store.open(store_copy / "runs"), "tiny")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(DiskFullError, match=r"File too large \(\d.* [kM]B needed, .* free\)") as full:
            write_report(manifest, store_copy / "page.html", lambda *_: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.filename == str(store_copy / "page.html")
    assert list(store_copy.glob(".*.part")) == []
