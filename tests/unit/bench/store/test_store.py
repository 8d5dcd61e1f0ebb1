"""The store: files are complete or absent, and states are read from files."""

from pathlib import Path

import pandas as pd
import pytest

from bench.store.store import Store, canonical_json, replacing, short_hash, table_facts, write_table
from harmonize.errors import StoreError

DOCUMENT = canonical_json({"a": 1})
RUN = short_hash(DOCUMENT)


def test_an_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
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
    assert store.state(RUN) == "failed", "until the run is reopened"
    store.reopen(RUN)
    assert store.state(RUN) == "started"
    (folder / "DONE").touch()
    store.fail(RUN, "the task of a finished run was lost")
    assert (store.state(RUN), store.run_ids()) == ("done", [RUN])
    assert not (folder / "FAILED").exists()


def test_run_json_hashes_to_its_folder(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    assert short_hash((store.begin(RUN, DOCUMENT) / "run.json").read_bytes()) == RUN
    with pytest.raises(ValueError, match="hash"):
        store.begin("0" * 12, DOCUMENT)


@pytest.mark.parametrize("content", ['{"schema": 99}', "not json"])
def test_a_store_with_an_invalid_schema_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(StoreError):
        Store.open(tmp_path)


@pytest.mark.parametrize("create", [True, False])
def test_a_store_whose_path_is_not_utf_8_is_refused_by_its_path(tmp_path: Path, create: bool) -> None:
    with pytest.raises(StoreError, match="the path is not UTF-8") as caught:
        Store.open(tmp_path / "s\udcff", create=create)
    caught.value.where.encode()


def test_opening_for_reading_does_not_create_a_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no run store"):
        Store.open(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_a_table_keeps_its_facts_and_a_truncated_one_has_none(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    write_table(path, pd.DataFrame({"x": [1.0]}), {"fingerprint": "abc"})
    assert table_facts(path) == {"fingerprint": "abc"}
    path.write_bytes(path.read_bytes()[:-20])
    assert table_facts(path) == {}
