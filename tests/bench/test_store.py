"""The store: whole files, states from files, leases that outlive nobody."""

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from bench.store import Store, canonical_json, holder_of, lease, replacing, short_hash, table_facts, write_table
from harmonize.errors import StoreError

DOCUMENT = canonical_json({"a": 1})
RUN = short_hash(DOCUMENT)


def test_a_file_that_was_not_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "scores.parquet"
    target.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(target) as temporary:
        temporary.write_text(str(1 // (temporary.write_text("half") - 4)))
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores.parquet"]


def test_states_are_read_from_files(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs")
    assert store.state(RUN) == "absent"
    folder = store.begin(RUN, DOCUMENT)
    assert store.state(RUN) == "started"
    store.fail(RUN, "Traceback\n\nValueError: bad")
    assert (store.state(RUN), store.reason(RUN)) == ("failed", "ValueError: bad")
    store.begin(RUN, DOCUMENT)
    assert store.state(RUN) == "started"
    (folder / "DONE").touch()
    assert (store.state(RUN), store.run_ids()) == ("done", [RUN])


def test_run_json_hashes_to_its_folder(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert short_hash((store.begin(RUN, DOCUMENT) / "run.json").read_bytes()) == RUN
    with pytest.raises(ValueError, match="hash"):
        store.begin("0" * 12, DOCUMENT)


@pytest.mark.parametrize("content", ['{"schema": 99}', "not json"])
def test_a_foreign_store_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError):
        Store.open(tmp_path)


def test_reading_commands_do_not_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run store"):
        Store.open(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_a_table_keeps_its_facts_and_a_truncated_one_has_none(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, pd.DataFrame({"x": [1.0]}), {"fingerprint": "abc"})
    assert table_facts(path) == {"fingerprint": "abc"}
    path.write_bytes(path.read_bytes()[:-20])
    assert table_facts(path) == {}


def test_a_lease_is_held_once_and_given_back(tmp_path: Path) -> None:
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


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=_hold, args=(str(tmp_path), ready))
    process.start()
    assert ready.wait(60)
    with lease(tmp_path) as mine:
        assert not mine
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    with lease(tmp_path) as mine:
        assert mine


def test_the_lease_of_another_machine_is_free_when_its_count_stands_still(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(json.dumps({"host": "elsewhere", "pid": 1, "born": 0, "beat": 7}))
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine


@pytest.mark.parametrize("content", ["", "[]", "null", "\x00", '{"pid": null, "host": 7}'])
def test_a_lock_that_says_nothing_is_free_when_it_stays_so(content: str, tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(content)
    assert holder_of(tmp_path / "LOCK").pid == 0
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine
