"""The report of a finished grid is written again only if something that it shows may have changed."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.planning.manifest import read_manifest
from bench.results import summary
from bench.results.report_state import _Report
from bench.store.checked_folders import CARD
from bench.store.store import Store
from tests.nonempty import nonempty

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
RUN = ("run", "--grid", "tiny", "--quiet")
PAGE = "report/tiny/leaderboard.html"


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished grid that the tests of this file share."""
    return shutil.copytree(finished, tmp_path_factory.mktemp("reported") / "copy", symlinks=True)


@pytest.fixture
def told(folder: Path, here: Command) -> str:
    """What `bench run` prints of the finished grid. Its report is up to date then, whatever another test has changed."""
    return here(*RUN, cwd=folder).stdout


def test_a_report_that_is_up_to_date_stays(told: str, folder: Path, here: Command) -> None:
    store = folder / "runs"
    files = [
        path for path in store.rglob("*") if path.is_file() and path.name != "lock" and path.parent.name != "grids"
    ]
    before = [path.stat().st_mtime_ns for path in files]
    assert "2 of 2 runs done (0 now)" in told
    assert here(*RUN, cwd=folder).stdout == told
    assert [path.stat().st_mtime_ns for path in files] == before


def test_a_copied_store_keeps_its_page(told: str, folder: Path, here: Command, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy", symlinks=True, copy_function=shutil.copyfile)
    pages = [copy / "runs" / PAGE, copy / "runs" / "report" / "tiny" / "tables" / "ranks.parquet"]
    times = [page.stat().st_mtime_ns for page in pages]
    assert here("report", "--quiet", cwd=copy).stdout.startswith("leaderboard: ")
    assert [page.stat().st_mtime_ns for page in pages] == times
    pages[0].write_text("another page")
    here("report", "--quiet", cwd=copy)
    assert pages[0].read_text() == (folder / "runs" / PAGE).read_text()
    assert told


def test_it_is_out_of_date_when_one_file_is_lost_or_damaged_and_all_are_written_again(
    told: str, folder: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # the state names the files as the command does
    report = _Report(read_manifest(Store.open(Path("runs"), create=False), "tiny"), with_images=False)
    names = (PAGE, "report/tiny/tables/ranks.parquet", "scores/*/gaps.parquet", f"*/*/{CARD}")
    files = [next((folder / "runs").glob(name)) for name in names]
    whole = [file.read_bytes() for file in files]

    def damage(file: Path) -> None:
        content = file.read_bytes()
        file.rename(folder / "aside")  # the same file comes back, with its inode and time
        if file.suffix == ".parquet":
            file.write_bytes(content[:-1])

    for file in nonempty(files):
        assert report.lines(report.inputs()) is not None
        damage(file)
        assert report.lines(report.inputs()) is None, file
        (folder / "aside").replace(file)
    for file in files:
        damage(file)
    assert here(*RUN, cwd=folder).stdout == told
    assert [file.read_bytes() for file in files] == whole


def test_a_state_that_cannot_be_read_is_no_state(told: str, folder: Path, here: Command) -> None:
    file = folder / "runs" / "report" / "tiny" / "report.json"
    for content in (b"", b"[]", b'{"inputs": 1}'):
        file.write_bytes(content)
    assert here(*RUN, cwd=folder).stdout == told
    assert file.read_bytes() != content


def test_a_page_that_shows_real_images_or_another_title_is_another_page(told: str, folder: Path, here: Command) -> None:
    page = folder / "runs" / PAGE
    times = [page.stat().st_mtime_ns]
    here(*RUN, "--with-images", cwd=folder)
    times.append(page.stat().st_mtime_ns)
    grid = (Path(__file__).parents[2] / "grids" / "tiny.yaml").read_text()
    (title,) = (line for line in grid.splitlines() if line.startswith("title:"))
    (folder / "tiny.yaml").write_text(grid.replace(title, "title: Of another title"))
    here("run", "--grid", "tiny.yaml", "--quiet", cwd=folder)
    times.append(page.stat().st_mtime_ns)
    assert len(set(times)) == 3
    assert "Of another title" in page.read_text()
    assert told


def test_a_file_that_changes_while_the_report_is_written_is_seen_by_the_next_command(
    told: str, folder: Path, here: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that another command changes while its page is made."""
    page = folder / "runs" / PAGE
    page.unlink()
    found = summary.summary

    def slow(*arguments: object) -> list[str]:
        next((folder / "runs").glob("*/*/DONE")).write_text("again")  # another process
        return found(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(summary, "summary", slow)
        here(*RUN, cwd=folder)
    written = page.stat().st_mtime_ns
    assert here(*RUN, cwd=folder).stdout == told
    assert page.stat().st_mtime_ns != written
