"""What every loss of the registry promises."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from bench.config.registry import Entry
from bench.training.training_loss import build_loss

EVERYTHING = torch.ones(8, 9)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(8, 9, generator=generator)
    target = torch.randint(2, (8, 9), generator=generator).float()
    weight = torch.randint(2, (8, 9), generator=generator).float()
    return logit.requires_grad_(), target, weight


def built(loss: Entry) -> Callable[..., Tensor]:
    """Return the loss as training has it, made from a training split like the batch."""
    return build_loss(loss, batch()[1], EVERYTHING)


def test_a_loss_ignores_pairs_of_weight_zero_even_when_they_are_nan(loss: Entry) -> None:
    logit, target, weight = batch()
    function = built(loss)
    expected = function(logit, target, weight)
    for other in (1 - target, torch.full_like(target, torch.nan)):
        changed = function(logit, torch.where(weight == 0, other, target), weight)
        torch.testing.assert_close(changed, expected)
        (gradient,) = torch.autograd.grad(changed, logit)
        assert bool((gradient[weight == 0] == 0).all())
        assert bool(torch.isfinite(gradient).all())


def test_a_loss_of_no_pair_is_zero_and_teaches_nothing(loss: Entry) -> None:
    logit, target, weight = batch()
    value = built(loss)(logit, target, torch.zeros_like(weight))
    value.backward()
    assert float(value.detach()) == 0
    assert logit.grad is not None
    assert bool((logit.grad == 0).all())


def test_a_loss_falls_when_logits_move_to_the_targets(loss: Entry) -> None:
    logit, target, weight = batch()
    better = logit + 0.5 * (2 * target - 1)
    function = built(loss)
    assert function(better, target, weight) < function(logit, target, weight)


def test_a_loss_stays_finite_at_extreme_logits(loss: Entry) -> None:
    _, target, weight = batch()
    for size in (30.0, 1e4):
        logit = (size * torch.sign(torch.arange(72).reshape(8, 9) % 2 - 0.5)).requires_grad_()
        value = built(loss)(logit, target, weight)
        (gradient,) = torch.autograd.grad(value, logit)
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(gradient).all())


def test_training_by_a_loss_ranks_a_learnable_batch(loss: Entry) -> None:
    torch.manual_seed(0)
    x = torch.randn(32, 5)
    target = (x @ torch.randn(5, 3) > 0).float()
    weight = (torch.rand(32, 3) > 0.2).float()
    network, function = nn.Linear(5, 3), build_loss(loss, target, weight)
    own = list(function.parameters()) if isinstance(function, nn.Module) else []
    optimizer = torch.optim.Adam([*network.parameters(), *own], lr=0.05)

    def area() -> float:
        score = network(x)
        pair = (weight * target)[:, None] * (weight * (1 - target))[None]
        return float((pair * (score[:, None] > score[None])).sum() / pair.sum())

    before, losses = area(), []
    for _ in range(60):
        optimizer.zero_grad()
        value = function(network(x), target, weight)
        value.backward()
        optimizer.step()
        if hasattr(function, "after_step"):
            function.after_step()
        losses.append(float(value.detach()))
    assert before < 0.9 < 0.97 < area()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("rows", [1, 2, 8])
@pytest.mark.parametrize("positives", ["none", "all", "some"])
def test_a_loss_is_finite_with_its_gradient_on_any_batch(loss: Entry, rows: int, positives: str) -> None:
    function = built(loss)
    target = {"none": torch.zeros(rows, 9), "all": torch.ones(rows, 9), "some": batch()[1][:rows]}[positives]
    for scale in (0.0, 1.0, 1e4):
        for sign in (1, -1):
            logit = (sign * scale * (2 * target - 1)).requires_grad_()
            value = function(logit, target, torch.ones(rows, 9))
            value.backward()
            assert bool(torch.isfinite(value))
            assert logit.grad is not None
            assert bool(torch.isfinite(logit.grad).all())


def test_a_loss_takes_soft_targets_as_chances_between_those_of_hard_ones(loss: Entry) -> None:
    """Between 0 and 1 the loss moves with the target, and stays finite: smoothed policies go with every loss."""
    logit, target, weight = batch()
    function = built(loss)
    soft = 0.1 + 0.8 * target
    value = function(logit, soft, weight)
    (gradient,) = torch.autograd.grad(value, logit)
    assert bool(torch.isfinite(gradient).all())
    assert float(value.detach()) != float(function(logit, target, weight).detach())


def test_a_loss_of_half_precision_logits_is_float32(loss: Entry) -> None:
    logit, target, weight = batch()
    assert built(loss)(logit.bfloat16(), target, weight).dtype == torch.float32
