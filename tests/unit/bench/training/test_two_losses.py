"""Cross-entropy first, then the run's own loss; losses and optimizers that do not go together; the last few images."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.config.preprocessing_ops import augment_steps, check_augmentation
from bench.config.registry import Entry, Registry
from bench.config.run_config import RunConfig, Schedule, differing
from bench.inputs.examples import Examples
from bench.models.predict import weights_sha256
from bench.training.auc_losses import AUCM
from bench.training.losses import bce
from bench.training.lr_schedule import lr_multiplier
from bench.training.optimizers.sam import SAM
from harmonize.errors import ConfigError
from tests.unit.bench.training.test_train import CPU, K, a_cohort, a_run, train
from tests.unit.bench.training.test_training_policies import a_network, a_step, epoch_of

TWO = {"loss": "aucm", "schedule": Schedule(epochs=4, batch_size=8, lr=1e-3, pretrain_epochs=2)}


def test_the_first_epochs_minimise_cross_entropy_and_the_rest_the_runs_own_loss() -> None:
    step, _ = a_step(a_run(**TWO))
    own = step.training_loss.loss
    assert isinstance(own, AUCM)
    start = deepcopy(own.state_dict())
    draw = torch.Generator().manual_seed(1)
    output, place = torch.randn(28, K, generator=draw), torch.arange(28)
    targets = step.training_loss.targets
    epoch_of(step, 2)
    assert torch.equal(step.training_loss(output, place), bce(output, targets.target_NK, targets.weight_NK))
    assert all(torch.equal(value, start[key]) for key, value in own.state_dict().items())
    first = step.optimizer
    epoch_of(step, 3)
    assert torch.equal(step.training_loss(output, place), own(output, targets.target_NK, targets.weight_NK))
    assert any(not torch.equal(value, start[key]) for key, value in own.state_dict().items())
    assert step.optimizer is not first  # with a state of its own


@pytest.mark.slow
def test_such_a_run_goes_on_where_it_was_stopped_and_keeps_an_epoch_of_its_own_loss(tmp_path: Path) -> None:
    whole = train(a_run(**TWO), tmp_path / "whole.pt")
    for stop_at in (5, 8):  # in the second epoch of cross-entropy, in the first after it
        path = tmp_path / f"{stop_at}.pt"
        with pytest.raises(KeyboardInterrupt):
            train(a_run(**TWO), path, stop_at=stop_at)
        assert weights_sha256(train(a_run(**TWO), path).network) == weights_sha256(whole.network)
    assert whole.best_epoch > 2
    assert len(whole.history) == 4


@pytest.mark.slow
def test_the_first_epochs_are_those_of_a_run_with_cross_entropy_alone(tmp_path: Path) -> None:
    constant = {"batch_size": 8, "lr": 1e-3, "kind": "constant", "warmup": 0.0}
    two = train(a_run(loss="aucm", schedule=Schedule(epochs=3, pretrain_epochs=2, **constant)), tmp_path / "two.pt")
    one = train(a_run(schedule=Schedule(epochs=2, **constant)), tmp_path / "one.pt")
    assert two.history["train_loss"].tolist()[:2] == one.history["train_loss"].tolist()
    assert two.history["val_auroc"].tolist()[:2] == one.history["val_auroc"].tolist()


def test_each_phase_warms_up_and_decays_and_patience_waits_for_the_last() -> None:
    schedule = Schedule(epochs=10, pretrain_epochs=4, warmup=0.5, patience=2)
    assert (schedule.phase(4), schedule.phase(5)) == (range(1, 5), range(5, 11))
    assert lr_multiplier(schedule, 5, 0, 10, []) == pytest.approx(1 / 30)
    rows = [{"epoch": i, "val_auroc": value} for i, value in enumerate([0.9, 0.8, 0.7, 0.6, 0.5, 0.55, 0.5, 0.5], 1)]
    assert [schedule.should_stop(rows[:n]) for n in range(9)] == [False] * 8 + [True]


def test_a_run_without_such_epochs_keeps_its_id() -> None:
    assert "schedule" not in differing(RunConfig("a", "b", "c", "d", "e"))
    assert differing(Schedule(pretrain_epochs=1)) == {"pretrain_epochs": 1}


def test_an_epoch_is_left_for_the_runs_own_loss() -> None:
    with pytest.raises(ValueError, match="pretrain_epochs must be below epochs 5"):
        Schedule(pretrain_epochs=5)


def read(tmp_path: Path, base: str, registry: str = "") -> None:
    from bench.config.grid import Grid

    (tmp_path / "registry.yaml").write_text("schema: 1\ninclude: shipped\n" + registry)
    (tmp_path / "mine.yaml").write_text(
        "evaluate_on: [nih]\nbase: {architecture: seresnet_tiny, optimizer: adamw, loss: bce, uncertainty: u_ignore, "
        f"preprocessing: imagenet_64}}\nsweeps:\n  - {base}\n"
    )
    Grid.read(str(tmp_path / "mine.yaml"), Registry.read(tmp_path / "registry.yaml"))


@pytest.mark.parametrize(
    ("sweep", "registry", "message"),
    [
        ("{schedule.pretrain_epochs: 2}", "", "bce is cross-entropy already"),
        ("{uncertainty: u_multiclass, loss: mine}", "losses: {mine: {use: 'bench.training.losses:bce', with: {pos_weight: 2.0}}}", "without options"),
        ("{optimizer: mine}", "optimizers: {mine: {use: 'bench.training.optimizers.sam:SAM', with: {lr: 0.1, base: 'schedulefree:AdamWScheduleFree'}}}", "cannot wrap a schedule-free"),
        ("{augmentation: mine}", "augmentation: {mine: {use: 'bench.inputs.augmentation:chain', with: {steps: [{blur: {p: often}}]}}}", "blur.p must be .*got 'often'"),
        ("{augmentation: mine}", "augmentation: {mine: {use: 'bench.inputs.augmentation:affine', with: {rotate: .nan}}}", r"\.nan is not a finite number"),
    ],
)  # fmt: skip
def test_what_cannot_be_learnt_together_is_refused_when_the_grid_is_read(
    sweep: str, registry: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, sweep, registry)


def test_a_weighted_cross_entropy_may_follow_a_plain_one(tmp_path: Path) -> None:
    read(tmp_path, "{loss: [bce_weighted, aucm], schedule.pretrain_epochs: 2}")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"warp": {"rotate": "10"}}, r"warp.rotate must be .*got '10'"),
        ({"warp": {"rotate": True}}, r"warp.rotate must be .*got True"),
        ({"warp": {"scale": 1.0}}, r"warp.scale must be .*got 1.0"),
        ({"blur": {"p": 1.5}}, r"blur.p must be .*got 1.5"),
        ({"gamma": {"low": 0}}, r"gamma.low must be .*got 0"),
        ({"gamma": {"low": 1.5}}, "gamma.low is above gamma.high"),
        ({"erase": {"area": 0.1}}, r"erase.area must be .*got 0.1"),
        ({"erase": {"area": [0.3, 0.1]}}, r"erase.area must be .*got \[0.3, 0.1\]"),
        ({"erase": {"ratio": [0.3, 1.0, 2.0]}}, "erase.ratio must be"),
        ({"border": {"most": 0.6}}, r"border.most must be .*got 0.6"),
        ({"markers": {"most": 0.6}}, r"markers.most must be .*got 0.6"),
        ({"tones": {"strength": 9}}, r"tones.strength must be .*got 9"),
        ({"resolutions": {"least": 0}}, r"resolutions.least must be .*got 0"),
        ({"crop": {"share": None}}, r"crop.share must be .*got None"),
    ],
)
def test_an_option_of_a_step_that_cannot_be_is_refused(step: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        augment_steps([step])


@pytest.mark.parametrize("steps", ["hflip", {"hflip": {}}, 3])
def test_steps_are_a_list(steps: Any) -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        augment_steps(steps)


def test_every_augmentation_that_comes_with_the_project_is_possible() -> None:
    for entry in Registry.read().sections["augmentation"].values():
        check_augmentation(entry)
    wrong = Entry("augmentation", "mine", "bench.inputs.augmentation:affine", {"hflip": 1})
    with pytest.raises(ConfigError, match="hflip must be true or false"):
        check_augmentation(wrong)


def test_sam_climbs_with_the_networks_weights_and_leaves_the_dual_variable_where_it_is() -> None:
    """By hand: the network's gradient norm alone sets the length, and a, b and alpha are seen unmoved at the second place."""
    network, dual = torch.nn.Linear(2, 1), torch.nn.Parameter(torch.tensor([3.0]))
    start = [p.detach().clone() for p in network.parameters()]
    optimizer = SAM([{"params": [*network.parameters(), dual]}], network, base="torch.optim:SGD", rho=0.5, lr=0.1)
    places: list[tuple[torch.Tensor, float]] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        turned = 2 * dual.detach() - dual
        loss = (network(torch.ones(4, 2)).mean() * turned - 0.5 * turned**2).sum()
        loss.backward()
        places.append((torch.cat([p.detach().flatten() for p in network.parameters()]), float(dual.detach())))
        return loss

    optimizer.step(closure)
    assert [dual_at for _, dual_at in places] == [3.0, 3.0]
    climb = places[1][0] - places[0][0]
    assert float(climb.norm()) == pytest.approx(0.5)
    value = float((start[0].sum() + start[1]) + climb.sum())  # at the second place, where the gradient is taken
    assert float(dual.detach()) == pytest.approx(3.0 + 0.1 * (value - 3.0), rel=1e-5)  # up the gradient of the loss


@pytest.mark.parametrize("optimizer", ["sam", "asam"])
def test_sam_over_the_auc_margin_loss_trains_all_of_it(optimizer: str) -> None:
    step, _ = a_step(a_run(optimizer, loss="aucm", schedule=Schedule(epochs=1, batch_size=8, lr=1e-2)))
    start = deepcopy(step.training_loss.loss.state_dict())  # type: ignore[attr-defined]
    epoch_of(step, 1)
    now = step.training_loss.loss.state_dict()  # type: ignore[attr-defined]
    assert all(not torch.equal(now[name], start[name]) for name in ("a_K", "b_K", "alpha_K"))
    assert bool((now["alpha_K"] >= 0).all())


def test_sam_refuses_a_base_that_answers_for_other_weights() -> None:
    with pytest.raises(ValueError, match="base optimizer AdamWScheduleFree"):
        SAM(torch.nn.Linear(1, 1).parameters(), base="schedulefree:AdamWScheduleFree")


@pytest.mark.parametrize(
    ("batch", "micro", "images", "size"),
    [(64, 8, 17, 16), (64, 8, 18, 18), (64, 8, 200, 64), (64, 0, 17, 17), (64, 4, 5, 4), (4, 2, 3, 2), (8, 2, 2, 2)],
)
def test_no_forward_pass_is_of_one_image(batch: int, micro: int, images: int, size: int) -> None:
    assert Schedule(batch_size=batch, micro_batch=micro).effective_batch_size(images) == size


def test_a_cohort_smaller_than_a_batch_trains_in_parts(tmp_path: Path) -> None:
    """25 images where batches have 64, in parts of 8: a part of one image would end in an error of batch norm."""
    from bench.inputs.normalize import Normalizer
    from bench.training.fit import fit

    run = a_run(schedule=Schedule(epochs=1, batch_size=64, micro_batch=8))
    reader, internal, val = a_cohort()
    few = Examples(*(getattr(internal, name)[:25] for name in ("image_id", "patient_id", "rows", "state_NK")))
    network = a_network(run)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    trained = fit(run, network, normalizer, reader, few, {"val": val}, CPU, tmp_path / "c.pt", lambda *_: None)
    assert len(trained.history) == 1
