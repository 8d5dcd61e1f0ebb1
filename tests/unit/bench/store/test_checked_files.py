"""Grids, cohort tables and scores: each damage of a file is found when the file is read, and kills between two writes are harmless."""

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from bench.store.checked_files import (
    CHANGED,
    cohort_problem,
    read_cohort,
    read_grid,
    write_cohort,
    write_grid,
)
from bench.store.checked_folders import CheckedFolder, ScoresFolder
from bench.store.store import Store, write_table
from harmonize.errors import StoreError

NUM_DAMAGES = 1000
GRID = {"name": "g", "min_count": 5, "runs": [{"id": "3fa9", "lr": 0.1}], "phantom": True}
TABLE = pd.DataFrame(
    {"image_id": [f"i{k}" for k in range(40)], "Edema": pd.array([1, 0, None, -1] * 10, "Int8"), "age": [0.5] * 40}
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "runs")
    write_grid(store, "g", GRID)
    write_cohort(table_path(store), TABLE, "0123456789ab")
    scores = store.root / "scores" / "3fa9"
    CheckedFolder(scores).write_checksums(
        {f"{name}.parquet": write_table(scores / f"{name}.parquet", TABLE) for name in "ab"}
    )
    return store


def table_path(store: Store) -> Path:
    return store.root / "cohorts" / "nih-0123456789ab.parquet"


def readers(store: Store) -> dict[Path, tuple[Callable[[], object], object]]:
    """Return {file: its reader, what the reader returns for the undamaged file}."""
    scores = store.root / "scores" / "3fa9"
    checksums = table_path(store).with_name("nih-0123456789ab.parquet.sha256")
    by_file: dict[Path, Callable[[], object]] = {
        store.root / "grids" / "g.json": lambda: read_grid(store, "g"),
        table_path(store): lambda: read_cohort(table_path(store)).to_dict("list"),
        checksums: lambda: read_cohort(table_path(store)).to_dict("list"),
        scores / "a.parquet": lambda: ScoresFolder(scores).table("a").to_dict("list"),
        scores / "checksums.json": lambda: ScoresFolder(scores).table("a").to_dict("list"),
    }
    return {path: (read, read()) for path, read in by_file.items()}


def damaged(content: bytes, draw: random.Random) -> bytes | None:
    """Return the content with a flipped bit, cut off, empty or replaced by junk; None: without the file."""
    kind, changed = draw.randrange(8), bytearray(content)
    if kind < 4:
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        return bytes(changed)
    return (content[: draw.randrange(len(content))], b"", draw.randbytes(len(content)), None)[kind - 4]


def outcome(read: Callable[[], object], value: object, name: str) -> str:
    """Return what a reader does with a damaged file: "refused" (by its name), "same" value, or else the other value as text."""
    try:
        found = read()
    except StoreError as error:
        return "refused" if name in str(error) and error.fix else str(error)
    if isinstance(found, dict) and isinstance(
        value, dict
    ):  # a bit of the key `sha256` makes it an unknown key, which is not read
        found = {key: found.get(key) for key in value}
    return "same" if str(found) == str(value) else str(found)


@pytest.mark.slow
def test_a_damaged_file_is_refused_or_reads_as_before(store: Store) -> None:
    draw, outcomes = random.Random(0), Counter[str]()
    read_by_file = readers(store)
    before = {path: path.read_bytes() for path in read_by_file}
    for _ in range(NUM_DAMAGES):
        path = draw.choice(list(before))
        content = damaged(before[path], draw)
        path.unlink() if content is None else path.write_bytes(content)
        # a damaged list of checksums is reported at the file that it belongs to
        name = {"checksums.json": "a.parquet"}.get(path.name, path.name.removesuffix(".sha256"))
        outcomes[outcome(*read_by_file[path], name)] += 1
        path.write_bytes(before[path])
    assert set(outcomes) == {"refused", "same"}
    assert outcomes["refused"] > NUM_DAMAGES / 2


def test_a_value_that_keeps_the_file_readable_is_refused(store: Store) -> None:
    grid = store.root / "grids" / "g.json"
    grid.write_bytes(grid.read_bytes().replace(b'"min_count":5', b'"min_count":7'))
    with pytest.raises(StoreError, match="grid g is not what was stored") as refusal:
        read_grid(store, "g")
    assert f"rm '{grid}'" in refusal.value.fix
    changed = TABLE.assign(Edema=TABLE["Edema"].replace({1: 0}))
    write_table(table_path(store), changed, {"id": "0123456789ab"})
    assert cohort_problem(table_path(store)) == CHANGED
    scores = store.root / "scores" / "3fa9"
    write_table(scores / "b.parquet", changed)
    assert ScoresFolder(scores).damage(["a.parquet"]) == "b.parquet is not what was stored"
    assert ScoresFolder(scores).table("a").equals(TABLE)
    with pytest.raises(StoreError, match=r"b\.parquet is not what was stored"):
        ScoresFolder(scores).table("b")


def test_spaces_in_a_grid_change_nothing(store: Store) -> None:
    grid = store.root / "grids" / "g.json"
    grid.write_text(json.dumps(json.loads(grid.read_bytes()), indent=1))
    assert read_grid(store, "g") == GRID


def test_two_tables_that_are_swapped_with_their_checksums_are_refused(store: Store) -> None:
    one, two = table_path(store), store.root / "cohorts" / "mimic-0123456789ab.parquet"
    write_cohort(two, TABLE.iloc[::-1], "0123456789ab")
    for name in ("{}", "{}.sha256"):
        first, second = (path.with_name(name.format(path.name)) for path in (one, two))
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)
    for path in (one, two):
        assert cohort_problem(path) == CHANGED
        with pytest.raises(StoreError, match=CHANGED):
            read_cohort(path)


def test_a_file_without_a_checksum_is_refused(store: Store) -> None:
    (store.root / "grids" / "g.json").write_text(json.dumps(GRID))
    table_path(store).with_name("nih-0123456789ab.parquet.sha256").unlink()
    (store.root / "scores" / "3fa9" / "checksums.json").unlink()
    with pytest.raises(StoreError, match=CHANGED):
        read_grid(store, "g")
    with pytest.raises(StoreError, match=r"the cohort table nih-0123456789ab\.parquet has no checksum") as refusal:
        read_cohort(table_path(store), ["age"])
    assert "run the grid again" in refusal.value.fix
    assert ScoresFolder(store.root / "scores" / "3fa9").damage(["a.parquet"]) == "checksums.json is missing"


def test_a_table_that_is_written_again_gets_its_own_checksum(store: Store) -> None:
    write_table(table_path(store), TABLE.assign(age=1.5))
    assert cohort_problem(table_path(store)) == CHANGED
    write_cohort(table_path(store), TABLE, "0123456789ab")
    assert cohort_problem(table_path(store)) == ""
