"""SAM and ASAM against the paper, a hand-worked example, and the ways in which SAM goes wrong without a word."""

from collections.abc import Callable

import pytest
import pytorch_optimizer
import torch
from torch import Tensor, nn

from bench.training.optimizers.build import build
from bench.training.optimizers.sam import SAM
from tests.nonempty import nonempty


def quadratic(weight: nn.Parameter, seen: list[list[float]]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        weight.grad = None
        seen.append(weight.tolist())
        loss = 0.5 * weight.square().sum()
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize(
    ("adaptive", "climbed", "after"),
    [(False, [3.06, 4.08], [2.694, 3.592]), (True, [3.147078, 4.348631], [2.685292, 3.565137])],
    ids=["sam", "asam"],
)
def test_a_step_is_the_one_worked_by_hand(adaptive: bool, climbed: list[float], after: list[float]) -> None:
    weight = nn.Parameter(torch.tensor([3.0, 4.0]))
    seen: list[list[float]] = []
    optimizer = SAM([weight], base="torch.optim:SGD", rho=0.1, adaptive=adaptive, eta=0.0, lr=0.1)
    loss = optimizer.step(quadratic(weight, seen))
    assert float(loss.detach()) == 12.5
    assert seen[0] == [3.0, 4.0]
    torch.testing.assert_close(torch.tensor(seen[1]), torch.tensor(climbed))
    torch.testing.assert_close(weight.detach(), torch.tensor(after))


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_over_momentum_equals_its_twin_written_from_the_paper(adaptive: bool) -> None:
    torch.manual_seed(0)
    matrix, offset = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    first, second = nn.Parameter(torch.randn(3).double()), nn.Parameter(torch.randn(1).double())
    groups = [{"params": [first]}, {"params": [second], "weight_decay": 0.0}]
    options = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    optimizer = SAM(groups, base="torch.optim:SGD", rho=0.3, adaptive=adaptive, eta=0.01, **options)

    def slope(w: Tensor) -> Tensor:
        return matrix.T @ torch.tanh(matrix @ w - offset)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = torch.log(torch.cosh(matrix @ torch.cat([first, second]) - offset)).sum()
        loss.backward()
        return loss

    w, velocity = torch.cat([first, second]).detach(), torch.zeros(4, dtype=torch.float64)
    decay = torch.tensor([0.1, 0.1, 0.1, 0.0], dtype=torch.float64)
    for _ in range(30):
        optimizer.step(closure)
        scale = w.abs() + 0.01 if adaptive else torch.ones(4, dtype=torch.float64)
        gradient = slope(w)
        climb = 0.3 * scale**2 * gradient / (scale * gradient).norm()
        velocity = 0.9 * velocity + slope(w + climb) + decay * w
        w = w - 0.02 * velocity
    torch.testing.assert_close(torch.cat([first, second]).detach(), w, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_over_adamw_equals_an_independent_implementation(adaptive: bool) -> None:
    """Theirs measures the adaptive climb relative to |w| alone: eta 0."""
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    options = {"lr": 0.01, "weight_decay": 0.1}
    one = SAM(ours.parameters(), base="torch.optim:AdamW", rho=0.2, adaptive=adaptive, eta=0.0, **options)
    two = pytorch_optimizer.SAM(theirs.parameters(), torch.optim.AdamW, rho=0.2, adaptive=adaptive, **options)
    for _ in range(20):
        one.step(learn(ours, one))
        learn(theirs, two)()
        two.first_step(zero_grad=True)
        learn(theirs, two)()
        two.second_step(zero_grad=True)
    for a, b in nonempty(zip(ours.parameters(), theirs.parameters(), strict=True)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_the_weights_come_back_exactly_when_the_base_stands_still() -> None:
    torch.manual_seed(0)
    network = nn.Linear(5, 3)
    before = [p.clone() for p in network.parameters()]
    optimizer = build(SAM, {"base": "torch.optim:SGD", "rho": 0.37, "lr": 0.0}, network)
    optimizer.step(learn(network, optimizer))
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def learn(network: nn.Module, optimizer: torch.optim.Optimizer, clip: float = 0.0) -> Callable[[], Tensor]:
    x = torch.randn(16, 5, generator=torch.Generator().manual_seed(2))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = (network(x) - x[:, :3]).square().mean()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        return loss

    return closure


def normed() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def test_batch_norm_sees_the_batch_once() -> None:
    network, plain = normed(), normed()
    optimizer = build(SAM, {"lr": 0.1, "rho": 0.5}, network)
    torch.manual_seed(3)
    optimizer.step(learn(network, optimizer))
    torch.manual_seed(3)
    plain(torch.randn(16, 5, generator=torch.Generator().manual_seed(2)))
    for ours, theirs in zip(network.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)
    assert int(network[1].num_batches_tracked) == 1


def test_both_passes_drop_the_same_units_and_the_next_step_drops_others() -> None:
    network = normed()
    masks: list[Tensor] = []
    network[3].register_forward_hook(lambda _m, _i, out: masks.append(out == 0))
    optimizer = build(SAM, {"lr": 0.0, "rho": 1e-6, "weight_decay": 0.0}, network)
    for _ in range(2):
        optimizer.step(learn(network, optimizer))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_failed_second_pass_leaves_no_climbed_weights() -> None:
    network = nn.Linear(5, 3)
    before = network.weight.detach().clone()
    optimizer = build(SAM, {"lr": 0.1}, network)
    closure, calls = learn(network, optimizer), iter([False, True])

    def failing() -> Tensor:
        if next(calls):
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert torch.equal(network.weight, before)


def test_its_checkpoint_holds_the_momentum_of_the_base() -> None:
    network = nn.Linear(5, 3)
    optimizer = build(SAM, {"lr": 0.1}, network)
    optimizer.step(learn(network, optimizer))
    state = optimizer.state_dict()["state"]
    assert len(state) == 2
    assert all("exp_avg" in values for values in state.values())


def test_clipping_in_the_closure_clips_the_second_gradient_only() -> None:
    clipped, by_hand = nn.Linear(5, 3), nn.Linear(5, 3)
    by_hand.load_state_dict(clipped.state_dict())
    options = {"base": "torch.optim:SGD", "lr": 1.0, "rho": 0.5}
    one, two = build(SAM, options, clipped), build(SAM, options, by_hand)
    plain, cutting = learn(by_hand, two), learn(by_hand, two, clip=0.01)
    turns = iter([plain, cutting])
    one.step(learn(clipped, one, clip=0.01))

    def second_only() -> Tensor:
        return next(turns)()

    two.step(second_only)
    torch.testing.assert_close(clipped.weight, by_hand.weight, rtol=0, atol=1e-7)


def test_bf16_autocast_around_the_step_sees_the_climbed_weights() -> None:
    network = nn.Linear(5, 3)
    losses: list[float] = []
    optimizer = build(SAM, {"lr": 0.0, "rho": 1.0, "weight_decay": 0.0}, network)
    closure = learn(network, optimizer)

    def watched() -> Tensor:
        loss = closure()
        losses.append(float(loss.detach()))
        return loss

    with torch.autocast("cpu", torch.bfloat16):
        optimizer.step(watched)
    assert losses[1] > losses[0] + 0.1


def test_without_a_closure_it_says_why_it_needs_one() -> None:
    with pytest.raises(ValueError, match="closure"):
        SAM([nn.Parameter(torch.ones(1))], lr=0.1).step()
