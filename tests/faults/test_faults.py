"""What happens to machines happens to a grid: in the end its store holds what an undisturbed one holds, byte for byte.

`UNSEEN_KILLS` says how often the grid is to be killed, five times on the way to each finished store (`tox -e faults`: 50); one that
is done before its moment comes is not, and at least three of five are.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from disturbed import assert_same_bytes, bound_by_permissions, holder, kill, read_only, wait_for, with_parts

from tests.forked import Begun, lead_process_group

pytestmark = pytest.mark.grid
Command = Callable[..., "subprocess.CompletedProcess[str]"]
KILLS = int(os.environ.get("UNSEEN_KILLS", "5"))
RUN = ("run", "--grid", "tiny", "--quiet")


def begun(folder: Path, limit: int = 0) -> Begun:
    """Start the grid in a process group of its own; `limit`: no file may grow above so many bytes."""
    return Begun(RUN, folder, environment(), partial(lead_process_group, limit))


def environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in {"BENCH_DATA", "BENCH_STORE"}}


def num_files(folder: Path) -> int:
    return sum(len(names) for top, _, names in os.walk(folder / "runs") if "phantom" not in top)


@pytest.mark.parametrize("seed", range(KILLS // 5))
def test_a_grid_killed_at_random_moments_ends_with_the_same_bytes(
    seed: int, finished: Path, tmp_path: Path, here: Command
) -> None:
    """A grid that is killed five times."""
    folder, draw, killed = with_parts(finished, tmp_path / "killed", ["phantom"]), random.Random(seed), 0
    for moment in sorted(
        draw.uniform(0, num_files(finished)) for _ in range(5)
    ):  # as the store grows: the machine may be slow
        process = begun(folder)
        while process.poll() is None and num_files(folder) < moment:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.5))
        if process.poll() is None:
            killed += 1
            kill(process, folder)
        else:
            process.communicate()
    assert killed > 2
    here("run", "--grid", "tiny", "--quiet", cwd=folder)
    assert_same_bytes(folder, finished)
    assert list(folder.rglob("*.part")) == []  # half-written files of the killed processes


# thorough: 30 kilobytes, while phantoms are drawn, which tests/faults/test_full_disks.py does alone; and two megabytes, with which the
# run fails at another file
@pytest.mark.parametrize(
    "limit",
    [1_000_000, *(pytest.param(limit, marks=pytest.mark.thorough) for limit in (30_000, 2_000_000))],
)
def test_a_disk_that_is_full_is_named_and_the_grid_goes_on_when_there_is_room(
    limit: int, finished: Path, tmp_path: Path, here: Command
) -> None:
    """A grid on a full disk: while phantoms are drawn, and while runs are trained."""
    folder = with_parts(finished, tmp_path / "full", [] if limit < 100_000 else ["phantom"])
    process = begun(folder, limit=limit)
    said, error = process.communicate(timeout=300)
    assert process.returncode in (1, 2), said + error
    assert "File too large" in said + error
    assert "Traceback" not in said + error
    here("run", "--grid", "tiny", "--quiet", cwd=folder)
    assert_same_bytes(folder, finished)
    assert list(folder.rglob("*.part")) == []


def test_a_store_that_cannot_be_written_is_named_and_can_still_be_read(store_copy: Path, tmp_path: Path) -> None:
    bound = bound_by_permissions()
    with read_only(store_copy / "runs"):
        victim = next((store_copy / "runs").glob("*/*/predictions"))
        victim.chmod(0o755)
        (victim / "nih.parquet").unlink()
        command = [*bound, sys.executable, "-m", "bench.cli"]
        options: dict[str, Any] = {
            "cwd": store_copy,
            "env": environment(),
            "capture_output": True,
            "text": True,
            "timeout": 300,
        }
        done = subprocess.run([*command, *RUN], check=False, **options)
        said = done.stdout + done.stderr
        assert done.returncode in (1, 2), said
        assert "Permission denied" in said
        assert "Traceback" not in said
        page = tmp_path / "page.html"
        done = subprocess.run([*command, "report", "--quiet", "-o", str(page)], check=False, **options)
        assert done.returncode == 0, done.stderr
        assert "no predictions on nih" in page.read_text()


# a file of the images or the grid, one of the runs, and one of the scores. The mend of one makes none of the others: a run that is
# trained again keeps its scores. But each mend makes a new page, so a table of the page is damaged alone.
TOGETHER: dict[tuple[str, ...], float] = {
    ("cache/*/nih-*/images-*.u8", "??/*/cost.json"): 0.5,
    ("cache/*/nih-*/index.parquet", "??/*/features/nih.npz", "scores/*/KEY"): 0.0,
    ("cohorts/nih-*.parquet", "??/*/history.parquet", "scores/*/scores.parquet"): 0.5,
    ("grids/tiny.json", "??/*/trained.json", "scores/*/influences.safetensors"): 0.0,
    ("report/tiny/tables/ranks.parquet",): 0.0,
    ("??/*/predictions/nih.parquet",): 0.0,
    ("??/*/run.json",): 0.5,
}
ALONE = {(pattern,): left for patterns, left in TOGETHER.items() for pattern in patterns if len(patterns) > 1}


@pytest.mark.parametrize(
    ("patterns", "left"),
    [*TOGETHER.items(), *(pytest.param(*one, marks=pytest.mark.thorough) for one in ALONE.items())],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else None,
)
def test_files_cut_off_are_made_again(
    patterns: tuple[str, ...], left: float, store_copy: Path, finished: Path, here: Command
) -> None:
    """Files cut off in a finished grid: the same command makes all of them again."""
    for pattern in patterns:
        damaged = list((store_copy / "runs").glob(pattern))
        assert damaged, f"nothing is named {pattern}"
        for path in damaged:
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    here("run", "--grid", "tiny", "--quiet", cwd=store_copy)
    assert_same_bytes(store_copy, finished)


def test_a_worker_that_dies_takes_one_run_with_it_and_the_next_command_makes_it_good(
    finished: Path, tmp_path: Path, here: Command
) -> None:
    """A killed worker of a grid."""
    folder = with_parts(finished, tmp_path / "worker", ["phantom", "cache"])
    process = begun(folder)
    lock = wait_for("*/*/LOCK", folder, process)
    psutil.Process(holder(lock.parent)).kill()
    said, error = process.communicate(timeout=300)
    assert process.returncode == 1, said + error
    assert "1 of 2 runs done (1 now), 1 failed" in said
    assert "the worker process died (exit code -9): killed, or out of memory" in said
    assert "2 of 2 runs done (1 now), 0 failed" in here("run", "--grid", "tiny", "--quiet", cwd=folder).stdout
    assert_same_bytes(folder, finished)


def test_two_commands_at_once_on_one_store_do_each_run_once(finished: Path, tmp_path: Path, here: Command) -> None:
    folder = with_parts(finished, tmp_path / "two", ["phantom"])
    both = [begun(folder), begun(folder)]
    said = [process.communicate(timeout=400) for process in both]
    assert all(process.returncode in (0, 1) for process in both), said
    assert "Traceback" not in str(said)
    assert "2 of 2 runs done (0 now), 0 failed" in here("run", "--grid", "tiny", "--quiet", cwd=folder).stdout
    assert_same_bytes(folder, finished)
