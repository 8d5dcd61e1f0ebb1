"""Half-written files of dead processes are removed by the next writer; those of a process that may be alive stay."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.store import unfinished_files
from bench.store.lease import lease
from bench.store.store import write_bytes
from bench.store.unfinished_files import label

HERE, ELSEWHERE = os.uname().nodename, "elsewhere"
KILLED = """
import os, signal, sys
from pathlib import Path
from bench.store.lease import lease
from bench.store.store import replacing
with lease(Path(sys.argv[1])), replacing(Path(sys.argv[1]) / sys.argv[2]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed_during_a_write(folder: Path, name: str) -> None:
    """Let a process die while it holds the lease of `folder` and writes the file `name`."""
    subprocess.run([sys.executable, "-c", KILLED, str(folder), name], check=False, timeout=120)
    assert [*parts(folder)]


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob(".*.part"))


def part_of(writer: str, target: Path) -> Path:
    """Write the half-written file that a process leaves."""
    path = target.with_name(f".{target.name}.{writer}.abcd1234.part")
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    return path


def dead() -> int:
    """Return the id of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


def test_who_takes_the_lease_of_a_killed_process_removes_its_half_written_files(tmp_path: Path) -> None:
    (tmp_path / "predictions").mkdir()
    killed_during_a_write(tmp_path, "predictions/nih.parquet")
    with lease(tmp_path) as mine:
        assert mine
        assert parts(tmp_path) == []


def test_who_takes_the_lease_of_a_dead_process_elsewhere_removes_its_files_only(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(json.dumps({"host": ELSEWHERE, "pid": 7}))
    part_of(label(ELSEWHERE, 7), tmp_path / "features" / "nih.npz")
    kept = part_of(label(ELSEWHERE, 8), tmp_path / "run.json")
    with lease(tmp_path) as mine:
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
        part_of(label(HERE, dead()), tmp_path / name / "page.html")
        monkeypatch.chdir(tmp_path / name)
        write_bytes(Path("page.html"), b"whole")
    assert parts(tmp_path) == []


@pytest.mark.parametrize(
    ("host", "pid", "age", "kept"),
    [
        (HERE, os.getpid(), 100_000, True),
        (HERE, 1, 100_000, True),  # of another user, perhaps
        (HERE, dead(), 0, False),
        (ELSEWHERE, 7, 3600, True),
        (ELSEWHERE, 7, 100_000, False),
    ],
    ids=[
        "this process",
        "another user",
        "dead",
        "elsewhere",
        "elsewhere, old",
    ],  # process numbers would differ between workers
)
def test_only_files_of_dead_processes_and_old_ones_of_other_machines_are_removed(
    host: str, pid: int, age: float, kept: bool, tmp_path: Path
) -> None:
    path = part_of(label(host, pid), tmp_path / "page.html")
    os.utime(path, (time.time() - age,) * 2)
    write_bytes(tmp_path / "page.html", b"whole")
    assert path.exists() is kept


def test_a_process_of_another_container_with_this_host_name_may_be_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as there:
        there.setattr(unfinished_files, "_namespace", lambda: "pid:[7]")
        path = part_of(label(HERE, dead()), tmp_path / "page.html")
    write_bytes(tmp_path / "page.html", b"whole")
    assert path.exists()


def test_files_with_other_names_are_not_touched(tmp_path: Path) -> None:
    names = [".page.html.abcd1234.part", ".x.part", ".index.0badf00d-7.abcd1234.partial", "images-1.part"]
    for name in names:
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (0, 0))
    write_bytes(tmp_path / "page.html", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {*names, "page.html"}
