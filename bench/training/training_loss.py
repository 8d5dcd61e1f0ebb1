"""Turn label states into targets and weights, and network outputs into the training loss of a run.

Legend: N images, K findings, O outputs of the network (the outputs of the findings come first), T auxiliary heads.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.config.registry import Entry
from bench.config.run_config import RunConfig
from bench.inputs.examples import Examples
from bench.models.network import finding_logits
from bench.planning.run import RunSpec
from bench.training import TrainingError
from bench.training.batch_sampling import balanced, class_membership, group_balanced, shuffled
from bench.training.losses import bce, masked_targets, three_states
from bench.training.uncertainty import Labels, blank


@dataclass(frozen=True, slots=True, eq=False)
class TrainingTargets:
    """Targets and weights of the training images, after the blank and uncertainty policies."""

    target_NK: Tensor  # in [0, 1]
    weight_NK: Tensor  # 0 excludes the pair of image and finding
    head_NT: Tensor  # targets of the auxiliary heads: 1, 0, or NaN where unknown
    group_N: Tensor | None = None  # index of each image's group; None for an algorithm without groups

    @classmethod
    def of(cls, run: RunSpec, train: Examples, device: torch.device) -> Self:
        """Return targets and weights of the training images.

        Raises TrainingError when no finding has both present and absent images.
        """
        policy, config = run.entries["uncertainty"], run.config
        state_NK = blank(torch.from_numpy(train.state_NK), config.blank)
        labels = Labels(state_NK, train.image_id.astype(str).tolist(), config.findings, config.seed)
        target_NK, weight_NK = policy.load()(labels, **policy.options)
        head_NT = torch.empty(len(train), 0) if train.head_NT is None else torch.from_numpy(train.head_NT)
        group_N = None if train.group_N is None else torch.from_numpy(train.group_N).to(device)
        targets = cls(target_NK.to(device), weight_NK.to(device), head_NT.to(device), group_N)
        if len(targets.unlearnt()) == target_NK.shape[1]:
            raise TrainingError("after the uncertainty and blank policies no finding has both classes in training")
        return targets

    def labeled(self) -> NDArray[np.int64]:
        """Return the indices of the training images with a label for at least one finding of the run."""
        indices: NDArray[np.int64] = torch.nonzero((self.weight_NK > 0).any(dim=1)).flatten().cpu().numpy()
        return indices

    def take(self, indices: NDArray[np.int64]) -> Self:
        """Return the targets of the training images at `indices`."""
        index = torch.from_numpy(indices).to(self.weight_NK.device)
        group_N = None if self.group_N is None else self.group_N[index]
        return type(self)(self.target_NK[index], self.weight_NK[index], self.head_NT[index], group_N)

    def initial_biases(self, states: int) -> Tensor:
        """Return the biases [K x states] with which a network whose features are all 0 outputs the training prevalences.

        With one state, the bias is the logit of the finding's prevalence. With three states, the three biases are the
        logarithms of the shares of absent, uncertain and present. One image is added to each class, so a class without
        images has a finite bias. The network then starts at the loss of the best constant prediction, and its first steps
        do not learn the prevalences.
        Source: Lin et al. 2017, arXiv:1708.02002, section 4.1 (with the measured prevalence instead of 0.01).
        """
        counts_NK = (self.weight_NK > 0).float()
        target_NK = masked_targets(self.target_NK, self.weight_NK)
        if states == 1:
            present_K, all_K = (counts_NK * target_NK).sum(0), counts_NK.sum(0)
            return ((present_K + 1) / (all_K - present_K + 1)).log()
        state_NK = (2 * target_NK).round()
        counts_K3 = torch.stack([(counts_NK * (state_NK == state)).sum(0) + 1 for state in range(states)], 1)
        return (counts_K3 / counts_K3.sum(1, keepdim=True)).log().flatten()

    def epoch_order(self, config: RunConfig, epoch: int, size: int) -> NDArray[np.int64]:
        """Return the indices of the training images in the order of an epoch, for batches of `size` images.

        Raises ValueError when micro-batches cannot be balanced.
        """
        if self.group_N is not None:
            return group_balanced(self.group_N.cpu().numpy(), size, config.seed, epoch)
        order = shuffled(config.seed, epoch, len(self.target_NK))
        if config.schedule.sampling == "shuffled":
            return order
        in_class_NC = class_membership(self.target_NK.cpu().numpy(), self.weight_NK.cpu().numpy())
        micro = config.schedule.micro_batch or config.schedule.batch_size
        return balanced(order, size, micro, in_class_NC, config.seed, epoch)

    def unlearnt(self) -> tuple[int, ...]:
        """Return the indices of the findings that lack present or absent images; the network does not learn them."""
        counts, target_NK = self.weight_NK > 0, self.target_NK
        both_K = (counts & (target_NK > 0.5)).any(dim=0) & (counts & (target_NK < 0.5)).any(dim=0)
        return tuple(torch.nonzero(~both_K).flatten().tolist())


class TrainingLoss(nn.Module):
    """The loss of a run on its training targets. A loss may have parameters, which learn together with the network's.

    Every auxiliary head adds its cross-entropy over the images with a target, times its weight (`head_weights`). While
    `pretraining` is True, the loss of the findings is plain cross-entropy.
    """

    def __init__(self, run: RunSpec, targets: TrainingTargets) -> None:
        super().__init__()
        self.targets, self.states = targets, run.states
        self.heads = run.config.auxiliary_heads
        self.findings_weight = run.config.head_weights.findings
        self.weight_NK = targets.weight_NK.clone()
        for head in self.heads:
            if head.finding is not None:
                # the output of this finding is the auxiliary head, so the finding learns only from the loss of the head
                self.weight_NK[:, head.finding] = 0.0
        self.pretraining = False
        self.loss: Callable[..., Tensor] = three_states
        if self.states == 1:
            self.loss = build_loss(run.entries["loss"], targets.target_NK, self.weight_NK)

    def forward(self, output_NO: Tensor, index_N: Tensor) -> Tensor:
        """Return the loss of the training images at the indices `index_N`, whose outputs are `output_NO`.

        The loss is the weighted mean of the loss of the findings, plus one term for each auxiliary head.
        """
        output_NO = output_NO.float()
        targets = self.targets
        width = self.weight_NK.shape[1] * self.states
        finding_NX = output_NO if output_NO.shape[1] == width else output_NO[:, :width]
        loss = bce if self.pretraining else self.loss
        total = loss(finding_NX, targets.target_NK[index_N], self.weight_NK[index_N])
        if self.heads:
            total = self.findings_weight * total
            logit_NK = finding_logits(finding_NX, self.states)
            logit_NT = iter(output_NO[:, width:].T)
            for head, target_N in zip(self.heads, targets.head_NT[index_N].T, strict=True):
                logit_N = next(logit_NT) if head.finding is None else logit_NK[:, head.finding]
                total = total + head.weight * bce(logit_N, target_N, (~target_N.isnan()).float())
        return total

    def weight(self, index_N: Tensor) -> Tensor:
        """Return the sum of the loss weights over all findings and over the training images at the indices `index_N`."""
        return self.weight_NK[index_N].sum()

    def multiply_weights(self, factor_NK: Tensor) -> None:
        """Multiply the loss weight of each pair of image and finding by a factor."""
        self.weight_NK = self.weight_NK * factor_NK.to(self.weight_NK)

    def has_weight(self) -> NDArray[np.bool_]:
        """Return a mask [N] of the training images with a positive total weight."""
        return (self.weight_NK.sum(dim=1) > 1e-6).cpu().numpy()

    def after_step(self) -> None:
        """Update the loss after an optimizer step, for example clamp a dual variable to its range."""
        if hasattr(self.loss, "after_step") and not self.pretraining:
            self.loss.after_step()


def build_loss(entry: Entry, target_NK: Tensor, weight_NK: Tensor) -> Callable[..., Tensor]:
    """Return the function loss(logit_NK, target_NK, weight_NK) of a registry entry.

    A loss class is constructed from the training targets and weights.
    """
    function_or_class, options = entry.load(), dict(entry.options)
    # The condition is not in the `if` statement, because mypy would then infer a wrong type.
    is_class = inspect.isclass(function_or_class)
    if is_class:
        from_targets: Callable[..., Tensor] = function_or_class(target_NK, weight_NK, **options)
        return from_targets

    def loss(logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
        value: Tensor = function_or_class(logit_NK, target_NK, weight_NK, **options)
        return value

    return loss
