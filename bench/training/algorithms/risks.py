"""Algorithms that compare the losses of the groups.

Each equals the algorithm of DomainBed (https://github.com/facebookresearch/DomainBed), with the loss of the run in place of the
cross-entropy. G groups, L_g: mean loss of the images of group g in the batch.
"""

import torch
from torch import Tensor, nn

from bench.training.algorithms.batch import Algorithm, Annealed, Batch


def erm(batch: Batch) -> Tensor:
    """Return the loss of the whole batch, as in training without an algorithm."""
    return batch.loss(batch.outputs())


class GroupDRO(Algorithm):
    """Minimize the loss of the worst groups: sum over g of q_g L_g, where the weight q_g grows with the loss of g.

    Each step multiplies q_g, at the start 1, by exp(eta L_g), then divides the weights by their sum.
    Source: Sagawa et al. 2020, arXiv:1911.08731, algorithm 1.
    """

    def __init__(self, num_groups: int, eta: float) -> None:
        super().__init__()
        self.eta = eta
        self.register_buffer("q", torch.ones(num_groups))
        self.next_q = self.get_buffer("q")

    def forward(self, batch: Batch) -> Tensor:
        """Return the weighted sum of the losses of the groups, with the new weights."""
        losses = batch.group_losses(batch.outputs())
        groups, q = list(batch.rows_of_group), self.get_buffer("q").clone()
        q[groups] *= (self.eta * losses.detach()).exp()
        self.next_q = q / q.sum()
        return self.next_q[groups] @ losses

    def after_step(self, network: nn.Module) -> bool:  # noqa: ARG002
        """Keep the new weights."""
        self.get_buffer("q").copy_(self.next_q)
        return False


class IRM(Annealed):
    """Minimize the mean loss of the groups plus `weight` times the mean of their penalties.

    The penalty of a group is the product of two derivatives of the loss by a factor of the outputs, at factor 1: of its images with
    even and with odd positions in the batch. Its expected value is the square of the derivative, which is 0 if no factor lowers the
    loss of the group. A penalty may be negative.
    Source: Arjovsky et al. 2019, arXiv:1907.02893, appendix D.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Return mean loss and penalty of the groups."""
        output_NO = batch.outputs()
        penalties = [
            _slope(batch, output_NO, rows[::2]) * _slope(batch, output_NO, rows[1::2])
            for rows in batch.rows_of_group.values()
        ]
        return batch.group_losses(output_NO).mean() + self.penalty_weight * torch.stack(penalties).mean()


def _slope(batch: Batch, output_NO: Tensor, rows: Tensor) -> Tensor:
    """Return the derivative of the loss of some images by a factor of their outputs, at factor 1."""
    factor = torch.ones((), device=output_NO.device, dtype=output_NO.dtype, requires_grad=True)
    (slope,) = torch.autograd.grad(batch.loss(output_NO * factor, rows), factor, create_graph=True)
    return slope
