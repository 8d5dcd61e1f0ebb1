"""What a run does when memory or its time runs out."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bench.config.registry import Registry
from bench.config.run_config import Limit, RunConfig, Schedule, from_dict
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.models.predict import predict, weights_sha256
from bench.planning.run import RunSpec
from bench.results.stored_runs import remark_of, training_remark
from bench.store.store import Store
from bench.training import TrainingError
from bench.training.checkpoint import write_checkpoint
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup
from bench.training.fit import TrainingResult, fit
from bench.training.step import TooLargeError
from harmonize.errors import ConfigError
from tests.unit.bench.training.test_train import CPU, K, a_cohort, a_run


class Hungry(nn.Module):
    """A small network with dropout and batch norm; memory for at most `most` images, from the pass `after` on."""

    def __init__(self, most: int, after: int = 0, late: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.drop, self.head = (
            nn.Conv2d(1, 4, 3, 2), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Linear(4, K),
        )  # fmt: skip
        self.most, self.after, self.late, self.passes = most, after, late, 0

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        self.passes += 1
        full = self.passes > self.after and len(x_NCHW) > self.most
        if full and not self.late:
            raise torch.cuda.OutOfMemoryError("planted")
        maps = self.norm(self.conv(x_NCHW)).relu()
        if full:  # after batch norm has seen the images
            raise torch.cuda.OutOfMemoryError("planted")
        return maps

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        feature = self.drop(maps.mean((2, 3)))
        return feature if pre_logits else self.head(feature)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_NCHW))


def trained(
    run: RunSpec, folder: Path, backbone: nn.Module | None = None, clock: Callable[[], float] | None = None
) -> TrainingResult:
    torch.set_num_threads(1)
    reader, internal, val = a_cohort()
    network = Network(backbone or Hungry(most=99), (0.5,) * 3, (0.25,) * 3, 1, K)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    more = {"clock": clock} if clock else {}
    return fit(
        run, network, normalizer, reader, internal, {"val": val}, CPU, folder / "last.pt", lambda *_: None, **more
    )


def same(one: TrainingResult, other: TrainingResult) -> bool:
    # The networks' own hashes, whatever the memory that they are said to have. Predictions in passes of another size
    # have other last bits on some processors, and so has the loss on what was predicted.
    inexact = ["seconds", "val_loss"]
    return (
        weights_sha256(one.network) == weights_sha256(other.network)
        and one.history.drop(columns=inexact).equals(other.history.drop(columns=inexact))
        and np.allclose(one.history["val_loss"], other.history["val_loss"], rtol=1e-6, atol=0)
        and one.gradient_evaluations == other.gradient_evaluations
    )


@pytest.mark.parametrize("optimizer", ["adamw", "sam", "schedulefree"])
@pytest.mark.parametrize("late", [False, True])
def test_a_run_out_of_memory_at_once_is_the_run_with_the_smaller_passes_bit_by_bit(
    optimizer: str, late: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = Schedule(epochs=2, batch_size=8, lr=1e-2)
    caplog.set_level(logging.WARNING)
    hungry = trained(a_run(optimizer, schedule=schedule), tmp_path / "a", Hungry(2, late=late))
    asked = trained(a_run(optimizer, schedule=replace(schedule, micro_batch=2)), tmp_path / "b")
    assert same(hungry, asked)
    assert (hungry.micro_batch, asked.micro_batch) == (2, 0)
    said = [record.getMessage() for record in caplog.records]
    assert "memory ran out in epoch 1, step 1: forward passes now have 4 images instead of 8; the batch stays 8" in said


def test_memory_that_runs_out_late_changes_no_step_before(tmp_path: Path) -> None:
    schedule = Schedule(epochs=3, batch_size=8, lr=1e-2)
    plain = trained(a_run(schedule=schedule), tmp_path / "a")
    hungry = trained(a_run(schedule=schedule), tmp_path / "b", Hungry(4, after=3 + 1 + 1, late=True))  # 3 steps, val
    columns = ["epoch", "train_loss", "val_loss", "val_auroc"]
    assert plain.history[columns].iloc[:1].equals(hungry.history[columns].iloc[:1])
    assert not plain.history[columns].iloc[1:].equals(hungry.history[columns].iloc[1:])
    assert hungry.micro_batch == 4
    assert plain.gradient_evaluations == hungry.gradient_evaluations == 9


def test_a_run_that_goes_on_keeps_the_smaller_passes(tmp_path: Path) -> None:
    schedule = Schedule(epochs=2, batch_size=8, lr=1e-2, kind="constant", warmup=0.0)
    whole = trained(a_run(schedule=schedule), tmp_path / "a", Hungry(4))
    trained(a_run(schedule=replace(schedule, epochs=1)), tmp_path / "b", Hungry(4))
    saved = torch.load(tmp_path / "b" / "last.pt", weights_only=True)
    write_checkpoint(tmp_path / "b" / "last.pt", saved | {"run": a_run(schedule=schedule).id})
    resumed = trained(a_run(schedule=schedule), tmp_path / "b")  # has memory for all
    assert same(whole, resumed)
    assert resumed.micro_batch == 4


def test_a_batch_that_cannot_be_cut_smaller_ends_the_run_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError, match=r"pass of 2 images, and the batch cannot be split further; lower schedule"):
        trained(a_run(schedule=Schedule(epochs=1, batch_size=8)), tmp_path, Hungry(1))
    balanced = Schedule(epochs=1, batch_size=24, sampling="balanced")
    with pytest.raises(TooLargeError, match=r"pass of 24 images, and balanced sampling fixes the micro-batch"):
        trained(a_run(schedule=balanced), tmp_path, Hungry(12))


def test_memory_that_the_optimizer_lacks_is_not_taken_for_that_of_a_pass(tmp_path: Path) -> None:
    """Some weights may have moved already: the step cannot be taken again."""

    class Greedy(torch.optim.SGD):
        def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor:  # type: ignore[override]
            assert closure is not None
            closure()
            raise torch.cuda.OutOfMemoryError("no room for the state")

    run = a_run("sgd", schedule=Schedule(epochs=1, batch_size=8))
    greedy = run.entries | {"optimizer": replace(run.entries["optimizer"], use=Greedy)}
    with pytest.raises(torch.cuda.OutOfMemoryError, match="no room for the state"):
        trained(replace(run, entries=greedy), tmp_path)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_predictions_halve_their_passes_and_stay_what_they_are(auxiliary: bool) -> None:
    reader, _, _ = a_cohort(n=40)
    normalizer = Normalizer(["imagenet"], (0.5,) * 3, (0.25,) * 3, 1)
    rows, wanted = np.arange(40)[::-1].copy(), np.array([0, 3, 39])
    found = [
        predict(Network(Hungry(most), (0.5,) * 3, (0.25,) * 3, 1, K - 2), normalizer, reader, rows, CPU,
                features_of=wanted, auxiliary=auxiliary)
        for most in (99, 7)
    ]  # fmt: skip
    for plain, halved in zip(*found, strict=True):
        np.testing.assert_allclose(plain, halved, rtol=0, atol=1e-6)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        predict(Network(Hungry(0), (0.5,) * 3, (0.25,) * 3, 1, K), normalizer, reader, rows, CPU)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much at each look."""
    ticks = count()
    return lambda: next(ticks) * seconds


def limited(hours: float, epochs: int = 4, **more: object) -> RunSpec:
    return a_run(schedule=Schedule(epochs=epochs, batch_size=8, lr=1e-2), limit=Limit(hours), **more)


def test_a_limit_stops_before_the_next_step_and_the_best_epoch_is_kept(tmp_path: Path) -> None:
    whole = trained(a_run(schedule=Schedule(epochs=4, batch_size=8, lr=1e-2)), tmp_path / "a")
    looks = []

    def clock() -> float:
        looks.append(len(looks))
        return 1800.0 * len(looks)

    # looks: the start; an epoch's begin, its three steps, its end, its end with validation
    cut = trained(limited(4), tmp_path / "b", clock=clock)
    assert cut.stopped == "stopped by its limit of 4 hours after 1 of 4 epochs"
    columns = ["epoch", "train_loss", "val_loss", "val_auroc", "lr"]
    assert cut.history[columns].equals(whole.history[columns].iloc[:1])
    assert cut.best_epoch == 1
    assert 4 * 3600 <= 1800 * (len(looks) - 1) <= 4 * 3600 + 1800  # not one look after the one that ended it


def test_a_limit_that_is_not_reached_changes_nothing_but_the_id(tmp_path: Path) -> None:
    whole = trained(a_run(schedule=Schedule(epochs=4, batch_size=8, lr=1e-2)), tmp_path / "a")
    free = trained(limited(1000), tmp_path / "b")
    assert same(whole, free)
    assert free.stopped == ""


def test_a_limit_before_the_first_epoch_is_a_failure_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"stopped by its limit of 0\.5 hours after 0 of 4 epochs: no epoch"):
        trained(limited(0.5), tmp_path, clock=ticking(600))


def test_epochs_that_are_never_chosen_do_not_save_a_run_from_its_limit(tmp_path: Path) -> None:
    run = a_run(loss="aucm", schedule=Schedule(epochs=4, batch_size=8, pretrain_epochs=2), limit=Limit(2))
    with pytest.raises(TrainingError, match="after 1 of 4 epochs: no epoch can be selected"):
        trained(run, tmp_path, clock=ticking(900))


def test_time_that_was_used_before_an_interruption_counts(tmp_path: Path) -> None:
    def clock(start: float) -> Callable[[], float]:
        looks = count()
        return lambda: start + 600.0 * next(looks)

    with pytest.raises(KeyboardInterrupt):
        trained(limited(2), tmp_path, Interrupted(at=5), clock=clock(0))
    seconds = torch.load(tmp_path / "last.pt", weights_only=True)["spent"]
    assert seconds == 5 * 600
    cut = trained(limited(2), tmp_path, Interrupted(at=999), clock=clock(1e6))
    assert cut.stopped == "stopped by its limit of 2 hours after 2 of 4 epochs"
    assert len(cut.history) == 2


class Interrupted(Hungry):
    """The user stops it in a pass."""

    def __init__(self, at: int) -> None:
        super().__init__(most=99)
        self.at = at

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        if self.passes == self.at:
            raise KeyboardInterrupt
        return super().forward_features(x_NCHW)


def test_a_limit_is_part_of_the_id_only_where_there_is_one() -> None:
    config = RunConfig("seresnet_tiny", "adamw", "bce", "u_ignore", "imagenet_64")
    registry = Registry.read()
    ids = [RunSpec.of(replace(config, limit=Limit(h)), registry, "internal", None).id for h in (0, 1, 2)]
    assert len(set(ids)) == 3
    assert b"limit" not in RunSpec.of(config, registry, "internal", None).document
    assert str(Limit(1)) == "1 hour"
    with pytest.raises(ConfigError, match=r"limit\.hours"):
        from_dict(Limit, {"hours": -1.0}, "grid.yaml: limit")


@given(st.integers(2, 200), st.integers(2, 200))
def test_halving_never_leaves_one_image_alone_and_always_ends(size: int, micro: int) -> None:
    from bench.training.step import Step

    step = object.__new__(Step)
    step.micro, step.schedule, step.device, step.processes = micro, Schedule(), CPU, SINGLE_PROCESS
    step.group_N = None
    seen = [min(micro, size)]
    while True:
        try:
            step._halve(size, 1, 0)
        except TooLargeError:
            break
        seen.append(step.micro)
        assert step.micro >= 2
        assert size % step.micro != 1
        assert step.micro <= seen[-2] // 2
    assert len(seen) < 9


def test_a_team_does_not_halve_the_others_would_not_know() -> None:
    from bench.training.step import Step

    step = object.__new__(Step)
    step.micro, step.schedule, step.device, step.processes = 16, Schedule(), CPU, DataParallelGroup(0, 2)
    with pytest.raises(TooLargeError, match="forward pass of 16 images; lower"):
        step._halve(64, 1, 0)


def test_the_store_says_how_a_training_went_other_than_asked(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    folder = store.run_dir("abc")
    folder.mkdir(parents=True)
    assert training_remark(store, "abc") == ""
    facts = {"stopped": "stopped by its limit of 2 hours after 3 of 8 epochs", "micro_batch": 16}
    (folder / "trained.json").write_text(json.dumps(facts))
    assert training_remark(store, "abc").startswith(
        "limit reached: stopped by its limit of 2 hours after 3 of 8 epochs; memory ran"
    )
    assert remark_of({}) == ""
    assert "16 images at a time" in remark_of(facts)
    (folder / "trained.json").write_text("{damaged")
    assert training_remark(store, "abc") == ""
