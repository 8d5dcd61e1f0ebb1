"""Losses: (logit_NK, target_NK, weight_NK, **options) -> a scalar, the weighted mean over all pairs of image and finding.

N images, K findings. A target in [0, 1] is the probability that the finding is present. A weight of 0 excludes the pair,
even when its target is NaN. When all pairs are excluded, the loss and its gradient are 0. Half-precision logits are
converted to float32 first.

A registry entry names a function or a class. A class is constructed from the targets and weights of all training
images, `Loss(target_NK, weight_NK, **options)`, and then called like a function. So it can use the class balance of the
training split. Losses on the ranking of images are in `bench.training.auc_losses`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from bench.inputs.device_transfer import constant


def bce(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | Tensor | None = None
) -> Tensor:
    """Return binary cross-entropy; `pos_weight` [K] multiplies the positive term of each finding.

    >>> bce(torch.zeros(2, 9), torch.ones(2, 9), torch.ones(2, 9))
    tensor(0.6931)
    """
    return weighted_mean(_cross_entropy(logit_NK, target_NK, weight_NK, pos_weight), weight_NK)


def bce_smooth(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, ls_pos: float = 0.95, ls_neg: float = 0.05
) -> Tensor:
    """Return `bce` on targets rescaled from [0, 1] to [ls_neg, ls_pos].

    Label smoothing by e is ls_pos = 1 - e/2 and ls_neg = e/2.
    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; here ls_pos and ls_neg are set independently.
    """
    return bce(logit_NK, smoothed(target_NK, ls_pos, ls_neg), weight_NK)


class BalancedBCE(nn.Module):
    """`bce` with the positive term weighted by N_negative / N_positive of the training split.

    `ls_pos` and `ls_neg` smooth the targets of the loss. N_positive and N_negative are counted on the original targets.
    """

    pos_weight_K: Tensor

    def __init__(
        self,
        target_NK: Tensor,
        weight_NK: Tensor,
        clip: float = 10.0,
        *,
        sqrt: bool = False,
        ls_pos: float = 1.0,
        ls_neg: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("pos_weight_K", pos_weight(target_NK, weight_NK, clip, sqrt=sqrt), persistent=False)
        self.ls_pos, self.ls_neg = ls_pos, ls_neg

    def forward(self, logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
        """Return the loss."""
        return bce(logit_NK, smoothed(target_NK, self.ls_pos, self.ls_neg), weight_NK, self.pos_weight_K)


def focal(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Return the focal loss: cross-entropy times (1 - p_true)^gamma, which reduces the weight of easy pairs.

    p_true is the probability that the network gives to the true class; for a soft target, p_true is interpolated. With gamma 0
    the loss is `bce`. The weight of positives is `alpha`, the weight of negatives is 1 - alpha; with None, both are 1.
    Source: Lin et al. 2017, arXiv:1708.02002, equations 4 and 5.
    """
    target_NK = masked_targets(target_NK, weight_NK)
    # q_NK is 1 - p_NK, computed without rounding error
    p_NK, q_NK = torch.sigmoid(logit_NK.float()), torch.sigmoid(-logit_NK.float())
    p_false_NK = (target_NK * q_NK + (1 - target_NK) * p_NK).clamp(min=_TINY)
    loss_NK = p_false_NK**gamma * _cross_entropy(logit_NK, target_NK, weight_NK)
    if alpha is not None:
        loss_NK = loss_NK * (alpha * target_NK + (1 - alpha) * (1 - target_NK))
    return weighted_mean(loss_NK, weight_NK)


def asl(
    logit_NK: Tensor,
    target_NK: Tensor,
    weight_NK: Tensor,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
) -> Tensor:
    """Return the asymmetric loss: the focal loss with one gamma per class, and with probabilities shifted for negatives.

    The probability of a negative is reduced by `clip`, so negatives with a probability below `clip` do not count. With all
    three options at 0 the loss is `bce`.
    Source: Ridnik et al. 2021, arXiv:2009.14119, section 2.
    """
    target_NK, logit_NK = masked_targets(target_NK, weight_NK), logit_NK.float()
    p_NK, q_NK = torch.sigmoid(logit_NK), torch.sigmoid(-logit_NK)
    shifted_NK = (p_NK - clip).clamp(min=_TINY)
    log_absent_NK = logsigmoid(-logit_NK) if clip == 0 else (q_NK + clip).clamp(max=1).log()
    positive_NK = q_NK.clamp(min=_TINY) ** gamma_pos * logsigmoid(logit_NK)
    negative_NK = shifted_NK**gamma_neg * log_absent_NK
    return weighted_mean(-(target_NK * positive_NK + (1 - target_NK) * negative_NK), weight_NK)


def three_states(output_NX: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return the cross-entropy over absent, uncertain and present, whose targets are 0, 0.5 and 1.

    `output_NX` has X = 3 K outputs: three for each finding, in this order.
    Source: Irvin et al. 2019, arXiv:1901.07031, section 3 (U-MultiClass).
    """
    output_N3K = output_NX.float().reshape(len(output_NX), -1, 3).transpose(1, 2)
    state_NK = (2 * masked_targets(target_NK, weight_NK)).round().long()
    return weighted_mean(cross_entropy(output_N3K, state_NK, reduction="none"), weight_NK)


def pos_weight(target_NK: Tensor, weight_NK: Tensor, clip: float = 10.0, *, sqrt: bool = False) -> Tensor:
    """Return N_negative / N_positive of each finding [K], or its square root, at most `clip` (0: no limit).

    A soft target t counts as t of a positive and 1 - t of a negative image. A finding without both classes gets 1.
    """
    target_NK = masked_targets(target_NK, weight_NK)
    positive_K, negative_K = (weight_NK * target_NK).sum(0), (weight_NK * (1 - target_NK)).sum(0)
    ratio_K = negative_K / positive_K.clamp(min=_TINY)
    ratio_K = ratio_K.sqrt() if sqrt else ratio_K
    ratio_K = ratio_K.clamp(max=clip) if clip else ratio_K
    return torch.where((positive_K > 0) & (negative_K > 0), ratio_K, 1.0)


def smoothed(target_NK: Tensor, ls_pos: float, ls_neg: float) -> Tensor:
    """Return targets rescaled linearly from [0, 1] to [ls_neg, ls_pos].

    >>> smoothed(torch.tensor([0.0, 1.0]), 0.9, 0.05)
    tensor([0.0500, 0.9000])
    """
    return ls_neg + (ls_pos - ls_neg) * target_NK


def masked_targets(target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return targets with 0 where the weight is 0, because NaN times 0 is NaN, also in the gradient."""
    return torch.where(weight_NK > 0, target_NK, 0.0)


def weighted_mean(loss_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return the weighted mean, or 0 if all weights are 0."""
    return (weight_NK * loss_NK).sum() / weight_NK.sum().clamp(min=1e-8)


_TINY = 1e-30  # smallest base of a power: at base 0, an exponent below 1 would give an infinite gradient


def _cross_entropy(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | Tensor | None = None
) -> Tensor:
    if pos_weight is not None and not isinstance(pos_weight, Tensor):
        pos_weight = constant(tuple(pos_weight), logit_NK.device)
    target_NK = masked_targets(target_NK, weight_NK)
    return binary_cross_entropy_with_logits(logit_NK.float(), target_NK, reduction="none", pos_weight=pos_weight)
