"""A compiled forward pass is used where it is faster, and what trying it costs is nothing of the run."""

from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.config.run_config import Schedule
from bench.training import fit as train
from bench.training.fit import TrainingResult
from bench.training.torch_compile import compile_if_faster
from tests.unit.bench.training.test_limits import a_run, same, trained

Forward = Callable[..., Tensor]
SCHEDULE = Schedule(epochs=2, batch_size=8, lr=1e-2)


def tried(
    folder: Path, monkeypatch: pytest.MonkeyPatch, compiler: Callable[[Forward], Forward], **options: object
) -> TrainingResult:
    chosen = partial(compile_if_faster, compiler=compiler, **{"min_seconds": 0.0, **options})  # type: ignore[arg-type]
    monkeypatch.setattr(train, "compile_if_faster", chosen)
    return trained(a_run(schedule=SCHEDULE, compile=True), folder)


def ticking(*seconds: float) -> Callable[[], float]:
    """Return a clock by which passes take the first number of seconds without, and then the second compiled."""
    calls = count()

    def clock() -> float:
        passes, half = divmod(next(calls), 2)
        return half * seconds[passes >= 6]

    return clock


@pytest.mark.slow
def test_a_compiled_pass_is_used_where_it_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []

    def counted(forward: Forward) -> Forward:
        compiled = torch.compile(forward, backend="eager")

        def call(x_NCHW: Tensor) -> Tensor:
            passes.append(len(x_NCHW))
            return compiled(x_NCHW)

        return call

    found = tried(tmp_path / "a", monkeypatch, counted, clock=ticking(2.0, 1.0))
    assert found.compiled == "compiled: a pass takes 1e+03 ms compiled and 2e+03 ms without"
    assert len(passes) == 6 + found.gradient_evaluations
    plain = trained(a_run(schedule=SCHEDULE), tmp_path / "b")
    for one, other in zip(found.network.state_dict().values(), plain.network.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_pass_that_is_not_faster_when_compiled_leaves_the_run_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tried(tmp_path / "a", monkeypatch, lambda forward: forward, clock=ticking(1.0, 0.98))
    assert found.compiled.startswith("not compiled: a pass takes 980 ms compiled")
    assert same(found, trained(a_run(schedule=SCHEDULE), tmp_path / "b"))


@pytest.mark.parametrize(
    "error", [RuntimeError("no C++ compiler\nmore"), torch.OutOfMemoryError("planted"), AssertionError()]
)
def test_whatever_compiling_raises_the_run_is_trained_without(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Forward) -> Forward:
        def call(_: Tensor) -> Tensor:
            raise error

        return call

    found = tried(tmp_path / "a", monkeypatch, broken)
    assert found.compiled == f"not compiled: {type(error).__name__}: {str(error).split(chr(10))[0]}"
    assert same(found, trained(a_run(schedule=SCHEDULE), tmp_path / "b"))


def test_a_short_training_is_not_worth_compiling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Forward) -> Forward:
        raise AssertionError("compiled")

    found = tried(tmp_path / "a", monkeypatch, never, min_seconds=100.0, clock=ticking(1.0, 1.0))
    assert found.compiled == "not compiled: training takes about 6 s, and compilation is only tried from 100 s on"


def test_asking_for_it_is_another_run() -> None:
    assert a_run(schedule=SCHEDULE).id != a_run(schedule=SCHEDULE, compile=True).id
    assert a_run(schedule=SCHEDULE).id == a_run(schedule=SCHEDULE, compile=False).id
