"""The command for machines with a GPU: what it does without a GPU, in a rehearsal on the CPU, and when time runs out."""

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu, results
from benchmarks.harness import Benchmark, Measured, NotMeasured
from benchmarks.rows.gpu import Scale, of

CPU_MACHINE = "EPYC, 2 cores, Python 3.11"
H100, A100 = (f"EPYC, 2 cores, NVIDIA {name}, Python 3.11" for name in ("H100", "A100"))
ROW = Benchmark("G2", "inference", "timm", ">= 1.0", lambda _: Measured(1.1, 1.0, 1.2, "equal"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda:0", "cuda:7", "gpu"])
def test_without_a_gpu_the_command_names_the_fix_and_writes_nothing(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    assert command.main(["gpu", "--device", device]) == 2
    said = capsys.readouterr().err
    assert ("no device 'gpu'" if device == "gpu" else "no CUDA device is available") in said
    assert "python -m benchmarks gpu --device cpu" in said
    assert not list(tmp_path.iterdir())


def test_rows_of_a_rehearsal_are_no_rows_of_the_table_and_have_no_goals() -> None:
    rehearsed, real = of(Scale.rehearsal()), of(Scale(torch.device("cuda:0")))
    assert [row.name for row in rehearsed] == [row.name for row in real]
    assert all(row.what.startswith("rehearsal on a CPU: ") and not row.goal for row in rehearsed)
    assert not {row.key for row in rehearsed} & {row.key for row in command.listed()}
    assert {row.key for row in real} <= {row.key for row in command.listed()}


def test_a_rehearsal_prints_its_rows_and_leaves_the_table_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "RESULTS.md").write_text("# Measured\n")
    monkeypatch.setattr(command, "FOLDER", tmp_path)
    monkeypatch.setattr(gpu, "benchmarks", lambda device: [replace(ROW, what=f"on {device}")])
    assert command.main(["gpu", "--device", "cpu", "--no-tests"]) == 0
    said = capsys.readouterr().out
    assert "on cpu" in said
    assert "its figures state nothing about a GPU, and nothing was written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["RESULTS.md"]
    assert (tmp_path / "RESULTS.md").read_text() == "# Measured\n"


def test_tests_that_fail_fail_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "benchmarks", lambda device: [ROW])
    monkeypatch.setattr(gpu, "tests_pass", lambda: False)
    assert command.main(["gpu", "--device", "cpu"]) == 1
    assert command.main(["gpu", "--device", "cpu", "--no-tests"]) == 0


def test_a_row_without_time_left_is_not_measured_and_says_how() -> None:
    assert gpu.in_time(ROW, math.inf) == Measured(1.1, 1.0, 1.2, "equal")
    late = gpu.in_time(ROW, time.monotonic() + gpu.ROW_S - 1)
    assert isinstance(late, NotMeasured)
    assert "run python -m benchmarks G2" in str(late)


def test_a_figure_is_compared_with_those_of_the_same_gpu() -> None:
    old = results.row(ROW, Measured(3.0, 2.9, 3.1, "equal"), "a", H100)
    now = results.row(ROW, Measured(2.0, 1.9, 2.1, "equal"), "b", H100)
    assert results.verdict(now, {old.key: old}).startswith("worse")
    assert results.verdict(replace(now, machine=A100), {old.key: old}).startswith("less than on another machine")
    assert results.processor(old) == "NVIDIA H100"
    assert results.processor(replace(old, benchmark="B1", machine=CPU_MACHINE)) == "EPYC"


REHEARSED = [row for row in of(Scale.rehearsal()) if row.name == "G2" or "DenseNet" in row.what]


@pytest.mark.slow
@pytest.mark.parametrize("row", REHEARSED, ids=lambda row: row.what)
def test_the_code_of_each_benchmark_runs_on_a_cpu(row: Benchmark) -> None:
    """With its check that both implementations give the same. Other networks have the same code."""
    assert row.run(True).ratio > 0
