"""Half-written files of dead processes are removed by the next writer; those of a process that may be alive stay."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.store import process_identity
from bench.store.lease import claim, lease
from bench.store.process_identity import ProcessIdentity
from bench.store.store import canonical_json, write_bytes

KILLED = """
import os, signal, sys
from pathlib import Path
from bench.store.lease import lease
from bench.store.store import replacing
with lease(Path(sys.argv[1])), replacing(Path(sys.argv[1]) / sys.argv[2]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
ELSEWHERE = {"host": "elsewhere", "place": "another start", "token": "theirs"}


def killed_during_a_write(folder: Path, name: str) -> None:
    """Let a process die while it holds the lease of `folder` and writes the file `name`."""
    subprocess.run([sys.executable, "-c", KILLED, str(folder), name], check=False, timeout=120)
    assert [*parts(folder)]


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.part"))


def part_of(entry: dict[str, object], target: Path) -> Path:
    """Write the half-written file that the process of a LOCK entry leaves."""
    path = target.with_name(f".{target.name}.{ProcessIdentity.of(entry).label}.abcd1234.part")
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    return path


def test_who_takes_the_lease_of_a_killed_process_removes_its_half_written_files(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    killed_during_a_write(tmp_path, "predictions/nih.parquet")
    with lease(tmp_path) as mine:
        assert mine
        assert parts(tmp_path) == []


def test_who_takes_the_lease_of_a_dead_process_elsewhere_removes_its_files_only(tmp_path: Path) -> None:
    dead, other = claim() | ELSEWHERE | {"pid": 7}, claim() | ELSEWHERE | {"pid": 8}
    (tmp_path / "LOCK").write_bytes(canonical_json(dead))
    part_of(dead, tmp_path / "features" / "nih.npz")
    kept = part_of(other, tmp_path / "run.json")
    with lease(tmp_path, beat_s=0.01) as mine:
        assert mine
        assert parts(tmp_path) == [kept]


def test_the_next_write_into_a_folder_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    killed_during_a_write(tmp_path, "leaderboard.html")
    write_bytes(tmp_path / "leaderboard.html", b"whole")
    assert parts(tmp_path) == []
    assert (tmp_path / "leaderboard.html").read_bytes() == b"whole"


def test_folders_with_one_relative_path_below_two_working_folders_are_both_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        part_of({**claim(), "born": "1"}, tmp_path / name / "page.html")
        monkeypatch.chdir(tmp_path / name)
        write_bytes(Path("page.html"), b"whole")
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    ("entry", "age", "kept"),
    [
        ({}, 0, True),  # this process, which is alive
        ({"born": "1"}, 0, False),  # another process had the same id
        (ELSEWHERE, 3600, True),
        (ELSEWHERE, 100_000, False),
    ],
)
def test_only_files_of_dead_processes_and_old_ones_of_other_machines_are_removed(
    entry: dict[str, object], age: float, kept: bool, tmp_path: Path
) -> None:
    path = part_of(claim() | entry, tmp_path / "page.html")
    os.utime(path, (time.time() - age,) * 2)
    write_bytes(tmp_path / "page.html", b"whole")
    assert path.exists() is kept


def test_files_with_other_names_are_not_touched(tmp_path: Path) -> None:
    names = [".page.html.abcd1234.part", ".x.part", ".index.0badf00d-7-1.abcd1234.partial", "images-1.part"]
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    write_bytes(tmp_path / "page.html", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {*names, "page.html"}


FORKED = """
import os
from bench.store.process_identity import ProcessIdentity
before = ProcessIdentity.current()
child = os.fork()
own = ProcessIdentity.current()
right = own.is_alive() and own.pid == os.getpid() and (own == before) == (child != 0)
if child == 0:
    os._exit(not right)
raise SystemExit(not right or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_has_its_own_identity() -> None:
    assert subprocess.run([sys.executable, "-c", FORKED], check=False, timeout=120).returncode == 0


def test_a_failed_reading_of_the_start_time_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    before = ProcessIdentity.current()
    monkeypatch.setattr(process_identity, "_starts", {})
    with monkeypatch.context() as context:
        context.setattr(process_identity, "_born", lambda _: "")
        assert ProcessIdentity.current().born == ""
    assert ProcessIdentity.current() == before
