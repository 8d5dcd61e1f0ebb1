"""Losses against values worked out apart (evidence for each in the comments) and against torchvision."""

import pytest
import torch
from torchvision.ops import sigmoid_focal_loss

from bench.training.losses import BalancedBCE, asl, bce, bce_smooth, focal, pos_weight

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


@pytest.mark.parametrize(
    ("gamma_neg", "gamma_pos", "clip", "expected"), [(4.0, 1.0, 0.05, 0.08930445), (0.0, 0.0, 0.0, 0.3147053)]
)
def test_the_asymmetric_loss_has_the_published_form(
    gamma_neg: float, gamma_pos: float, clip: float, expected: float
) -> None:
    assert float(asl(LOGIT, TARGET, WEIGHT, gamma_neg, gamma_pos, clip)) == pytest.approx(expected, abs=1e-7)


def test_the_asymmetric_loss_counts_no_negative_below_its_shift() -> None:
    logit = torch.tensor([[-4.0]], requires_grad=True)  # p = .018
    asl(logit, torch.zeros(1, 1), torch.ones(1, 1)).backward()
    assert logit.grad is not None
    assert float(logit.grad) == 0


def test_smoothing_moves_both_ends_each_by_itself() -> None:
    assert float(bce_smooth(LOGIT, TARGET, WEIGHT)) == pytest.approx(0.3747054, abs=1e-6)
    ends = torch.where(TARGET == 1, 0.9, torch.where(TARGET == 0, 0.05, torch.nan))
    torch.testing.assert_close(bce_smooth(LOGIT, TARGET, WEIGHT, 0.9, 0.05), bce(LOGIT, ends, WEIGHT))
    torch.testing.assert_close(bce_smooth(LOGIT, TARGET, WEIGHT, 1.0, 0.0), bce(LOGIT, TARGET, WEIGHT))


def test_positives_weigh_as_negatives_outnumber_them_in_training() -> None:
    target = torch.zeros(120, 4)
    target[:10, 0], target[:1, 1], target[:, 2] = 1, 1, 1
    weight = torch.ones(120, 4)
    weight[100:] = 0
    target[100:] = torch.nan  # takes no part: 10 of 100, 1 of 100, all, none
    assert pos_weight(target, weight).tolist() == [9, 10, 1, 1]
    assert pos_weight(target, weight, clip=0).tolist() == [9, 99, 1, 1]
    assert pos_weight(target, weight, sqrt=True).tolist() == pytest.approx([3, 99**0.5, 1, 1])
    assert pos_weight(torch.full((4, 1), 0.25), torch.ones(4, 1)).tolist() == [3]


def test_weighted_bce_has_the_weights_of_training_whatever_the_batch() -> None:
    train = torch.tensor(
        [[1.0, 1, 1], [0, 1, 0], [0, 0, torch.nan], [0, 0, 1], [torch.nan, 0, 0], [torch.nan, 0, torch.nan]]
    )
    loss = BalancedBCE(train, (~train.isnan()).float())
    assert loss.pos_weight_K.tolist() == [3, 2, 1]
    assert float(loss(LOGIT, TARGET, WEIGHT)) == pytest.approx(0.5041060, abs=1e-6)
    smooth = BalancedBCE(train, (~train.isnan()).float(), ls_pos=0.9, ls_neg=0.05)
    ends = torch.where(TARGET == 1, 0.9, torch.where(TARGET == 0, 0.05, torch.nan))
    torch.testing.assert_close(smooth(LOGIT, TARGET, WEIGHT), bce(LOGIT, ends, WEIGHT, [3, 2, 1]))


def test_soft_targets_and_soft_weights_are_taken_as_they_are() -> None:
    half = torch.full((1, 1), 0.5)
    both = (bce(half, half * 2, half) + bce(half, half * 0, half)) / 2
    torch.testing.assert_close(bce(half, half, half), both)
    torch.testing.assert_close(bce(LOGIT, TARGET, WEIGHT * 0.25), bce(LOGIT, TARGET, WEIGHT))


def test_half_precision_logits_are_raised_first() -> None:
    assert bce(LOGIT.bfloat16(), TARGET, WEIGHT).dtype == focal(LOGIT.bfloat16(), TARGET, WEIGHT).dtype == torch.float32


def test_a_known_pair_that_is_nan_is_not_hidden() -> None:
    assert bool(bce(LOGIT, TARGET, torch.ones_like(WEIGHT)).isnan())
