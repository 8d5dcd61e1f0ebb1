"""Losses: (logit_NK, target_NK, weight_NK, **options) -> a scalar, the weighted mean over all pairs.

N images, K findings. Targets are in [0, 1]. A weight of 0 takes a pair out, whatever its target, NaN included; when
all are out, the loss is 0 and so is its gradient. Half-precision logits are raised to float32 first.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def bce(logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | None = None) -> Tensor:
    """Return binary cross-entropy; `pos_weight` multiplies the positive term of each finding.

    >>> bce(torch.zeros(2, 9), torch.ones(2, 9), torch.ones(2, 9))
    tensor(0.6931)
    """
    return _mean(_cross_entropy(logit_NK, target_NK, weight_NK, pos_weight), weight_NK)


def focal(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, gamma: float = 2.0, alpha: float | None = None
) -> Tensor:
    """Return cross-entropy faded on easy pairs by (1 - p_true)^gamma; gamma 0 is `bce`.

    `alpha` weights positives, 1 - alpha negatives; none by default.
    Source: Lin et al. 2017, arXiv:1708.02002, equations 4 and 5; p_true is interpolated for soft targets.
    """
    target_NK = _known(target_NK, weight_NK)
    p_NK, q_NK = torch.sigmoid(logit_NK.float()), torch.sigmoid(-logit_NK.float())  # q = 1 - p, without its rounding
    p_false_NK = (target_NK * q_NK + (1 - target_NK) * p_NK).clamp(min=1e-30)  # 0 has no gradient under gamma < 1
    loss_NK = p_false_NK**gamma * _cross_entropy(logit_NK, target_NK, weight_NK)
    if alpha is not None:
        loss_NK = loss_NK * (alpha * target_NK + (1 - alpha) * (1 - target_NK))
    return _mean(loss_NK, weight_NK)


def _cross_entropy(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, pos_weight: Sequence[float] | None = None
) -> Tensor:
    pos_weight_K = None if pos_weight is None else torch.tensor(pos_weight, device=logit_NK.device)
    target_NK = _known(target_NK, weight_NK)
    return binary_cross_entropy_with_logits(logit_NK.float(), target_NK, reduction="none", pos_weight=pos_weight_K)


def _known(target_NK: Tensor, weight_NK: Tensor) -> Tensor:
    """Return targets with 0 where the weight is 0: NaN times 0 is NaN, in the gradient too."""
    return torch.where(weight_NK > 0, target_NK, 0.0)


def _mean(loss_NK: Tensor, weight_NK: Tensor) -> Tensor:
    return (weight_NK * loss_NK).sum() / weight_NK.sum().clamp(min=1e-8)
