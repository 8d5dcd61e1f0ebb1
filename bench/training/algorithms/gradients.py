"""Fishr: gradients of the output layer that vary equally in all groups.

Legend: N images, O outputs, D features, P = O x (D + 1) weights and biases of the output layer, G groups.
"""

import torch
from torch import Tensor, nn

from bench.training.algorithms.batch import Annealed, Batch


class Fishr(Annealed):
    """Minimize the loss of the run plus `weight` times the differences between the variances of the groups' gradients.

    The gradient of an image by weights and biases of the output layer has P values. v_g: their variances over the images of group
    g in the batch, as a moving average over the steps with decay `ema`, divided by 1 - ema. The penalty is the mean over groups and
    values of (v_g - mean of v)^2. In the first `anneal` steps, the penalty is not added.
    Source: Rame et al. 2022, arXiv:2109.02934, equation 4, as in DomainBed.
    """

    def __init__(
        self, num_groups: int, num_features: int, num_outputs: int, weight: float, anneal: int, ema: float
    ) -> None:
        super().__init__(weight, anneal, before=0.0)
        self.ema = ema
        self.register_buffer("average", torch.zeros(num_groups, num_outputs * (num_features + 1)))
        self.next_average = self.get_buffer("average")

    def forward(self, batch: Batch) -> Tensor:
        """Return loss and penalty."""
        output_NO, feature_ND = batch.outputs_and_features()
        loss = batch.loss(output_NO)
        (slope_NO,) = torch.autograd.grad(len(output_NO) * loss, output_NO, create_graph=True)
        variance_GP = torch.stack(
            [_variance(slope_NO[rows], feature_ND[rows]) for rows in batch.rows_of_group.values()]
        )
        groups, self.next_average = list(batch.rows_of_group), self.get_buffer("average").clone()
        averaged_GP = self.ema * self.next_average[groups] + (1 - self.ema) * variance_GP
        self.next_average[groups] = averaged_GP.detach()
        averaged_GP = averaged_GP / (1 - self.ema)
        return loss + self.penalty_weight * (averaged_GP - averaged_GP.mean(0)).square().mean()

    def after_step(self, network: nn.Module) -> bool:
        """Keep the averages and count the step; return whether the weight changes now."""
        self.get_buffer("average").copy_(self.next_average)
        return super().after_step(network)


def _variance(slope_NO: Tensor, feature_ND: Tensor) -> Tensor:
    """Return the variances [P] of the images' gradients by weights and biases of a linear output layer, divided by N."""
    gradient_NOD = slope_NO[:, :, None] * torch.cat([feature_ND, torch.ones_like(feature_ND[:, :1])], 1)[:, None]
    return gradient_NOD.flatten(1).var(0, correction=0)
