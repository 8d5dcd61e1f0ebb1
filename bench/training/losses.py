"""Losses: (logit_NK, target_NK, weight_NK, **options) -> a scalar, the weighted mean over all pairs of image and finding.

N images, K findings. Targets are in [0, 1]: the chance that the finding is present. A weight of 0 takes a pair out,
whatever its target, NaN included; when all are out, the loss is 0 and so is its gradient. Half-precision logits are
raised to float32 first.

A registry entry names such a function, or a class made from the training images' targets and weights,
`Loss(target_NK, weight_NK, **options)`, and then called like one: so class balance is that of the training split.
Losses on the order of images are in `bench.training.auc_losses`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid

from bench.inputs.device_transfer import constant


def bce(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | Tensor | None = None
) -> Tensor:
    """Return binary cross-entropy; `pos_weight` multiplies the positive term of each finding.

    >>> bce(torch.zeros(2, 9), torch.ones(2, 9), torch.ones(2, 9))
    tensor(0.6931)
    """
    return mean(_cross_entropy(logit_NK, target_NK, weight_NK, pos_weight), weight_NK)


def bce_smooth(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, ls_pos: float = 0.95, ls_neg: float = 0.05
) -> Tensor:
    """Return `bce` on targets that run from `ls_neg` to `ls_pos`; 1 - e/2 and e/2 are label smoothing by e.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7, with both ends free.
    """
    return bce(logit_NK, smoothed(target_NK, ls_pos, ls_neg), weight_NK)


class BalancedBCE(nn.Module):
    """`bce` whose positive term weighs N_negative / N_positive of the finding in training, see `pos_weight`.

    `ls_pos` and `ls_neg` smooth the targets, not the counts.
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
    """Return cross-entropy faded on easy pairs by (1 - p_true)^gamma; gamma 0 is `bce`.

    `alpha` weights positives, 1 - alpha negatives; none by default.
    Source: Lin et al. 2017, arXiv:1708.02002, equations 4 and 5; p_true is interpolated for soft targets.
    """
    target_NK = known(target_NK, weight_NK)
    p_NK, q_NK = torch.sigmoid(logit_NK.float()), torch.sigmoid(-logit_NK.float())  # q = 1 - p, without its rounding
    p_false_NK = (target_NK * q_NK + (1 - target_NK) * p_NK).clamp(min=_TINY)
    loss_NK = p_false_NK**gamma * _cross_entropy(logit_NK, target_NK, weight_NK)
    if alpha is not None:
        loss_NK = loss_NK * (alpha * target_NK + (1 - alpha) * (1 - target_NK))
    return mean(loss_NK, weight_NK)


def asl(
    logit_NK: Tensor,
    target_NK: Tensor,
    weight_NK: Tensor,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    clip: float = 0.05,
) -> Tensor:
    """Return the asymmetric loss: negatives fade faster than positives, and below p = `clip` they do not count.

    All three at 0 is `bce`. Source: Ridnik et al. 2021, arXiv:2009.14119, section 2.
    """
    target_NK, logit_NK = known(target_NK, weight_NK), logit_NK.float()
    p_NK, q_NK = torch.sigmoid(logit_NK), torch.sigmoid(-logit_NK)
    shifted_NK = (p_NK - clip).clamp(min=_TINY)
    log_absent_NK = logsigmoid(-logit_NK) if clip == 0 else (q_NK + clip).clamp(max=1).log()
    positive_NK = q_NK.clamp(min=_TINY) ** gamma_pos * logsigmoid(logit_NK)
    negative_NK = shifted_NK**gamma_neg * log_absent_NK
    return mean(-(target_NK * positive_NK + (1 - target_NK) * negative_NK), weight_NK)


def three_states(output_NX: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return the cross-entropy over absent, uncertain and present: three outputs per finding, targets 0, 0.5 and 1.

    Source: Irvin et al. 2019, arXiv:1901.07031, section 3 (U-MultiClass).
    """
    output_N3K = output_NX.float().reshape(len(output_NX), -1, 3).transpose(1, 2)
    state_NK = (2 * known(target_NK, weight_NK)).round().long()
    return mean(cross_entropy(output_N3K, state_NK, reduction="none"), weight_NK)


def pos_weight(target_NK: Tensor, weight_NK: Tensor, clip: float = 10.0, *, sqrt: bool = False) -> Tensor:
    """Return N_negative / N_positive of each finding, or its root, at most `clip` (0: no limit).

    Soft targets count as the share they say. A finding that lacks either class weighs 1.
    """
    target_NK = known(target_NK, weight_NK)
    positive_K, negative_K = (weight_NK * target_NK).sum(0), (weight_NK * (1 - target_NK)).sum(0)
    ratio_K = negative_K / positive_K.clamp(min=_TINY)
    ratio_K = ratio_K.sqrt() if sqrt else ratio_K
    ratio_K = ratio_K.clamp(max=clip) if clip else ratio_K
    return torch.where((positive_K > 0) & (negative_K > 0), ratio_K, 1.0)


def smoothed(target_NK: Tensor, ls_pos: float, ls_neg: float) -> Tensor:
    """Return targets on a line from `ls_neg` (absent) to `ls_pos` (present).

    >>> smoothed(torch.tensor([0.0, 1.0]), 0.9, 0.05)
    tensor([0.0500, 0.9000])
    """
    return ls_neg + (ls_pos - ls_neg) * target_NK


def known(target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return targets with 0 where the weight is 0: NaN times 0 is NaN, in the gradient too."""
    return torch.where(weight_NK > 0, target_NK, 0.0)


def mean(loss_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return the weighted mean, 0 when nothing weighs."""
    return (weight_NK * loss_NK).sum() / weight_NK.sum().clamp(min=1e-8)


_TINY = 1e-30  # 0 has no gradient under a power below 1


def _cross_entropy(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | Tensor | None = None
) -> Tensor:
    if pos_weight is not None and not isinstance(pos_weight, Tensor):
        pos_weight = constant(tuple(pos_weight), logit_NK.device)
    target_NK = known(target_NK, weight_NK)
    return binary_cross_entropy_with_logits(logit_NK.float(), target_NK, reduction="none", pos_weight=pos_weight)
