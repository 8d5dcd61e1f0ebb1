"""What every loss of the registry promises."""

import torch
from torch import Tensor

from bench.registry import Entry


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(8, 9, generator=generator)
    target = torch.randint(2, (8, 9), generator=generator).float()
    weight = torch.randint(2, (8, 9), generator=generator).float()
    return logit.requires_grad_(), target, weight


def test_a_loss_ignores_pairs_of_weight_zero_even_when_they_are_nan(loss: Entry) -> None:
    logit, target, weight = batch()
    function = loss.load()
    expected = function(logit, target, weight, **loss.options)
    for other in (1 - target, torch.full_like(target, torch.nan)):
        changed = function(logit, torch.where(weight == 0, other, target), weight, **loss.options)
        torch.testing.assert_close(changed, expected)
        (gradient,) = torch.autograd.grad(changed, logit)
        assert bool((gradient[weight == 0] == 0).all())
        assert bool(torch.isfinite(gradient).all())


def test_a_loss_of_no_pair_is_zero_and_teaches_nothing(loss: Entry) -> None:
    logit, target, weight = batch()
    value = loss.load()(logit, target, torch.zeros_like(weight), **loss.options)
    value.backward()
    assert float(value.detach()) == 0
    assert logit.grad is not None
    assert bool((logit.grad == 0).all())


def test_a_loss_falls_when_logits_move_to_the_targets(loss: Entry) -> None:
    logit, target, weight = batch()
    better = logit + 0.5 * (2 * target - 1)
    function = loss.load()
    assert function(better, target, weight, **loss.options) < function(logit, target, weight, **loss.options)


def test_a_loss_stays_finite_at_extreme_logits(loss: Entry) -> None:
    _, target, weight = batch()
    for size in (30.0, 1e4):
        logit = (size * torch.sign(torch.arange(72).reshape(8, 9) % 2 - 0.5)).requires_grad_()
        value = loss.load()(logit, target, weight, **loss.options)
        (gradient,) = torch.autograd.grad(value, logit)
        assert bool(torch.isfinite(value))
        assert bool(torch.isfinite(gradient).all())
