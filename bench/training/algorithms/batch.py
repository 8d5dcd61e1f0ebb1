"""The interface of an algorithm: a batch of images with their groups, and the loss that the algorithm computes from the batch.

Legend: N images, O outputs, D features, C channels, H height, W width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.training.training_loss import TrainingLoss


@dataclass(frozen=True, eq=False)  # no `slots=True`, because slots do not allow cached properties
class Batch:
    """The images of one optimizer step, with everything that an algorithm computes their loss from.

    A batch of an algorithm with groups has the same number of images of each group.
    """

    x_NCHW: Tensor  # augmented and normalized images
    index_N: Tensor  # indices of the images among the training images
    group_N: Tensor | None  # index of the group of each image; None without groups
    forward: Callable[[Tensor], Tensor]  # images -> output_NO
    output_layer: nn.Module  # its input are the features
    training_loss: TrainingLoss
    seed: int  # seed of random draws of the algorithm; differs from step to step

    def outputs(self) -> Tensor:
        """Return output_NO of the images, in float32 or better."""
        return _precise(self.forward(self.x_NCHW))

    def outputs_and_features(self) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND, the input of the output layer, of one forward pass; in float32 or better."""
        features: list[Tensor] = []

        def keep(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:  # noqa: ARG001
            features.append(_precise(inputs[0].flatten(1)))

        hook = self.output_layer.register_forward_pre_hook(keep)
        try:
            output_NO = self.outputs()
        finally:
            hook.remove()
        return output_NO, features[0]

    def loss(self, output_NO: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the loss of the images at `rows` of the batch (default: all): the loss function that the run names.

        `output_NO`: the outputs of all images of the batch.
        """
        if rows is None:
            value: Tensor = self.training_loss(output_NO, self.index_N)
        else:
            value = self.training_loss(output_NO[rows], self.index_N[rows])
        return value

    @cached_property
    def rows_of_group(self) -> dict[int, Tensor]:
        """Return the rows of the images of each group that the batch has, by the index of the group."""
        assert self.group_N is not None
        return {int(g): torch.nonzero(self.group_N == g).flatten() for g in torch.unique(self.group_N)}

    def group_losses(self, output_NO: Tensor) -> Tensor:
        """Return the loss of each group that the batch has, in the order of the groups."""
        return torch.stack([self.loss(output_NO, rows) for rows in self.rows_of_group.values()])

    def new_generator(self) -> np.random.Generator:
        """Return a new random generator of this step. Each call returns a generator of the same numbers."""
        return np.random.default_rng(self.seed)


def _precise(values: Tensor) -> Tensor:
    """Return values of half precision as float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class Algorithm(nn.Module):
    """An algorithm that a class of the registry implements: `forward` returns the loss of a batch.

    The constructor may have the parameters `num_groups`, `num_features` and `num_outputs`, besides the options of the registry entry. Buffers
    and parameters are in the checkpoint; parameters learn together with the network's. `forward` must not change the state of
    the algorithm, because a step may be repeated; `after_step` does.
    """

    restarts = False  # whether the network starts again after `schedule.pretrain_epochs`, with other loss weights

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        raise NotImplementedError

    def after_step(self, network: nn.Module) -> bool:  # noqa: ARG002
        """Update the state after an optimizer step of the network; return whether the state of the optimizer is now to be reset."""
        return False

    def end_pretraining(self, logit_NK: Tensor, target_NK: Tensor) -> None:
        """Take the logits and targets of all training images before the network starts again (only with `restarts`)."""

    @property
    def loss_factors(self) -> Tensor | None:
        """Return the factor of the loss weight of each pair of training image and finding; None if all are 1."""
        return None

    def end_epoch(self, network: nn.Module, share: float) -> nn.Module | None:  # noqa: ARG002
        """Return the network to validate and store after an epoch, without valid batch-norm statistics; None: the trained one.

        `share`: epochs before this one, as a share of all epochs.
        """
        return None

    @property
    def is_selectable(self) -> bool:
        """Return whether the epoch that has just ended may be selected."""
        return True


class Annealed(Algorithm):
    """An algorithm whose penalty has the weight 1 in the first `anneal` steps, and `weight` afterwards.

    The state of the optimizer is reset where the weight changes, because Adam's moments do not fit the new size of the
    gradients.
    """

    def __init__(self, weight: float, anneal: int) -> None:
        super().__init__()
        self.weight, self.anneal, self.steps = weight, anneal, 0

    @property
    def penalty_weight(self) -> float:
        """Return the weight of the penalty in the next step."""
        return self.weight if self.steps >= self.anneal else 1.0

    def after_step(self, network: nn.Module) -> bool:  # noqa: ARG002
        """Count the step; return whether the weight changes now."""
        self.steps += 1
        return self.steps == self.anneal

    def get_extra_state(self) -> Any:
        """Return the number of steps, for the checkpoint."""
        return self.steps

    def set_extra_state(self, state: Any) -> None:
        """Restore the number of steps."""
        self.steps = int(state)
