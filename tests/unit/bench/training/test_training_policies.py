"""Two phases, averages, schedule-free modes, fp16, balanced batches, sets to stop and select on: what each promises."""

import math
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.config.run_config import Schedule
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import Network, build
from bench.models.predict import weights_sha256
from bench.planning.run import RunSpec
from bench.training import TrainingError
from bench.training.batch_sampling import shuffled
from bench.training.checkpoint import load_checkpoint
from bench.training.fit import fit
from bench.training.step import Step
from bench.training.train_modes import freeze_backbone, recalibrate_batch_norm, train_mode
from bench.training.training_loss import TrainingLoss, TrainingTargets
from tests.unit.bench.training.test_train import CPU, K, a_cohort, a_run, train


def a_network(run: RunSpec) -> Network:
    return build(run.entries["architecture"].use, run.entries["architecture"].options, K, 1, None, 0)


def a_step(run: RunSpec, training_loss: nn.Module | None = None) -> tuple[Step, Examples]:
    torch.set_num_threads(1)
    reader, internal, _ = a_cohort()
    network = a_network(run)
    own = training_loss or TrainingLoss(run, TrainingTargets.of(run, internal, CPU))
    return Step(
        run, network, Normalizer(["imagenet"], network.mean, network.std, 1), reader, internal.rows, own, CPU
    ), internal  # type: ignore[arg-type]


def epoch_of(step: Step, epoch: int, steps: int = 3) -> Network:
    """Take the steps of one epoch at the full learning rate."""
    order = shuffled(0, epoch, 28)
    step.begin_epoch(epoch)
    step.set_lr(1.0)
    for i in range(steps):
        step(order[i * 8 : (i + 1) * 8], epoch, i)
    return step.end_epoch(order, 8, epoch)


POLICIES = {
    "two phases": {"schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, freeze_epochs=1)},
    "two phases, stopped in the first": {"schedule": Schedule(epochs=4, batch_size=8, lr=1e-3, freeze_epochs=3)},
    "two phases, schedule-free": {
        "optimizer": "schedulefree",
        "schedule": Schedule(epochs=3, batch_size=8, freeze_epochs=1),
    },
    "two phases, muon": {"optimizer": "muon", "schedule": Schedule(epochs=3, batch_size=8, freeze_epochs=1)},
    "average": {"schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, ema=0.9)},
    "average in two phases": {"schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, ema=0.9, freeze_epochs=1)},
    "fp16": {"precision": "fp16", "schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, clip=1.0)},
    "bf16": {"precision": "bf16", "schedule": Schedule(epochs=3, batch_size=8, lr=1e-3)},
    "sam in bf16 and parts": {
        "optimizer": "sam",
        "precision": "bf16",
        "schedule": Schedule(epochs=3, batch_size=8, micro_batch=4),
    },
    "plateau": {"schedule": Schedule(epochs=3, batch_size=8, lr=1e-2, kind="plateau", plateau_patience=0)},
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if "muon" in name else []) for name in POLICIES]
)
def test_a_policy_goes_on_where_it_was_stopped(name: str, tmp_path: Path) -> None:
    """Stopped in the second epoch: after the first phase of a run with one frozen epoch, in it with three."""
    whole = train(a_run(**POLICIES[name]), tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(a_run(**POLICIES[name]), tmp_path / "stopped.pt", stop_at=5)
    resumed = train(a_run(**POLICIES[name]), tmp_path / "stopped.pt")
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    assert resumed.gradient_evaluations == whole.gradient_evaluations


def test_a_frozen_backbone_stays_bit_by_bit_and_learns_in_the_second_phase() -> None:
    step, _ = a_step(a_run(schedule=Schedule(epochs=3, batch_size=8, lr=1e-2, freeze_epochs=1)))
    start = {k: v.clone() for k, v in step.network.state_dict().items()}
    epoch_of(step, 1)
    changed = {k for k, v in step.network.state_dict().items() if not torch.equal(v, start[k])}
    assert changed == {"backbone.fc.weight", "backbone.fc.bias"}
    epoch_of(step, 2)
    changed = {k for k, v in step.network.state_dict().items() if not torch.equal(v, start[k])}
    assert changed == set(start)


def test_only_frozen_norms_stand_still() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(2))
    network(torch.randn(2, 1, 8, 8))
    freeze_backbone(network, True)
    train_mode(network)
    assert [module.training for module in network] == [True, False, True, True, True]
    assert [weight.requires_grad for weight in network.parameters()] == [False] * 4 + [True] * 2
    freeze_backbone(network, False)
    train_mode(network)
    assert all(module.training for module in network)


def test_the_average_is_the_one_of_the_definition_and_is_what_stands_for_the_epoch() -> None:
    step, _ = a_step(a_run(schedule=Schedule(epochs=3, batch_size=8, lr=1e-2, ema=0.8)))
    mean = {k: v.double().clone() for k, v in step.network.state_dict().items()}
    order = shuffled(0, 1, 28)
    step.begin_epoch(1)
    step.set_lr(1.0)
    for i in range(3):
        step(order[i * 8 : (i + 1) * 8], 1, i)
        for key, value in step.network.state_dict().items():
            mean[key] = 0.8 * mean[key] + 0.2 * value if value.is_floating_point() else value.double()
    stands = step.end_epoch(order, 8, 1).state_dict()
    for key, value in stands.items():
        torch.testing.assert_close(value.double(), mean[key], rtol=1e-5, atol=1e-6)
    assert not torch.equal(stands["backbone.fc.weight"], step.network.state_dict()["backbone.fc.weight"])


def test_the_averaged_weights_are_the_ones_kept(tmp_path: Path) -> None:
    def stopped(what: str, done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    run = a_run(schedule=Schedule(epochs=2, batch_size=8, lr=1e-2, ema=0.8))
    reader, internal, val = a_cohort()
    network = a_network(run)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    with pytest.raises(KeyboardInterrupt):
        fit(run, network, normalizer, reader, internal, {"val": val}, CPU, tmp_path / "c.pt", stopped)
    saved = load_checkpoint(tmp_path / "c.pt", run.id)
    assert all(torch.equal(saved["best"][key], value) for key, value in saved["average"].items())
    assert any(not torch.equal(saved["best"][key], value) for key, value in saved["network"].items())


def test_schedule_free_is_measured_and_stored_at_the_weights_it_answers_for() -> None:
    step, _ = a_step(a_run("schedulefree", schedule=Schedule(epochs=3, batch_size=8)))
    epoch_of(step, 1)
    assert not any(group["train_mode"] for group in step.optimizer.param_groups)
    answered = step.network.backbone.fc.weight.detach().clone()
    assert torch.equal(step.state_dict()["network"]["backbone.fc.weight"], answered)
    step.begin_epoch(2)
    assert all(group["train_mode"] for group in step.optimizer.param_groups)
    assert not torch.equal(step.network.backbone.fc.weight, answered)


def test_schedule_free_batch_norm_belongs_to_the_weights_it_answers_for() -> None:
    """The first norm sees the stem's maps: their mean over the epoch's batches, by hand, without augmentation."""
    step, internal = a_step(a_run("schedulefree", augmentation="none", schedule=Schedule(epochs=3, batch_size=8)))
    network, order = epoch_of(step, 1), shuffled(0, 1, 28)
    stem, norm = network.backbone.stem[0], network.backbone.stem[1]
    with torch.no_grad():
        batches = [step.normalizer(step.reader(internal.rows[order[i * 8 : (i + 1) * 8]])) for i in range(3)]
        means = torch.stack([stem(x).mean((0, 2, 3)) for x in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(0), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.1


def test_recalibration_leaves_frozen_norms_and_the_usual_momentum_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3, momentum=0.3), nn.BatchNorm1d(3))
    network[1].requires_grad_(False)
    draws = [torch.randn(8, 3) + i for i in range(4)]
    recalibrate_batch_norm(network, (lambda x=x: network(x) for x in draws))
    torch.testing.assert_close(network[0].running_mean, torch.stack([x.mean(0) for x in draws]).mean(0))
    assert network[0].momentum == 0.3
    assert torch.equal(network[1].running_mean, torch.zeros(3))


@pytest.mark.parametrize(("optimizer", "passes"), [("adamw", 1), ("sam", 2), ("asam", 2), ("schedulefree", 1)])
def test_gradient_evaluations_count_passes_over_a_batch(optimizer: str, passes: int) -> None:
    step, _ = a_step(a_run(optimizer, schedule=Schedule(epochs=3, batch_size=8, micro_batch=4)))
    epoch_of(step, 1)
    assert step.gradient_evaluations == 3 * passes


def test_the_scale_of_fp16_is_part_of_the_state() -> None:
    run = a_run(precision="fp16", schedule=Schedule(epochs=3, batch_size=8, lr=1e-3))
    step, _ = a_step(run)
    epoch_of(step, 1)
    assert step.scaler is not None
    step.scaler.update(1024.0)
    again, _ = a_step(run)
    again.load_state_dict(deepcopy(step.state_dict()))
    assert again.scaler is not None
    assert again.scaler.state_dict() == step.scaler.state_dict()
    assert again.scaler.get_scale() == 1024.0


def test_the_scale_of_the_learning_rate_multiplies_the_entrys_own() -> None:
    for scale in (0.5, 3.0):
        step, _ = a_step(a_run("muon", schedule=Schedule(epochs=3, batch_size=8, lr_scale=scale)))
        step.set_lr(0.5)
        assert all(group["lr"] == pytest.approx(3e-4 * scale * 0.5) for group in step.optimizer.param_groups)


class Offset(nn.Module):
    """A training loss with a parameter that must not be negative."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.full((K,), 0.003))

    def forward(self, output_NK: Tensor, index_N: Tensor) -> Tensor:
        return (output_NK + self.offset).square().mean() + self.offset.sum()

    def weight(self, index_N: Tensor) -> Tensor:
        return torch.tensor(float(len(index_N)))

    def has_weight(self) -> NDArray[np.bool_]:
        return np.ones(28, bool)

    def after_step(self) -> None:
        with torch.no_grad():
            self.offset.clamp_(min=0.0)


@pytest.mark.parametrize("optimizer", ["adamw", "sam", pytest.param("muon", marks=pytest.mark.slow)])
def test_parameters_of_the_objective_learn_are_kept_in_range_and_survive_a_resume(optimizer: str) -> None:
    run = a_run(optimizer, schedule=Schedule(epochs=3, batch_size=8, lr=1e-3))
    step, _ = a_step(run, Offset())
    epoch_of(step, 1, steps=2)
    offset = step.training_loss.get_parameter("offset")
    assert ((offset >= 0) & (offset < 0.003)).all()
    again, _ = a_step(run, Offset())
    again.load_state_dict(deepcopy(step.state_dict()))
    for one in (step, again):
        epoch_of(one, 2)
    assert torch.equal(offset, again.training_loss.get_parameter("offset"))
    assert (offset == 0).all()
    assert weights_sha256(step.network) == weights_sha256(again.network)


def test_balanced_epochs_show_every_finding_and_shuffled_ones_every_image() -> None:
    _, internal, _ = a_cohort()
    run = a_run(schedule=Schedule(epochs=1, batch_size=20, sampling="balanced"))
    targets = TrainingTargets.of(run, internal, CPU)
    order = targets.epoch_order(run.config, 1, 20)
    target, weight = targets.target_NK[order[:20]], targets.weight_NK[order[:20]]
    assert ((weight > 0) & (target == 1)).any(0).all()
    assert ((weight > 0) & (target == 0)).any(0).all()
    plain = targets.epoch_order(a_run().config, 1, 8)
    assert sorted(plain) == list(range(28))


def test_batches_too_small_to_balance_end_the_run_with_the_number_that_is_needed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="micro_batch to 18 or more"):
        train(a_run(schedule=Schedule(epochs=1, batch_size=4, sampling="balanced")), tmp_path / "c.pt")


@pytest.mark.slow
def test_one_set_can_stop_and_another_select(tmp_path: Path) -> None:
    """The second set has the labels of the first turned round: what is best on one is worst on the other."""
    run = a_run(schedule=Schedule(epochs=4, batch_size=8, lr=3e-3, select_on="expert_valid"))
    reader, internal, val = a_cohort()
    turned = np.where(np.isin(val.state_NK, (0, 1)), 1 - val.state_NK, -1).astype(np.int8)
    certain = Examples(val.image_id, val.patient_id, val.rows, np.where(val.state_NK == -2, -1, val.state_NK))
    watched = {"val": certain, "expert_valid": Examples(val.image_id, val.patient_id, val.rows, turned)}
    network = a_network(run)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    trained = fit(run, network, normalizer, reader, internal, watched, CPU, tmp_path / "c.pt", lambda *_: None)
    both = trained.history[["val_auroc", "expert_valid_auroc"]].to_numpy()
    assert np.allclose(both.sum(axis=1), 1)
    assert trained.best_epoch == 1 + int(both[:, 0].argmin())


@pytest.mark.slow
def test_patience_stops_a_run_that_keeps_its_last_epoch(tmp_path: Path) -> None:
    schedule = Schedule(epochs=9, batch_size=8, lr=1e-9, patience=2, kind="constant")
    trained = train(a_run(selection="last", schedule=schedule), tmp_path / "c.pt")
    assert trained.best_epoch == len(trained.history) < 9


def test_a_plateau_cuts_the_learning_rate(tmp_path: Path) -> None:
    schedule = Schedule(epochs=4, batch_size=8, lr=1e-9, kind="plateau", plateau_patience=0, warmup=0.0)
    rates = train(a_run(schedule=schedule), tmp_path / "c.pt").history["lr"].to_numpy()
    steps = {round(math.log10(a / b)) for a, b in pairwise(rates)}
    assert steps <= {0, 1}
    assert rates[-1] < rates[0]


def test_sam_takes_all_parts_of_a_batch_at_both_places() -> None:
    """Without batch norm and dropout, parts are the whole: the second gradient is the same."""
    gradients: list[Tensor] = []
    for micro in (8, 4):
        schedule = Schedule(epochs=1, batch_size=8, micro_batch=micro)
        step, _ = a_step(a_run("sam", augmentation="none", schedule=schedule))
        step.begin_epoch(1)
        step.network.eval()
        step(shuffled(0, 1, 28)[:8], 1, 0)
        gradients.append(torch.cat([weight.grad.flatten() for weight in step.network.parameters()]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
