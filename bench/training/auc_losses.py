"""Losses for the area under the ROC curve, which depends on the ranking of images and not on their probabilities.

The losses have the same signature and guarantees as the losses of `bench.training.losses`. An image with soft target t
counts as a positive image with weight t and as a negative image with weight 1 - t. An image is never paired with itself.
The outputs are not probabilities, so read the calibrated scores (Platt scaling, fitted on `val`).
N images, K findings.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from bench.training.losses import masked_targets

SURROGATES: dict[
    str, Callable[[Tensor, float], Tensor]
] = {  # name -> function of d (logit of the positive image minus logit of the negative image) and of the margin
    "hinge": lambda d, margin: relu(margin - d),
    "squared_hinge": lambda d, margin: relu(margin - d) ** 2,
    "square": lambda d, margin: (margin - d) ** 2,
    "logistic": lambda d, margin: softplus(margin - d),
}


def pairwise(
    logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor, surrogate: str = "hinge", margin: float = 1.0
) -> Tensor:
    """Return the mean surrogate loss over pairs of a positive and a negative image, averaged over the findings.

    `surrogate` is hinge, squared_hinge, square or logistic, a function of d: the logit of the positive image minus that
    of the negative image. Logistic means log(1 + exp(margin - d)), usually with margin 0. A finding without a positive
    or without a negative image in the batch is skipped. If all findings are skipped, the loss is 0.
    Source: Gao and Zhou 2015, arXiv:1208.0645, section 3 (which surrogates are consistent with the AUC).
    """
    logit_NK, target_NK = logit_NK.float(), masked_targets(target_NK, weight_NK)
    difference_NNK = logit_NK[:, None] - logit_NK[None]
    pair_NNK = (weight_NK * target_NK)[:, None] * (weight_NK * (1 - target_NK))[None]
    pair_NNK = pair_NNK * (1 - torch.eye(len(logit_NK), device=logit_NK.device))[:, :, None]
    total_K, pairs_K = (pair_NNK * SURROGATES[surrogate](difference_NNK, margin)).sum((0, 1)), pair_NNK.sum((0, 1))
    return _mean_over_findings(total_K / pairs_K.clamp(min=1e-8), pairs_K > 0)


class AUCM(nn.Module):
    """The AUC-margin loss: minimized over the network, `a_K` and `b_K`, and maximized over the dual variable `alpha_K`.

    The loss of a finding is:
      (1-p) E[(h-a)^2 1+] + p E[(h-b)^2 1-] + 2 alpha (p(1-p) m + E[p h 1- - (1-p) h 1+]) - p(1-p) alpha^2
    Here h is sigmoid(logit), p is the share of positives in the training split, and m is the margin. 1+ is 1 for a
    positive image and else 0; 1- is 1 - 1+. E is the mean over the labeled images of the batch. The gradient of alpha
    has its sign flipped, so any minimizing optimizer works. `after_step` keeps alpha >= 0. The initial a, b and
    alpha are optimal for h = 1/2 (alpha = m). In the paper, a, b and alpha start at 0, and all outputs then decrease
    together at first.
    Source: Yuan et al. 2021, arXiv:2012.03173, section 3; scaled by p(1-p) as in LibAUC's first version.
    """

    prior_K: Tensor

    def __init__(self, target_NK: Tensor, weight_NK: Tensor, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin
        prior_K = (weight_NK * masked_targets(target_NK, weight_NK)).sum(0) / weight_NK.sum(0).clamp(min=1e-8)
        self.register_buffer("prior_K", prior_K, persistent=False)
        self.a_K = nn.Parameter(torch.full_like(prior_K, 0.5))
        self.b_K = nn.Parameter(torch.full_like(prior_K, 0.5))
        self.alpha_K = nn.Parameter(torch.full_like(prior_K, margin))

    def forward(self, logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
        """Return the loss."""
        target_NK = masked_targets(target_NK, weight_NK)
        h_NK = torch.sigmoid(logit_NK.float())
        p_K = self.prior_K
        positive_NK, negative_NK = weight_NK * target_NK, weight_NK * (1 - target_NK)
        alpha_K = 2 * self.alpha_K.detach() - self.alpha_K  # value alpha, gradient with flipped sign
        spread_NK = (1 - p_K) * (h_NK - self.a_K) ** 2 * positive_NK + p_K * (h_NK - self.b_K) ** 2 * negative_NK
        order_NK = p_K * h_NK * negative_NK - (1 - p_K) * h_NK * positive_NK
        weight_K, both_K = weight_NK.sum(0), p_K * (1 - p_K)
        loss_K = (spread_NK + 2 * alpha_K * order_NK).sum(0) / weight_K.clamp(min=1e-8)
        return _mean_over_findings(loss_K + both_K * (2 * alpha_K * self.margin - alpha_K**2), weight_K > 0)

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp the dual variable to 0 or more."""
        self.alpha_K.clamp_(min=0)


def _mean_over_findings(loss_K: Tensor, counted_K: Tensor) -> Tensor:
    return torch.where(counted_K, loss_K, 0.0).sum() / counted_K.sum().clamp(min=1)
