"""Costs of tests: what a process and its children spent, and the order of the files."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.costs import COLLECTION, Costs, cpu_seconds, evenly


def test_a_part_of_the_tests_takes_about_the_same_part_of_the_costs() -> None:
    draw = np.random.default_rng(0)
    costs = {
        i: [
            float(cost)
            for cost in (draw.uniform(50, 150, draw.integers(1, 6)) if i < 40 else np.ones(draw.integers(1, 80)))
        ]
        for i in range(300)
    }
    order = evenly(costs)
    assert sorted(order) == sorted(costs)
    each = np.concatenate([costs[i] for i in order])
    share = each.cumsum() / each.sum()
    tests = np.arange(1, len(each) + 1) / len(each)
    largest = max(sum(cost) for cost in costs.values()) / each.sum()
    assert np.abs(share - tests).max() < 2 * largest
    assert sum(costs[order[0]]) > sum(costs[order[-1]])
    # costly files first, one after another, are what the order avoids
    first = np.concatenate([costs[i] for i in sorted(costs)]).cumsum() / each.sum()
    assert np.abs(first - tests).max() > 0.5


def test_files_of_equal_costs_keep_their_order() -> None:
    assert evenly({name: [1.0, 1.0] for name in "cab"}) == ["c", "a", "b"]
    assert evenly({}) == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes of Linux")
def test_the_work_of_a_child_process_counts_while_it_lives_and_when_it_has_ended() -> None:
    before = cpu_seconds(os.getpid())
    work = "import sys, time\nwhile time.process_time() < .5: pass\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = cpu_seconds(os.getpid())
        child.communicate(b"")
    assert alive - before >= 0.4
    assert cpu_seconds(os.getpid()) >= alive - 0.1
    assert cpu_seconds(child.pid) == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes of Linux")
def test_a_thread_that_ends_meanwhile_takes_no_cost_of_its_process_away(monkeypatch: pytest.MonkeyPatch) -> None:
    before, listed = cpu_seconds(os.getpid()), Path.iterdir
    assert before > 0
    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", lambda folder: [*listed(folder), folder / "ended"])
        assert cpu_seconds(os.getpid()) >= before


def test_the_collection_of_all_tests_has_a_row_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent, file = iter([1.0, 31.0, 31.5, 33.5]), tmp_path / "costs.csv"
    with monkeypatch.context() as patch:  # another object measures the costs of this test
        patch.setattr("tests.costs.cpu_seconds", lambda _: next(spent))
        costs = Costs(file, in_worker=False)
        costs.pytest_collection_finish()
        for name in ("first", "second"):
            item: Any = SimpleNamespace(user_properties=[])
            next(costs.pytest_runtest_makereport(item))
            report: Any = SimpleNamespace(when="teardown", nodeid=name, user_properties=item.user_properties)
            costs._write(report)
    assert pd.read_csv(file).to_numpy().tolist() == [[30.0, COLLECTION], [0.5, "first"], [2.0, "second"]]
