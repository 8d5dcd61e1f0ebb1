"""What training minimises: label states become targets and weights, outputs become one number.

Legend: N images, K findings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bench.data import Examples
from bench.run import Run
from bench.uncertainty import blank


class TeachingError(RuntimeError):
    """The labels of the training split cannot teach anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What the training images teach, after the blank and uncertainty policies."""

    target_NK: Tensor  # in [0, 1]
    weight_NK: Tensor  # 0 takes a pair out

    def unlearnt(self) -> tuple[int, ...]:
        """Return the findings that the labels show one class of, or none: their outputs mean nothing."""
        counts, target_NK = self.weight_NK > 0, self.target_NK
        both_K = (counts & (target_NK > 0.5)).any(dim=0) & (counts & (target_NK < 0.5)).any(dim=0)
        return tuple(torch.nonzero(~both_K).flatten().tolist())


def teaching(run: Run, train: Examples, device: torch.device) -> Teaching:
    """Return targets and weights of the training images.

    Raises TeachingError when nothing can be learnt from them.
    """
    policy = run.entries["uncertainty"].load()
    target_NK, weight_NK = policy(blank(torch.from_numpy(train.state_NK), run.config.blank))
    taught = Teaching(target_NK.to(device), weight_NK.to(device))
    if len(taught.unlearnt()) == target_NK.shape[1]:
        raise TeachingError("after the uncertainty and blank policies no finding has both classes in training")
    return taught


class Objective(nn.Module):
    """The run's loss on what is taught. Its own parameters, where it has any, are learnt with the network's."""

    def __init__(self, run: Run, taught: Teaching) -> None:
        super().__init__()
        self.taught = taught
        loss = run.entries["loss"]
        self.loss: Callable[..., Tensor] = loss.load()
        self.options = dict(loss.options)

    def forward(self, logit_NK: Tensor, place_N: Tensor) -> Tensor:
        """Return the mean loss of the training images at `place_N`, as their pairs weigh."""
        taught = self.taught
        return self.loss(logit_NK.float(), taught.target_NK[place_N], taught.weight_NK[place_N], **self.options)

    def weight(self, place_N: Tensor) -> Tensor:
        """Return how much the images at `place_N` weigh in a mean over a larger batch."""
        return self.taught.weight_NK[place_N].sum()
