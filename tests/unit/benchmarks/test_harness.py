"""What is timed against what, what counts as worse, and how the table gets into its document. Nothing here depends on time."""

import ast
import importlib
import importlib.util
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import results, unit
from benchmarks.harness import (
    Benchmark,
    GateFailed,
    Measured,
    NotMeasured,
    check,
    compared,
    interleaved,
    measured,
    peer,
    spread,
    timed,
)
from benchmarks.results import Row
from tests.nonempty import nonempty

ROOT = Path(__file__).parents[3]
HERE = "EPYC, 2 cores, Python 3.11"


def bench(goal: str = ">= 2", run=lambda quick: Measured(3, 2.5, 4, "equal")) -> Benchmark:
    return Benchmark("B1", "decode", "PIL", goal, run)


def row(ratio: float = 3.0, low: float = 2.5, high: float = 4.0, goal: str = ">= 2", machine: str = HERE) -> Row:
    return results.row(bench(goal), Measured(ratio, low, high, "equal"), "abc1234", machine)


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_ways_take_turns_and_each_round_is_a_ratio_of_its_own() -> None:
    clock, order = Clock(), []
    ways = {
        "ours": lambda: (order.append("ours"), clock.work(2)),
        "peer": lambda: (order.append("peer"), clock.work(10 if len(order) < 4 else 20)),
    }
    spent = interleaved(ways, rounds=3, clock=clock)
    assert order == ["ours", "peer", "ours", "peer", "peer", "ours", "ours", "peer"], "warm-up, then there and back"
    assert spent == {"ours": [2, 2, 2], "peer": [20, 20, 20]}, "the first call of each is not counted"
    assert compared(spent["peer"], spent["ours"], "equal").ratio == 10


def test_a_short_call_is_repeated_until_the_clock_can_tell() -> None:
    clock, calls = Clock(), []
    assert timed(lambda: (calls.append(1), clock.work(0.004)), clock, least_s=0.05) == pytest.approx(0.004)
    assert len(calls) == 13


def test_seconds_are_those_of_one_item() -> None:
    clock = Clock()
    spent = interleaved({"batch": lambda: clock.work(64)}, rounds=1, clock=clock, items={"batch": 64})
    assert spent == {"batch": [1.0]}


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=9))
def test_the_figure_lies_between_the_least_and_the_greatest_round(values: list[float]) -> None:
    found = spread(values, "equal")
    assert found.low == min(values) <= found.ratio <= max(values) == found.high


@pytest.mark.parametrize("values", [[], [math.nan], [1.0, math.inf]])
def test_no_figure_is_made_of_nothing(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values"):
        spread(values, "equal")


@pytest.mark.parametrize(
    ("ratio", "low", "high", "goal", "flagged"),
    [
        (2.0, 1.8, 2.2, ">= 2", True),  # outside both spreads and a third less
        (2.0, 1.8, 2.6, ">= 2", False),  # its spread reaches into the old one
        (2.45, 2.4, 2.49, ">= 2", True),
        (4.5, 4.2, 4.8, ">= 2", False),  # better
        (4.5, 4.2, 4.8, "<= 2", True),  # less was better
        (2.0, 1.8, 2.2, "<= 2", False),
    ],
)
def test_only_what_is_outside_both_spreads_and_a_tenth_worse_is_flagged(
    ratio: float, low: float, high: float, goal: str, flagged: bool
) -> None:
    before, now = row(goal=goal), row(ratio, low, high, goal)
    assert results.worse(now, before) is flagged
    assert results.verdict(now, {before.key: before}).startswith("worse: was 3 [2.5, 4] at abc1234") is flagged


@pytest.mark.parametrize(("unit", "is_worse"), [("x", True), ("units", False), ("GB", False)])
def test_without_a_goal_a_smaller_figure_is_worse_only_for_ratios(unit: str, is_worse: bool) -> None:
    """A ratio is the peer's time divided by ours. A figure in seconds or GB is a cost."""
    large, small = (replace(row(ratio, ratio - 0.1, ratio + 0.1, goal=""), unit=unit) for ratio in (4.4, 3.7))
    assert results.worse(small, large) is is_worse
    assert results.worse(large, small) is not is_worse


def test_a_tenth_is_not_enough_however_narrow_the_spreads() -> None:
    assert not results.worse(row(2.8, 2.79, 2.81), row(3.0, 2.99, 3.01))
    assert results.worse(row(2.6, 2.59, 2.61), row(3.0, 2.99, 3.01))


def test_another_processor_is_compared_but_does_not_fail_the_command() -> None:
    before, now = row(), row(2.0, 1.8, 2.2, machine="Xeon, 4 cores")
    assert results.verdict(now, {before.key: before}).startswith("less than on another machine")


def test_in_ci_a_ratio_a_third_below_another_processor_fails() -> None:
    before = row(3.0, 2.9, 3.1)
    for ratio, said in ((2.2, "less than on another machine"), (1.8, "worse: was 3 [2.9, 3.1]")):
        now = row(ratio, ratio - 0.1, ratio + 0.1, machine="Xeon, 4 cores")
        assert results.verdict(now, {before.key: before}, across_machines=True).startswith(said)


def test_what_is_not_measured_says_why_and_never_replaces_a_figure() -> None:
    nothing = results.row(bench(), NotMeasured("no GPU here"), "def", HERE)
    assert nothing.gate == "not measured: no GPU here"
    assert nothing.met == ""
    assert results.merged([row()], [nothing]) == [row()]
    assert results.merged([nothing], [row()]) == [row()]


def test_a_failed_gate_replaces_the_figure_and_fails() -> None:
    failed = results.row(bench(), GateFailed("difference 7"), "def", HERE)
    assert results.merged([row()], [failed]) == [failed]
    assert results.verdict(failed, {}) == "failed"
    with pytest.raises(GateFailed, match="difference 7"):
        check(False, "difference 7")


def test_a_peer_that_is_not_installed_is_no_crash() -> None:
    with pytest.raises(NotMeasured, match="peer not installed: no-such-peer"):
        peer("no_such_peer", "no-such-peer")


def test_rows_come_back_from_csv_as_they_were_written() -> None:
    rows = [
        row(),
        replace(row(), benchmark="B10", peer='a "b", c'),
        results.row(bench(), NotMeasured("why"), "d", HERE),
    ]
    assert results.write_csv(results.read_csv(results.write_csv(rows))) == results.write_csv(rows)
    with pytest.raises(ValueError, match="columns"):
        results.read_csv("a,b\n1,2\n")


def test_the_table_says_which_time_a_ratio_divides_by_which() -> None:
    texts = {">= 2": "**3** x as fast", "": "**3** x as fast", "<= 2": "**3** x as long"}
    assert all(text in results.table([row(goal=goal)]) for goal, text in texts.items())
    assert "**3** GB |" in results.table([replace(row(), unit="GB")])


def test_the_table_is_rewritten_in_place_and_twice_is_once() -> None:
    document = "# Measured\n\nRatios.\n\n## By hand\n\nkept | as it is\n"
    once = results.rewritten(document, [row()])
    assert once.startswith("# Measured\n\nRatios.\n\n<!-- begin")
    assert once.endswith("## By hand\n\nkept | as it is\n")
    assert results.rewritten(once, [row()]) == once
    other = results.rewritten(once, [row(5, 5, 5), replace(row(), benchmark="B3", peer="a|b")])
    assert other.count(results.BEGIN) == other.count(results.END) == 1
    assert "**5** x" in other
    assert "a\\|b" in other
    assert results.rewritten(other, [row()]) == once


def test_a_crash_stops_no_other_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    found = measured(bench(run=lambda quick: 1 / 0), quick=True)
    assert isinstance(found, ZeroDivisionError)
    assert results.row(bench(), found, "a", HERE).gate == "CRASHED: ZeroDivisionError: division by zero"
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_the_command_writes_rows_and_says_by_its_status_what_became_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "RESULTS.md").write_text("# Measured\n")
    figures = [Measured(3, 2.9, 3.1, "equal"), Measured(3, 2.9, 3.1, "equal"), Measured(2, 1.9, 2.1, "equal")]
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "listed", lambda: [bench(run=lambda quick: figures.pop(0))])
    monkeypatch.setattr(results, "machine", lambda: HERE)
    assert command.main([]) == 0
    assert command.main(["B1"]) == 0
    assert command.main([]) == 1
    assert "WORSE: WAS 3 [2.9, 3.1]" in capsys.readouterr().out
    written = (tmp_path / "RESULTS.md").read_text()
    (tmp_path / "RESULTS.md").write_text("# Measured\n")
    assert command.main(["--table"]) == 0
    assert (tmp_path / "RESULTS.md").read_text() == written
    assert "**2** x" in (tmp_path / "RESULTS.md").read_text()
    assert [each.ratio for each in results.read_csv((tmp_path / "results.csv").read_text())] == [2.0]


def test_cpu_seconds_and_their_goal_are_in_units_of_the_same_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "RESULTS.md").write_text("# Measured\n")
    seconds, ratio = replace(bench("<= 1.6"), name="B2", unit=results.UNITS), bench()
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(command, "listed", lambda: [ratio, seconds])
    monkeypatch.setattr(results, "machine", lambda: HERE)
    monkeypatch.setattr(unit, "seconds", lambda *_: {"trained": 1.5, "decoded": 0.5})
    assert command.main([]) == 0
    written = results.read_csv((tmp_path / "results.csv").read_text())
    assert [(each.ratio, each.met, each.note) for each in written] == [(3, "yes", ""), (1.5, "yes", "1 unit = 2 CPU s")]
    assert "1.5 units [1.25, 2]; goal <= 1.6: met" in capsys.readouterr().out
    assert command.main(["unit"]) == 0
    assert capsys.readouterr().out == f"1 unit = 2.00 CPU s (trained 1.50, decoded 0.50) on {HERE}\n"


def test_the_unit_is_the_time_of_its_three_parts_on_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in {"STEPS": 1, "BATCH": 2, "SORTED": 1000, "LOOPS": 10, "DECODED": 1, "JPEG_SIDE": 64}.items():
        monkeypatch.setattr(unit, name, small)
    threads = []
    spent = unit._spent
    monkeypatch.setattr(unit, "_spent", lambda work: (threads.append(torch.get_num_threads()), spent(work))[1])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        parts = unit.seconds(rounds=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threads == [1] * 6
    assert len(parts) == 3
    assert min(parts.values()) > 0


def test_an_unknown_name_is_refused_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["B99"])
    assert "no benchmark B99; there are B1" in capsys.readouterr().err


def test_every_benchmark_is_found_and_the_committed_table_is_of_all_of_them() -> None:
    listed = command.listed()
    assert {"B1"} <= {each.name for each in listed}
    committed = results.read_csv((ROOT / "benchmarks" / "results.csv").read_text())
    assert {each.key for each in committed} == {each.key for each in listed}
    assert results.table(committed) in (ROOT / "benchmarks" / "RESULTS.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "rows").glob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_of_the_project_is_there(path: Path) -> None:
    """Inside functions, too, which no test calls: they take minutes."""
    for node in nonempty(ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in {"bench", "harmonize"}:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}"), (
                    alias.name
                )


@pytest.mark.slow
def test_listing_benchmarks_imports_no_peer_that_may_be_missing() -> None:
    code = "import sys; from benchmarks.__main__ import main; main(['--list']); print(sorted({'torchxrayvision', 'skimage'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert found.stdout.strip().endswith("[]")


@pytest.mark.slow
def test_the_largest_memory_is_of_the_program_and_not_of_its_parent() -> None:
    if not Path("/proc/self/status").is_file():
        pytest.skip("only Linux says it")
    held = b"x" * 400_000_000  # bytes that a child would be said to have had
    script = "from benchmarks.harness import largest_memory; print(largest_memory())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300_000 < len(held) / 1024
