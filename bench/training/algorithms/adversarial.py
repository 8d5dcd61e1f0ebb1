"""DANN: features from which a second network cannot tell the groups of the images.

Legend: N images, D features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench.training.algorithms.batch import Algorithm, Batch


class DANN(Algorithm):
    """Minimize the loss of the run, and let a discriminator learn the groups from the features.

    The discriminator minimizes its cross-entropy. The gradient of the cross-entropy by the features is multiplied by -`weight`, so
    the rest of the network maximizes it. Both learn in the same step; DomainBed takes turns, with the same gradients.
    Source: Ganin et al. 2016, arXiv:1505.07818, equations 13 to 15; size of the discriminator: DomainBed.
    """

    def __init__(self, num_groups: int, num_features: int, weight: float, width: int) -> None:
        super().__init__()
        self.weight = weight
        self.discriminator = nn.Sequential(
            nn.Linear(num_features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_groups)
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of the run plus the cross-entropy of the discriminator."""
        output_NO, feature_ND = batch.outputs_and_features()
        return batch.loss(output_NO) + self.group_loss(batch, feature_ND)

    def group_loss(self, batch: Batch, feature_ND: Tensor) -> Tensor:
        """Return the cross-entropy of the discriminator, whose gradient is reversed at the features."""
        assert batch.group_N is not None
        return cross_entropy(self.discriminator(_Reversed.apply(feature_ND, self.weight)), batch.group_N)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -weight."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: float) -> Tensor:
        """Return the values."""
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the reversed gradient."""
        return -ctx.weight * gradients[0], None
