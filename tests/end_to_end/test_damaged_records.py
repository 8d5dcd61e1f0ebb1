"""Each small record of a finished store cut off or replaced, one at a time: no command stops on it unnamed, and no page hides it.

A run whose record is damaged is left out of the page, which says so; what nothing can be said without is an error with its mend;
what follows from the rest is made again.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from disturbed import assert_same_bytes

from bench.store.store import Store

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: bytes(range(256)) * 3,
    "null": lambda content: b"null",
    "other": lambda content: b'{"schema":99,"unlearnt":7,"config":5}',
}
RECORDS = ("run.json", "trained.json", "cost.json", "seal.json", "env.json", "history.parquet", "checksums.json")
NAMED = ("grids/tiny.json", "cohorts/nih-*.parquet", "RUN/predictions/nih.parquet", "store.json")


@pytest.fixture
def store(finished: Path, tmp_path: Path) -> Store:
    """The finished store with images and caches as links: they are not what is damaged here."""
    for path in (finished / "runs").iterdir():
        target = tmp_path / "runs" / path.name
        target.parent.mkdir(exist_ok=True)
        if path.name in ("phantom", "cache"):
            target.symlink_to(path)
        elif path.is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)
    return Store.open(tmp_path / "runs")


def damaged(store: Store, pattern: str, change: Callable[[bytes], bytes]) -> Path:
    run = store.run_dir(store.run_ids()[0])
    place = pattern.replace("RUN", run.relative_to(store.root).as_posix()).replace("ID", run.name)
    (path,) = store.root.glob(place)
    path.write_bytes(change(path.read_bytes()))
    return path


def cases(patterns: tuple[str, ...], *of_json: str) -> list[tuple[str, str]]:
    """Return the damages of each file: cut off or filled with noise in turn, and for JSON what can be read and is something else."""
    return [(p, ("cut", "noise")[i % 2]) for i, p in enumerate(patterns)] + [
        (p, how) for p in patterns if p.endswith(".json") for how in of_json
    ]


# of records with other keys, those of each reader: the configuration, a record of the run, the checksums
@pytest.mark.parametrize(
    ("name", "how"),
    [
        *cases(RECORDS),
        *((name, "other") for name in ("run.json", "cost.json", "checksums.json")),
        *(
            pytest.param(name, "other", marks=pytest.mark.thorough)
            for name in ("trained.json", "seal.json", "env.json")
        ),
    ],
)
def test_a_run_with_a_damaged_record_is_left_out_and_the_page_says_so(
    name: str, how: str, store: Store, here: Command
) -> None:
    folder = store.root.parent
    path = damaged(store, f"RUN/{name}", DAMAGES[how])
    said = here("list", "runs", cwd=folder).stdout
    assert said.count("\n") == 3  # a head and two runs
    assert f"{name} is" in said or name == "history.parquet"
    assert path.name in here("check", "--quick", "--quiet", cwd=folder, code=1).stdout
    here("report", "--quiet", cwd=folder)
    meta = json.loads((store.root / "report" / "tiny" / "tables" / "meta.json").read_text())
    assert meta["created_from"] == [i for i in reversed(store.run_ids()) if i != path.parent.name]
    page = (store.root / "report" / "tiny" / "leaderboard.html").read_text()
    assert f"{name} is not what was stored" in page or f"{name} is damaged" in page


@pytest.mark.parametrize(("pattern", "how"), cases(NAMED, "null", "other"))
def test_what_a_page_cannot_do_without_is_named_with_its_mend(
    pattern: str, how: str, store: Store, here: Command
) -> None:
    folder = store.root.parent
    path = damaged(store, pattern, DAMAGES[how])
    before = (store.root / "report" / "tiny" / "leaderboard.html").read_bytes()
    here("list", "runs", cwd=folder, code=2 if pattern == "store.json" else 0)
    assert path.stem in here("check", "--quick", "--quiet", cwd=folder, code=1).stdout
    error = here("report", "--quiet", cwd=folder, code=2).stderr
    assert path.name in error
    assert "where: " in error
    assert "fix: " in error
    assert (store.root / "report" / "tiny" / "leaderboard.html").read_bytes() == before


def test_a_report_survives_damaged_records_beside_damaged_checksums(store_copy: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    folder = store.run_dir(store.run_ids()[0])
    for name in RECORDS:
        (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    here("report", "--quiet", cwd=store_copy)
    assert "checksums.json is damaged" in " ".join(here("check", "--quiet", cwd=store_copy, code=1).stdout.split())


def test_the_grid_makes_all_damaged_records_again(store_copy: Path, finished: Path, here: Command) -> None:
    store = Store.open(store_copy / "runs")
    one, two = (store.run_dir(run_id) for run_id in store.run_ids())
    for name in ("seal.json", "env.json", "cost.json"):
        (one / name).write_bytes(b"{}")
    for name in RECORDS:
        (two / name).write_bytes((two / name).read_bytes()[:-9])
    said = here("run", "--grid", "tiny", "--quiet", cwd=store_copy).stdout
    assert "2 of 2 runs done (2 now), 0 failed" in said
    assert_same_bytes(store_copy, finished)
    assert "0 faults" in here("check", "--quiet", cwd=store_copy).stdout
