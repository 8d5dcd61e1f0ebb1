"""Losses against values worked out apart (evidence for each in the comments) and against torchvision."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from bench.losses import bce, focal

LOGIT = torch.tensor([[2.0, -1.0, 0.5], [-2.0, 0.0, 1.0]])
TARGET = torch.tensor([[1.0, 0.0, torch.nan], [0.0, 1.0, 1.0]])
WEIGHT = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])


def test_bce_is_the_mean_over_the_five_known_pairs() -> None:
    # elements .1269280 .3132617 - .1269281 .6931472 .3132617
    assert float(bce(LOGIT, TARGET, WEIGHT)) == pytest.approx(0.3147053, abs=1e-6)


def test_bce_multiplies_the_positive_term_of_each_finding() -> None:
    assert float(bce(LOGIT, TARGET, WEIGHT, pos_weight=[3, 2, 1])) == pytest.approx(0.5041060, abs=1e-6)


@pytest.mark.parametrize(
    ("gamma", "alpha", "expected"), [(2.0, 0.25, 0.01355666), (2.0, None, 0.04444201), (0.0, None, 0.3147053)]
)
def test_focal_has_the_published_form(gamma: float, alpha: float | None, expected: float) -> None:
    assert float(focal(LOGIT, TARGET, WEIGHT, gamma, alpha)) == pytest.approx(expected, abs=1e-7)


def test_focal_equals_torchvisions() -> None:
    torch.manual_seed(0)
    logit, target = 3 * torch.randn(50, 9), torch.randint(2, (50, 9)).float()
    theirs = sigmoid_focal_loss(logit, target, alpha=0.25, gamma=2.0, reduction="mean")
    torch.testing.assert_close(focal(logit, target, torch.ones_like(logit), 2.0, 0.25), theirs)


def test_focal_with_gamma_below_one_has_a_gradient_on_certain_pairs() -> None:
    logit = torch.tensor([[200.0, -200.0, 20.0]], requires_grad=True)
    focal(logit, torch.tensor([[1.0, 0.0, 1.0]]), torch.ones(1, 3), gamma=0.5).backward()
    assert logit.grad is not None
    assert bool(torch.isfinite(logit.grad).all())


def test_soft_targets_and_soft_weights_are_taken_as_they_are() -> None:
    half = torch.full((1, 1), 0.5)
    both = (bce(half, half * 2, half) + bce(half, half * 0, half)) / 2
    torch.testing.assert_close(bce(half, half, half), both)
    torch.testing.assert_close(bce(LOGIT, TARGET, WEIGHT * 0.25), bce(LOGIT, TARGET, WEIGHT))


def test_half_precision_logits_are_raised_first() -> None:
    assert bce(LOGIT.bfloat16(), TARGET, WEIGHT).dtype == focal(LOGIT.bfloat16(), TARGET, WEIGHT).dtype == torch.float32


def test_a_known_pair_that_is_nan_is_not_hidden() -> None:
    assert bool(bce(LOGIT, TARGET, torch.ones_like(WEIGHT)).isnan())
