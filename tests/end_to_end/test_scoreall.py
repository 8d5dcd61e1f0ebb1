"""Scoring from the store: however many work at it, the files are the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

from bench.planning.manifest import read_manifest
from bench.results import score_runs as scoreall
from bench.results.read_predictions import CohortLabels, load_scored_splits
from bench.scoring.scored_split import ScoredSplit
from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store
from harmonize.errors import StoreError

pytestmark = pytest.mark.grid


def quiet(what: str, done: int, total: int) -> None:
    assert done <= total, what


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in (store / "scores").glob("*/*")}


# test_scores_and_page_come_from_the_store_alone_and_are_the_same_bytes scores with one process
@pytest.mark.parametrize("processes", [pytest.param(1, marks=pytest.mark.thorough), 2])
def test_several_processes_write_the_bytes_that_one_writes(
    processes: int, store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scores that several processes compute."""
    store = store_copy / "runs"
    before = files(store)
    shutil.rmtree(store / "scores")
    monkeypatch.setattr(scoreall, "WORTH", 1)
    scored = scoreall.score_all(read_manifest(Store.open(store), None), quiet, processes)
    assert len(scored) == 2
    assert files(store) == before


def test_scoring_again_keeps_the_source_probe_of_the_same_features(
    store_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_copy / "runs"
    before = files(store)
    for key in (store / "scores").glob("*/KEY"):
        key.unlink()
    monkeypatch.setattr("bench.analyses.shortcuts.source.source_probe", None)
    scoreall.score_all(read_manifest(Store.open(store), None), quiet, 1)
    assert files(store) == before


def test_an_error_in_a_process_reads_as_it_would_here(store_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_copy / "runs"
    manifest = read_manifest(Store.open(store), None)
    cohort = store / "cohorts" / f"{manifest.cohorts[0].name}-{manifest.cohorts[0].id}.parquet"
    cohort.write_bytes(b"")
    for key in (store / "scores").glob("*/KEY"):
        key.unlink()
    monkeypatch.setattr(scoreall, "WORTH", 1)
    with pytest.raises(StoreError, match="is not what was stored"):
        scoreall.score_all(manifest, quiet, 2)


def test_images_are_known_again_however_they_are_stored_and_in_another_order_are_others(store_copy: Path) -> None:
    manifest = read_manifest(Store.open(store_copy / "runs"), None)
    run, labels = manifest.runs[0], dict[tuple[str, str, str], CohortLabels]()
    folder = manifest.store.run_dir(run.id)
    path = folder / "predictions" / f"{manifest.cohorts[0].name}.parquet"
    table = pq.read_table(path)

    def first() -> ScoredSplit:
        return load_scored_splits(manifest, run, run.config, labels)[0]

    before = first()
    pq.write_table(table, path, compression="none", use_dictionary=False)
    CheckedFolder(folder).record_checksums()  # other bytes are meant to be read here
    again = first()
    assert again.identity is before.identity
    assert (again.logit == before.logit).all()
    pq.write_table(table.take(list(range(table.num_rows))[::-1]), path)
    CheckedFolder(folder).record_checksums()
    turned = first()
    assert turned.identity is not before.identity
    assert turned.image_id.tolist() == before.image_id[::-1].tolist()
    assert (turned.logit == before.logit[::-1]).all()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StoreError, match=f"{path.name} is damaged"):
        first()


KILLED = """
import multiprocessing, sys, time
from pathlib import Path
from bench.results import score_runs as scoreall
from bench.planning.manifest import read_manifest
from bench.store.store import Store

def progress(what, done, total):
    if done:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        time.sleep(60)

if __name__ == "__main__":
    scoreall.WORTH = 1
    scoreall.score_all(read_manifest(Store.open(Path(sys.argv[1])), None), progress, 2)
"""


def test_processes_that_score_end_when_the_command_is_killed(store_copy: Path, tmp_path: Path) -> None:
    for key in (store_copy / "runs" / "scores").glob("*/KEY"):
        key.unlink()
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(store_copy / "runs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 2
        os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + 120
    while any(_runs(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in children if _runs(pid)]


def _runs(pid: int) -> bool:
    """Return whether a process is there and not only a dead one that nobody has waited for."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
