"""The page of a grid while its runs are still training."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.executors.execute_job import Outcome
from bench.planning.manifest import read_manifest
from bench.store.store import Store
from bench.study.page_so_far import EVERY_S, PageSoFar


class Said:
    """A display that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def ended(state: str = "done") -> Outcome:
    return Outcome("3fa9", state, "", 30.0, Path("log.txt"))


@pytest.mark.grid
def test_a_page_is_written_while_other_runs_are_missing_and_a_failure_is_said(store_copy: Path) -> None:
    store, said = Store.open(store_copy / "runs"), Said()
    page = store.root / "report" / "tiny" / "leaderboard.html"
    page.unlink()
    so_far = PageSoFar(read_manifest(store, "tiny"), False, said)  # type: ignore[arg-type]
    so_far.update(ended(), 2, 4)
    assert page.is_file()
    assert said.lines == [f"leaderboard of 2 of 4 runs: {page}"]
    so_far.update(ended(), 3, 4)
    assert len(said.lines) == 1, "the page is new"
    next(store.root.glob("cohorts/*.parquet")).unlink()
    so_far.last -= EVERY_S
    so_far.update(ended(), 3, 4)
    assert said.lines[1].startswith("no leaderboard of 3 of 4 runs yet: cannot read the cohort table")


@pytest.mark.parametrize(("state", "finished"), [("failed", 2), ("held", 2), ("done", 1), ("done", 4)])
def test_without_runs_to_compare_or_runs_that_are_left_there_is_no_page(state: str, finished: int) -> None:
    said = Said()
    PageSoFar(SimpleNamespace(), False, said).update(ended(state), finished, 4)  # type: ignore[arg-type]
    assert said.lines == []
