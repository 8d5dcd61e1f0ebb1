"""Learning rates and stopping: phases, plateaus as torch sees them, patience on the set that is asked for."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.config.registry import Registry
from bench.config.run_config import RunConfig, Schedule, from_dict
from bench.training.lr_schedule import lr_factor, lr_multiplier, plateau
from bench.training.optimizers.build import build
from harmonize.errors import ConfigError

losses = st.lists(st.floats(0.01, 2.0), max_size=30)


@settings(max_examples=60)
@given(losses, st.sampled_from([0.1, 0.5]), st.integers(0, 3))
def test_a_plateau_is_what_torch_takes_for_one(seen: list[float], factor: float, patience: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience, eps=0.0)
    for loss in seen:
        theirs.step(loss)
    assert math.isclose(plateau(seen, factor, patience), optimizer.param_groups[0]["lr"], rel_tol=1e-9)


def test_the_learning_rate_warms_up_decays_and_ends_near_zero() -> None:
    shares = [lr_factor(step, 100, 0.1, "cosine") for step in range(100)]
    assert shares[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert all(a >= b for a, b in pairwise(shares[10:]))
    assert shares[10] == 1.0
    assert shares[-1] < 1e-3
    assert {lr_factor(step, 100, 0.1, "constant") for step in range(10, 100)} == {1.0}


def test_each_phase_has_a_warm_up_and_a_decay_of_its_own() -> None:
    schedule = Schedule(epochs=5, freeze_epochs=2, warmup=0.2)
    two_phases = [lr_multiplier(schedule, epoch, i, 10, []) for epoch in range(1, 6) for i in range(10)]
    first, second = Schedule(epochs=2, warmup=0.2), Schedule(epochs=3, warmup=0.2)
    assert two_phases == [lr_multiplier(s, epoch, i, 10, []) for s in (first, second) for epoch in range(1, s.epochs + 1) for i in range(10)]  # fmt: skip


def test_a_plateau_of_the_frozen_phase_does_not_slow_the_second() -> None:
    schedule = Schedule(epochs=9, freeze_epochs=4, kind="plateau", plateau_patience=0, warmup=0.0)
    flat = [{"epoch": float(e), "val_loss": 1.0} for e in range(1, 7)]
    assert lr_multiplier(schedule, 4, 0, 3, flat[:3]) == pytest.approx(0.01)
    assert lr_multiplier(schedule, 5, 0, 3, flat[:4]) == 1.0
    assert lr_multiplier(schedule, 7, 0, 3, flat) == pytest.approx(0.1)


def rows(*aurocs: float, part: str = "val") -> list[dict[str, float]]:
    return [{"epoch": i + 1, "val_auroc": 0.5, f"{part}_auroc": value} for i, value in enumerate(aurocs)]


def test_patience_counts_the_epochs_since_the_best() -> None:
    patient = Schedule(epochs=20, patience=2)
    assert not patient.should_stop([])
    assert not patient.should_stop(rows(0.6, 0.7, 0.6))
    assert patient.should_stop(rows(0.6, 0.7, 0.6, 0.7))  # equal is not better
    assert not Schedule(epochs=20).should_stop(rows(0.9, *[0.1] * 10))


def test_patience_watches_the_set_it_is_told_to() -> None:
    watching = Schedule(epochs=20, patience=2, stop_on="expert_valid")
    assert not watching.should_stop(rows(0.6, 0.7, 0.8, part="expert_valid"))  # on val nothing gets better
    assert watching.should_stop(rows(0.8, 0.7, 0.7, part="expert_valid"))
    assert watching.watched == ("val", "expert_valid")


def test_patience_lets_every_weight_learn_before_it_stops() -> None:
    frozen = Schedule(epochs=20, patience=2, freeze_epochs=4)
    assert not frozen.should_stop(rows(0.9, *[0.5] * 4))
    assert frozen.should_stop(rows(0.9, *[0.5] * 5))


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "step"},
        {"ema": 1.0},
        {"freeze_epochs": 5},
        {"lr_scale": 0.0},
        {"kind": "plateau", "plateau_factor": 1.0},
        {"plateau_patience": 1},
        {"stop_on": "expert_valid"},
        {"select_on": "test"},
        {"sampling": "uniform"},
    ],
    ids=str,
)
def test_a_schedule_that_means_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        from_dict(Schedule, {"epochs": 5} | wrong, "grid.yaml: schedule")


def test_a_set_to_select_on_needs_a_best_epoch() -> None:
    with pytest.raises(ValueError, match="select_on"):
        RunConfig("a", "b", "c", "d", "e", schedule=Schedule(select_on="expert_valid"), selection="last")


def test_the_warm_up_of_the_loop_is_the_one_schedule_free_would_do_itself() -> None:
    ends = []
    for own in (0, 5):
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 2)
        entry = Registry.read().sections["optimizers"]["schedulefree"]
        optimizer = build(entry.use, {**entry.options, "warmup_steps": own}, layer)
        optimizer.train()  # type: ignore[attr-defined]
        for i in range(12):
            optimizer.param_groups[0]["lr"] = optimizer.param_groups[1]["lr"] = 1e-3 * (1 if own else lr_factor(i, 100, 0.05, "constant"))  # fmt: skip
            optimizer.zero_grad()
            layer(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
        optimizer.eval()  # type: ignore[attr-defined]
        ends.append(layer.weight.detach().clone())
    torch.testing.assert_close(ends[0], ends[1])
