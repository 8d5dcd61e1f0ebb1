"""Training algorithms: the losses of DomainBed on the same batches, state that a resumed run keeps, and ERM unchanged."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Entry
from bench.config.run_config import Schedule
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.models.predict import predict, weights_sha256
from bench.planning.run import RunSpec
from bench.training import TrainingError, checkpoint
from bench.training.algorithms.batch import Algorithm, Batch
from bench.training.algorithms.build import build_algorithm
from bench.training.algorithms.features import mean_and_covariance_distance
from bench.training.algorithms.inputs import mixed_loss, mixup
from bench.training.batch_sampling import group_balanced, shuffled
from bench.training.checkpoint import load_checkpoint
from bench.training.fit import TrainingResult, fit
from bench.training.step import TooLargeError
from bench.training.training_loss import TrainingTargets
from tests.nonempty import nonempty
from tests.unit.bench.training.test_train import CPU, REGISTRY, K, a_cohort, a_run, train
from tests.unit.bench.training.test_training_policies import a_step, epoch_of

ORACLE = json.loads((Path(__file__).parents[3] / "oracles" / "training_algorithms.json").read_text())
CASES = {case["algorithm"]: case for case in ORACLE["cases"]}
GROUPED = [name for name, entry in REGISTRY.sections["algorithms"].items() if entry.facts.get("groups")]
SAME_AS_DOMAINBED = ["groupdro", "irm", "coral", "mixup"]
# option of DomainBed -> option of the registry
OPTIONS = {
    "groupdro_eta": "eta",
    "irm_lambda": "weight",
    "irm_penalty_anneal_iters": "anneal",
    "mmd_gamma": "weight",
}


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def networks_of(case: dict[str, Any]) -> tuple[nn.Sequential, nn.Linear]:
    """Return the features and the classifier of a case; our one output is the difference of DomainBed's two."""
    features, classifier = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Linear(3, 1)
    features.load_state_dict({name: torch.tensor(values) for name, values in case["start"]["features"].items()})
    with torch.no_grad():
        for name, parameter in classifier.named_parameters():
            absent, present = torch.tensor(case["start"]["classifier"][name])
            parameter.copy_((present - absent).view_as(parameter))
    return features, classifier


def batch_of(case: dict[str, Any], step: int, network: nn.Module, classifier: nn.Module) -> Batch:
    x, y = torch.tensor(case["x"][step]), torch.tensor(case["y"][step]).double()
    group_N = torch.arange(len(x)).repeat_interleave(x.shape[1])

    def loss(output_NO: Tensor, index_N: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output_NO[:, 0], y.flatten()[index_N])

    images, index_N = x.flatten(0, 1), torch.arange(y.numel())
    return Batch(images, index_N, group_N, network, classifier, loss, step)  # type: ignore[arg-type]


def adam(features: nn.Module, classifier: nn.Module, lr: float) -> torch.optim.Adam:
    """Return Adam as DomainBed's: its two outputs move by one rate in opposite directions, so their difference by two."""
    groups = [{"params": features.parameters()}, {"params": classifier.parameters(), "lr": 2 * lr}]
    return torch.optim.Adam(groups, lr=lr, weight_decay=0.0)


def algorithm_of(case: dict[str, Any], classifier: nn.Module) -> Algorithm:
    entry = REGISTRY.sections["algorithms"][case["algorithm"]]
    options = dict(entry.options) | {OPTIONS[k]: v for k, v in case["options"].items() if k in OPTIONS}
    chosen = Entry(entry.section, entry.name, entry.use, options, entry.facts)
    return build_algorithm(chosen, len(case["x"][0]), classifier)


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("name", SAME_AS_DOMAINBED)
def test_the_losses_of_each_step_and_the_last_weights_equal_those_of_domainbed(name: str) -> None:
    """With the change of the penalty's weight, and of Adam's state, after the second of five steps."""
    case = CASES[name]
    features, classifier = networks_of(case)
    network, algorithm = nn.Sequential(features, classifier), algorithm_of(case, classifier)
    optimizer = adam(features, classifier, case["lr"])
    for step, expected in nonempty(enumerate(case["results"])):
        optimizer.zero_grad()
        batch = batch_of(case, step, network, classifier)
        if name == "mixup":
            order, weights = case["draws"][step]["order"], case["draws"][step]["weights"]
            loss = mixed_loss(batch, list(zip(order, [*order[1:], order[0]], weights, strict=True)))
        else:
            loss = algorithm(batch)
        loss.backward()
        optimizer.step()
        if algorithm.after_step(network):
            optimizer = adam(features, classifier, case["lr"])
        stated = expected["loss"] + case["options"].get("mmd_gamma", 0) * expected.get("penalty", 0)
        assert float(loss.detach()) == pytest.approx(stated, abs=1e-10)
    for key, values in nonempty(case["end"]["features"].items()):
        torch.testing.assert_close(features.state_dict()[key], torch.tensor(values), atol=1e-9, rtol=1e-9)


def random_losses(num_groups: int = 3, each: int = 5, seed: int = 0) -> tuple[Batch, NDArray[np.float64]]:
    """Return a batch with random outputs, and the losses of its groups computed with numpy."""
    draw = np.random.default_rng(seed)
    logit, y = draw.normal(size=(num_groups * each, 1)), draw.integers(0, 2, num_groups * each).astype(float)
    of_image = np.logaddexp(0, logit[:, 0]) - y * logit[:, 0]
    group = draw.permutation(np.arange(num_groups).repeat(each))
    targets = torch.tensor(y)

    def loss(output_NO: Tensor, index_N: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output_NO[:, 0], targets[index_N])

    outputs = torch.tensor(logit)
    batch = Batch(outputs, torch.arange(len(y)), torch.tensor(group), nn.Identity(), nn.Identity(), loss, 0)  # type: ignore[arg-type]
    return batch, np.array([of_image[group == g].mean() for g in range(num_groups)])


def built(name: str, num_groups: int = 3, **options: object) -> Algorithm:
    entry = REGISTRY.sections["algorithms"][name]
    return build_algorithm(Entry("algorithms", name, entry.use, dict(entry.options) | options, entry.facts), num_groups, nn.Linear(3, 1))  # fmt: skip


def test_groupdro_weighs_the_groups_by_their_losses_so_far() -> None:
    algorithm, q = built("groupdro", eta=0.7).double(), np.ones(3)
    for seed in range(4):
        batch, losses = random_losses(seed=seed)
        q = q * np.exp(0.7 * losses)
        q /= q.sum()
        assert float(algorithm(batch)) == pytest.approx(q @ losses, abs=1e-9)
        algorithm.after_step(nn.Module())
        np.testing.assert_allclose(algorithm.get_buffer("q").numpy(), q)


def test_groupdro_keeps_the_weight_of_a_group_that_the_batch_does_not_have() -> None:
    algorithm = built("groupdro", num_groups=4, eta=0.7).double()
    batch, losses = random_losses()
    grown = np.append(np.exp(0.7 * losses), 1.0)
    assert float(algorithm(batch)) == pytest.approx((grown / grown.sum())[:3] @ losses, abs=1e-9)


def test_irm_changes_the_weight_of_its_penalty_once() -> None:
    algorithm, weights, resets = built("irm", weight=7.0, anneal=2), [], []
    for _ in range(4):
        weights.append(algorithm.penalty_weight)
        resets.append(algorithm.after_step(nn.Module()))
    assert weights == [1.0, 1.0, 7.0, 7.0]
    assert resets == [False, True, False, False]


@pytest.mark.usefixtures("doubles")
def test_dann_takes_the_steps_of_domainbed_where_network_and_discriminator_take_turns() -> None:
    case = CASES["dann"]
    features, classifier = networks_of(case)
    network = nn.Sequential(features, classifier)
    entry = REGISTRY.sections["algorithms"]["dann"]
    algorithm = build_algorithm(Entry("algorithms", "dann", entry.use, {"weight": 1.0, "width": 5}), 3, classifier)
    discriminator = algorithm.get_submodule("discriminator")
    start = case["start"]["discriminator"]
    places = {"input": 0, "hiddens.0": 2, "output": 4}  # of the layers of DomainBed
    named = {
        f"{i}.{kind}": torch.tensor(start[f"{layer}.{kind}"])
        for layer, i in places.items()
        for kind in ("weight", "bias")
    }
    discriminator.load_state_dict(named)
    groups = [{"params": features.parameters()}, {"params": classifier.parameters(), "lr": 2 * case["lr"]}]
    of_network = torch.optim.Adam(groups, lr=case["lr"], betas=(0.9, 0.9))
    of_discriminator = torch.optim.Adam(discriminator.parameters(), lr=case["lr"], betas=(0.9, 0.9))
    for step, expected in nonempty(enumerate(case["results"])):
        batch = batch_of(case, step, network, classifier)
        network.zero_grad()
        discriminator.zero_grad()
        algorithm(batch).backward()
        outputs, feature_ND = batch.outputs_and_features()
        own, of_groups = (
            float(loss.detach()) for loss in (batch.loss(outputs), algorithm.group_loss(batch, feature_ND))
        )  # type: ignore[operator]
        if "gen_loss" in expected:
            assert own - of_groups == pytest.approx(expected["gen_loss"], abs=1e-10)
            of_network.step()
        else:
            assert of_groups == pytest.approx(expected["disc_loss"], abs=1e-10)
            of_discriminator.step()
    for key, values in nonempty(case["end"]["features"].items()):
        torch.testing.assert_close(features.state_dict()[key], torch.tensor(values), atol=1e-9, rtol=1e-9)


def test_irm_multiplies_the_slopes_of_two_halves_of_each_group() -> None:
    """Of the binary cross-entropy, the slope by a factor of the logits z at factor 1 is the mean of (sigmoid(z) - y) z."""
    algorithm = built("irm", weight=7.0, anneal=0)
    draw = np.random.default_rng(3)
    z, y = draw.normal(size=(3, 6)), draw.integers(0, 2, (3, 6)).astype(float)
    slope = (1 / (1 + np.exp(-z)) - y) * z
    penalty = np.mean([part[::2].mean() * part[1::2].mean() for part in slope])
    targets, group_N = torch.tensor(y.flatten()), torch.arange(3).repeat_interleave(6)

    def loss(output_NO: Tensor, index_N: Tensor) -> Tensor:
        return binary_cross_entropy_with_logits(output_NO[:, 0], targets[index_N])

    batch = Batch(torch.tensor(z.reshape(-1, 1)), torch.arange(18), group_N, nn.Identity(), nn.Identity(), loss, 0)  # type: ignore[arg-type]
    mean = (np.logaddexp(0, z) - y * z).mean()
    assert float(algorithm(batch).detach()) == pytest.approx(mean + 7.0 * penalty, abs=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 7), m=st.integers(2, 7), d=st.integers(1, 4))
def test_distances_of_features_are_those_of_the_definitions(seed: int, n: int, m: int, d: int) -> None:
    draw = np.random.default_rng(seed)
    x, y = draw.normal(size=(n, d)), 2 * draw.normal(size=(m, d)) + 1
    covariances = [np.cov(side, rowvar=False).reshape(d, d) for side in (x, y)]
    expected = ((x.mean(0) - y.mean(0)) ** 2).mean() + ((covariances[0] - covariances[1]) ** 2).mean()
    found = mean_and_covariance_distance(torch.tensor(x), torch.tensor(y))
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_mixup_mixes_each_group_with_the_next_of_a_circle_by_weights_of_its_seed() -> None:
    seen: list[Tensor] = []

    def forward(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    group_N = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    x = torch.eye(7).double()

    def loss(output_NO: Tensor, index_N: Tensor) -> Tensor:
        return output_NO[torch.arange(len(index_N)), index_N].mean()

    for seed in (1, 2):
        batch = Batch(x, torch.arange(7), group_N, forward, nn.Identity(), loss, seed)  # type: ignore[arg-type]
        value = float(mixup(batch, 0.2))
        assert float(mixup(batch, 0.2)) == value
    first, again, second, _ = seen
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert first.shape == (6, 7)  # three pairs of two images; the third image of group 0 has no partner
    torch.testing.assert_close(first.sum(1), torch.ones(6).double())
    for mixed in first:
        groups = {int(group_N[i]) for i in torch.nonzero(mixed).flatten()}
        assert len(groups) == 2
    squares = (second**2).sum(1).mean()  # the loss of each side is its weight: w w + (1 - w) (1 - w)
    assert value == pytest.approx(float(squares), abs=1e-12)


def grouped_cohort(num_groups: int = 2, n: int = 40) -> tuple[Any, Examples, Examples]:
    """Return images, training examples in groups of unequal size, and validation examples."""
    reader, internal, val = a_cohort(n)
    group_N = np.minimum(np.arange(len(internal)) // 4, num_groups - 1).astype(np.int64)
    examples = Examples(internal.image_id, internal.patient_id, internal.rows, internal.state_NK, group_N=group_N)
    return reader, examples, val


def train_groups(run: RunSpec, last: Path, stop_at: int | None = None, num_groups: int = 2) -> TrainingResult:
    torch.set_num_threads(1)
    reader, internal, val = grouped_cohort(num_groups) if run.group_column else a_cohort()
    network = build(run.entries["architecture"].use, run.entries["architecture"].options, K, 1, None, 0)

    def progress(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise KeyboardInterrupt

    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    return fit(run, network, normalizer, reader, internal, {"val": val}, CPU, last, progress)


def with_anneal(run: RunSpec, steps: int) -> RunSpec:
    """Return the run with another step at which the penalty's weight changes."""
    own = run.entries["algorithm"]
    options = dict(own.options) | ({"anneal": steps} if "anneal" in own.options else {})
    changed = Entry(own.section, own.name, own.use, options, own.facts)
    return RunSpec(run.id, run.config, {**run.entries, "algorithm": changed}, run.document, None)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in REGISTRY.sections["algorithms"] if n != "erm"])
def test_a_run_with_an_algorithm_that_was_stopped_ends_with_the_same_bits(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the second epoch of three steps, after the checkpoint of its first step.

    The penalty's weight changes in the third epoch.
    """
    monkeypatch.setattr(checkpoint, "EVERY_S", 0)
    run = with_anneal(a_run(algorithm=name, groups="sex"), 7)
    whole = train_groups(run, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train_groups(run, tmp_path / "stopped.pt", stop_at=5)
    saved = load_checkpoint(tmp_path / "stopped.pt", run.id)
    assert "algorithm" in saved
    assert saved["epoch"][0] == 1
    resumed = train_groups(run, tmp_path / "stopped.pt")
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    assert resumed.gradient_evaluations == whole.gradient_evaluations


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUPED)
def test_an_algorithm_that_compares_groups_gives_other_weights_than_erm(name: str, tmp_path: Path) -> None:
    plain = weights_sha256(train_groups(a_run(), tmp_path / "erm.pt").network)
    assert weights_sha256(train_groups(a_run(algorithm=name), tmp_path / f"{name}.pt").network) != plain


@pytest.mark.slow
def test_swa_stores_the_mean_of_the_weights_after_its_epochs_with_statistics_of_these_weights(tmp_path: Path) -> None:
    """Of four epochs with `start` 0.5, the last two are averaged; the weights after each epoch are in the checkpoint."""
    run = a_run(
        algorithm="swa", selection="last", schedule=Schedule(epochs=4, batch_size=8, lr=1e-3), augmentation="none"
    )
    ends: list[dict[str, Tensor]] = []
    for last in (3, 4):
        with contextlib.suppress(KeyboardInterrupt):
            train(run, tmp_path / "c.pt", stop_at=3 * last + 1)
        ends.append(load_checkpoint(tmp_path / "c.pt", run.id)["network"])
    trained = train(run, tmp_path / "c.pt")
    assert trained.best_epoch == 4
    stored = trained.network.state_dict()
    learned = [name for name, _ in trained.network.named_parameters()]
    for name in learned:
        torch.testing.assert_close(stored[name], (ends[0][name] + ends[1][name]) / 2, atol=1e-7, rtol=1e-6)
    assert not torch.equal(stored[learned[0]], ends[1][learned[0]])
    statistics = [name for name in stored if name.endswith("running_mean")]
    assert any(not torch.allclose(stored[n], (ends[0][n] + ends[1][n]) / 2, atol=1e-5) for n in statistics)
    reader, internal, _ = a_cohort()
    trained.network.eval()
    inputs: list[Tensor] = []
    norm = next(m for m in trained.network.modules() if isinstance(m, nn.BatchNorm2d))
    hook = norm.register_forward_pre_hook(lambda _, own: inputs.append(own[0]))
    order = shuffled(0, 4, 28)
    normalizer = Normalizer(["imagenet"], trained.network.mean, trained.network.std, 1)
    with torch.no_grad():
        for i in range(3):
            trained.network(normalizer(reader(internal.rows[order[8 * i : 8 * i + 8]]), None, of_bytes=False))
    hook.remove()
    means = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, means, atol=1e-5, rtol=1e-4)


JTT = {
    "algorithm": "jtt",
    "augmentation": "none",
    "schedule": Schedule(epochs=3, batch_size=8, lr=1e-3, pretrain_epochs=1),
}


def test_jtt_starts_again_with_more_weight_on_the_errors_of_its_first_training() -> None:
    step, internal = a_step(a_run(**JTT))
    start = {name: tensor.clone() for name, tensor in step.network.state_dict().items()}
    before = step.training_loss.weight_NK.clone()
    epoch_of(step, 1)
    assert not torch.equal(step.network.state_dict()["backbone.fc.weight"], start["backbone.fc.weight"])
    reader, _, _ = a_cohort()
    logit_NK, _ = predict(step.network, step.normalizer, reader, internal.rows, CPU)
    target_NK = step.training_loss.targets.target_NK.numpy()
    wrong_NK = (before.numpy() > 0) & ((logit_NK > 0) != (target_NK > 0.5))
    assert 0 < wrong_NK.sum() < (before > 0).sum()
    step.begin_epoch(2)
    assert all(torch.equal(tensor, start[name]) for name, tensor in step.network.state_dict().items())
    np.testing.assert_array_equal(step.training_loss.weight_NK.numpy(), before.numpy() * np.where(wrong_NK, 5, 1))
    assert not step.optimizer.state
    step.begin_epoch(3)
    np.testing.assert_array_equal(step.training_loss.weight_NK.numpy(), before.numpy() * np.where(wrong_NK, 5, 1))


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [5, 8])
def test_jtt_that_was_stopped_ends_with_the_same_bits_and_never_selects_its_first_training(
    stop_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the first and within the second epoch of the second training."""
    monkeypatch.setattr(checkpoint, "EVERY_S", 0)
    whole = train(a_run(**JTT), tmp_path / "whole.pt")
    assert whole.best_epoch > 1
    with pytest.raises(KeyboardInterrupt):
        train(a_run(**JTT), tmp_path / "stopped.pt", stop_at=stop_at)
    resumed = train(a_run(**JTT), tmp_path / "stopped.pt")
    assert weights_sha256(resumed.network) == weights_sha256(whole.network)


def test_epochs_before_the_mean_are_never_selected(tmp_path: Path) -> None:
    schedule = Schedule(epochs=4, batch_size=8, lr=3e-3)
    trained = train(a_run(algorithm="swa", schedule=schedule), tmp_path / "c.pt")
    assert trained.best_epoch in (3, 4)


def test_a_checkpoint_of_erm_has_no_algorithm_and_its_run_no_entry(tmp_path: Path) -> None:
    run = a_run(algorithm="erm", groups="hospital")
    assert run.id == a_run().id
    assert b"algorithm" not in run.document
    assert b"groups" not in run.document
    train(run, tmp_path / "c.pt")
    assert "algorithm" not in load_checkpoint(tmp_path / "c.pt", run.id)


@pytest.mark.slow
def test_the_entry_erm_is_training_without_an_algorithm(tmp_path: Path) -> None:
    """A user's algorithm that returns the loss of the batch trains the same weights, bit by bit."""
    plain, entry = a_run(), REGISTRY.sections["algorithms"]["erm"]
    explicit = RunSpec(plain.id, plain.config, {**plain.entries, "algorithm": entry}, plain.document, None)
    found = [weights_sha256(train(run, tmp_path / f"{i}.pt").network) for i, run in enumerate((plain, explicit))]
    assert found[0] == found[1]


@pytest.mark.parametrize(("sizes", "batch"), [((5, 23), 8), ((3, 11, 20), 8), ((1, 30), 7)])
def test_every_batch_has_the_same_number_of_images_of_each_group(sizes: tuple[int, ...], batch: int) -> None:
    group_N = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    order = group_balanced(group_N, batch, 0, 1)
    batches = order.reshape(-1, batch)
    assert len(batches) == len(group_N) // batch
    counts = np.array([[(group_N[images] == g).sum() for g in range(len(sizes))] for images in batches])
    assert counts.max() - counts.min() <= 1
    assert np.ptp(counts.sum(axis=0)) <= len(sizes)
    for g in range(len(sizes)):  # all images of a group are shown before one is shown again
        shown = np.bincount(order[group_N[order] == g], minlength=len(group_N))[group_N == g]
        assert np.ptp(shown) <= 1
    assert not np.array_equal(order, group_balanced(group_N, batch, 0, 2))
    assert not np.array_equal(order, group_balanced(group_N, batch, 1, 1))


@pytest.mark.slow
def test_an_epoch_of_an_algorithm_has_as_many_steps_as_one_of_erm(tmp_path: Path) -> None:
    counts = {
        name: train_groups(a_run(algorithm=name), tmp_path / f"{name}.pt").gradient_evaluations
        for name in ("erm", "groupdro")
    }
    assert counts["groupdro"] == counts["erm"]


def test_groups_that_cannot_be_compared_end_the_run_before_its_first_step(tmp_path: Path) -> None:
    steps: list[int] = []
    with pytest.raises(TrainingError, match="groupdro compares groups, and the readable training images have 1"):
        train_groups(a_run(algorithm="groupdro"), tmp_path / "c.pt", num_groups=1)
    reader, internal, val = grouped_cohort()
    missing = Examples(internal.image_id, internal.patient_id, internal.rows, internal.state_NK, group_N=internal.group_N * 2)  # fmt: skip
    run = a_run(algorithm="groupdro")
    network = build(run.entries["architecture"].use, run.entries["architecture"].options, K, 1, None, 0)
    normalizer = Normalizer(["imagenet"], network.mean, network.std, 1)
    with pytest.raises(TrainingError, match="algorithm: groupdro: a group has no training images"):
        fit(run, network, normalizer, reader, missing, {"val": val}, CPU, tmp_path / "d.pt", lambda *_: steps.append(1))
    assert not steps


def test_a_batch_of_an_algorithm_is_never_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(self: nn.Module, x_NCHW: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("bench.models.network.Network.outputs", too_large)
    with pytest.raises(TooLargeError, match="the algorithm needs whole batches"):
        train_groups(a_run(algorithm="irm"), tmp_path / "c.pt")


def test_a_repeated_step_does_not_change_the_state_of_an_algorithm_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = built("groupdro", eta=0.7).double()
    batch, _ = random_losses()
    first, again = float(algorithm(batch)), float(algorithm(batch))
    assert first == again
    assert algorithm.get_buffer("q").tolist() == [1.0, 1.0, 1.0]


def test_targets_keep_the_groups_of_the_images_that_are_trained_on() -> None:
    _, internal, _ = grouped_cohort()
    targets = TrainingTargets.of(a_run(), internal, CPU)
    assert internal.group_N is not None
    taken = targets.take(np.array([9, 0, 3]))
    assert taken.group_N is not None
    assert taken.group_N.tolist() == internal.group_N[[9, 0, 3]].tolist()
