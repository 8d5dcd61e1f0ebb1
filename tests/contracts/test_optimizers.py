"""What every optimizer of the registry promises, driven as the training loop drives it: by `step(closure)`."""

from collections.abc import Callable
from io import BytesIO

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Entry
from bench.training.optimizers.build import build, load_optimizer_state, use_fused
from bench.training.optimizers.lion import Lion
from bench.training.optimizers.sam import SAM
from tests.nonempty import nonempty


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 9),
    )


def closure(network: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(32, 1, 16, 16, generator=generator)
    target = (images.mean((1, 2, 3))[:, None] > 0).float().expand(-1, 9)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = binary_cross_entropy_with_logits(network(images), target)
        value.backward()
        return value

    return loss


def made(optimizer: Entry, network: nn.Module, **changes: float) -> torch.optim.Optimizer:
    """Build an optimizer of the registry, ready to train as `bench.training.step` makes it."""
    built = build(optimizer.use, optimizer.options, network, **changes)
    if hasattr(built, "train"):
        built.train()
    return built


def test_the_loss_falls_on_a_learnable_batch(optimizer: Entry) -> None:
    network = small_network()
    built = made(optimizer, network, lr=optimizer.options["lr"] * 100)
    step = closure(network, built)
    losses = [float(built.step(step).detach()) for _ in range(60)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_resumed_optimizer_takes_the_same_next_step(optimizer: Entry) -> None:
    network = small_network()
    built = made(optimizer, network)
    for _ in range(3):
        built.step(closure(network, built))
    if hasattr(built, "eval"):
        built.eval()
    file = BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": built.state_dict()}, file)
    file.seek(0)
    if hasattr(built, "train"):
        built.train()
    built.step(closure(network, built))

    saved = torch.load(file, weights_only=True)
    again = small_network()
    again.load_state_dict(saved["network"])
    resumed = made(optimizer, again)
    resumed.load_state_dict(saved["optimizer"])
    if hasattr(resumed, "train"):
        resumed.train()
    resumed.step(closure(again, resumed))
    for ours, theirs in nonempty(zip(network.state_dict().values(), again.state_dict().values(), strict=True)):
        assert torch.equal(ours, theirs)


def test_learning_rate_and_decay_of_zero_change_no_weight(optimizer: Entry) -> None:
    network = small_network()
    before = [p.clone() for p in network.parameters()]
    built = made(optimizer, network, lr=0.0, weight_decay=0.0)
    for _ in range(3):
        built.step(closure(network, built))
    if hasattr(built, "eval"):
        built.eval()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_scheduler_drives_the_learning_rate_also_after_a_resume(optimizer: Entry) -> None:
    if optimizer.facts.get("schedule"):
        pytest.skip("it takes no schedule")
    network = small_network()
    built = made(optimizer, network)
    built.load_state_dict(built.state_dict())
    schedule = torch.optim.lr_scheduler.LambdaLR(built, lambda step: 1.0 if step == 0 else 0.0)
    built.step(closure(network, built))
    schedule.step()
    before = [p.clone() for p in network.parameters()]
    built.step(closure(network, built))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_norms_and_biases_never_decay(optimizer: Entry) -> None:
    network = small_network()
    built = made(optimizer, network, weight_decay=0.3)
    decay = {id(p): group["weight_decay"] for group in built.param_groups for p in group["params"]}
    assert all(decay[id(p)] == (0.3 if p.ndim > 1 else 0.0) for p in network.parameters())


def test_parameters_of_the_loss_learn_with_the_networks_and_never_decay(optimizer: Entry) -> None:
    network, own = small_network(), nn.Parameter(torch.ones(3, 2))
    built = build(optimizer.use, optimizer.options, network, weight_decay=0.3, loss_parameters=[own])
    if hasattr(built, "train"):
        built.train()
    for _ in range(2):  # the first step of SOAP prepares the second
        built.step(closure_with(network, own, built))
    assert not torch.equal(own, torch.ones(3, 2))
    group = next(group for group in built.param_groups if any(p is own for p in group["params"]))
    assert group["weight_decay"] == 0.0


def closure_with(network: nn.Module, own: nn.Parameter, optimizer: torch.optim.Optimizer) -> Callable[[], Tensor]:
    plain = closure(network, optimizer)

    def both() -> Tensor:
        loss = plain()
        (own.square().sum()).backward()
        return loss

    return both


def test_every_optimizer_names_its_source(optimizer: Entry) -> None:
    assert optimizer.paper.startswith(("arXiv:", "https://"))


def test_adam_is_fused_on_a_gpu_alone_and_an_option_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (torch.optim.AdamW, torch.optim.Adam):
        assert use_fused(kind, {"lr": 0.1}, {"cuda"})
        assert not use_fused(kind, {}, {"cpu"})
        assert not use_fused(kind, {}, {"cuda", "cpu"})
        for name in ("fused", "foreach", "capturable", "differentiable"):
            assert not use_fused(kind, {name: False}, {"cuda"})
    for other in (torch.optim.SGD, torch.optim.RMSprop, Lion, SAM):
        assert not use_fused(other, {}, {"cuda"})
    assert build(torch.optim.AdamW, {}, small_network()).defaults["fused"] is None
    assert build(torch.optim.AdamW, {"fused": True}, small_network()).defaults["fused"] is True
    monkeypatch.setattr("bench.training.optimizers.build.use_fused", lambda *_: True)
    assert build(torch.optim.AdamW, {}, small_network()).defaults["fused"] is True


def test_torchs_fused_adam_takes_the_steps_of_the_plain_one() -> None:
    ends = []
    for fused in (True, False):
        network = small_network().to(memory_format=torch.channels_last)
        optimizer = build(torch.optim.AdamW, {"fused": fused}, network, lr=1e-2, weight_decay=0.1)
        for _ in range(5):
            optimizer.step(closure(network, optimizer))
        ends.append([p.detach() for p in network.parameters()])
    for one, other in nonempty(zip(*ends, strict=True)):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(True, None), (None, True), (False, None)])
def test_a_state_from_another_kind_of_device_does_not_say_how_steps_are_taken(before: object, after: object) -> None:
    network = small_network()
    stored = build(torch.optim.AdamW, {"fused": before}, network)
    stored.step(closure(network, stored))
    optimizer = build(torch.optim.AdamW, {"fused": after}, network)
    load_optimizer_state(optimizer, stored.state_dict())
    assert all(group["fused"] is after for group in optimizer.param_groups)
    optimizer.step(closure(network, optimizer))
    assert all(optimizer.state[p]["step"] == 2 for p in network.parameters())
