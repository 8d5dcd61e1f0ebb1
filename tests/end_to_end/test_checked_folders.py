"""checksums.json: what a finished run has stored is known by its bytes, and what has changed since is made again."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from disturbed import assert_same_bytes

from bench.store.checked_folders import CheckedFolder
from bench.store.store import Store, write_bytes
from harmonize.errors import StoreError

pytestmark = pytest.mark.grid
Command = Callable[..., object]


def run_folder(root: Path) -> Path:
    (root / "predictions").mkdir(parents=True)
    for name in ("run.json", "predictions/nih.parquet", "model.safetensors", "log.txt", "MODEL_CARD.md"):
        write_bytes(root / name, name.encode())
    write_bytes(root / "attention" / "attention.parquet", b"of an analysis")
    return root


def test_log_card_and_analyses_are_not_covered(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    CheckedFolder(folder).mark_done()
    assert list(CheckedFolder(folder).checksums() or ()) == ["model.safetensors", "predictions/nih.parquet", "run.json"]
    assert (folder / "DONE").is_file()
    write_bytes(folder / "MODEL_CARD.md", b"another")
    write_bytes(folder / "attention" / "attention.parquet", b"another")
    assert CheckedFolder(folder).discard_changed_files() == []


def test_what_changed_since_a_run_was_done_is_deleted_when_it_is_taken_up_and_nothing_else_is(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    CheckedFolder(folder).mark_done()
    write_bytes(folder / "predictions" / "nih.parquet", b"forged")
    write_bytes(folder / "predictions" / "vindr.parquet", b"new")
    assert CheckedFolder(folder).discard_changed_files() == ["predictions/nih.parquet"]
    assert CheckedFolder(folder).stored_files() == ["model.safetensors", "predictions/vindr.parquet", "run.json"]
    assert CheckedFolder(folder).checksums() is None
    write_bytes(folder / "run.json", b"changed while at work")
    assert CheckedFolder(folder).discard_changed_files() == []


@pytest.mark.parametrize("problem", ["is missing", "is damaged"])
def test_lost_checksums_of_a_finished_run_are_damage(tmp_path: Path, problem: str) -> None:
    store = Store.open(tmp_path / "runs")
    folder = run_folder(store.run_dir("3fa9" * 3))
    CheckedFolder(folder).mark_done()
    assert CheckedFolder(folder).problems(["run.json"]) == {}
    (folder / "checksums.json").unlink()
    if problem == "is damaged":
        (folder / "checksums.json").write_text("{")
    assert CheckedFolder(folder).problems(["run.json"]) == {"checksums.json": problem}
    with pytest.raises(StoreError, match=f"predictions/nih.parquet cannot be checked: checksums.json {problem}"):
        CheckedFolder(folder).read("predictions/nih.parquet")
    with pytest.raises(StoreError, match=f"checksums.json {problem}"):
        CheckedFolder(folder).check_weights()


def test_what_is_read_is_what_was_looked_at(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    path = folder / "log.txt"
    assert CheckedFolder(folder).read_with_problem(path.name) == (b"log.txt", ""), "nobody knows what it should be"
    path = folder / "run.json"
    write_bytes(path, b"{}")
    CheckedFolder(folder).mark_done()
    assert CheckedFolder(folder).read_with_problem(path.name) == (b"{}", "")
    for content, said in ((b"[]", "is damaged"), (b'{"id": 1}', "is not what was stored")):
        write_bytes(path, content)
        assert CheckedFolder(folder).read_with_problem(path.name) == (content, said)
    path.unlink()
    assert CheckedFolder(folder).read_with_problem(path.name) == (b"", "is missing")


def test_a_record_reaches_no_file_outside_of_the_run(tmp_path: Path) -> None:
    folder, other = run_folder(tmp_path / "run"), tmp_path / "other.json"
    other.write_bytes(b"of somebody else")
    write_bytes(folder / "checksums.json", b'{"sha256": {"../other.json": "0", "log.txt": "0"}}')
    assert CheckedFolder(folder).discard_changed_files() == []
    assert other.is_file()


def test_a_run_that_goes_on_makes_again_what_was_changed_behind_its_back(
    store_copy: Path, finished: Path, here: Command
) -> None:
    store = Store.open(store_copy / "runs")
    folder = store.run_dir(store.run_ids()[0])
    table = pq.read_table(folder / "predictions" / "nih.parquet")
    reversed_rows = table.take(list(range(table.num_rows))[::-1]).replace_schema_metadata(table.schema.metadata)
    pq.write_table(reversed_rows, folder / "predictions" / "nih.parquet")  # whole, of these images and these weights
    np.savez(folder / "features" / "brax.npz", patient_id=np.array(["1"]), feature=np.zeros((1, 2), np.float16))
    (folder / "env.json").unlink()  # so that the grid takes it up
    here("run", "--grid", "tiny", "--quiet", cwd=store_copy)
    assert_same_bytes(store_copy, finished)
    features = folder.relative_to(store_copy) / "features" / "brax.npz"
    assert (store_copy / features).read_bytes() == (finished / features).read_bytes()
