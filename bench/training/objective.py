"""What training minimises: label states become targets and weights, outputs become one number.

Legend: N images, K findings, O outputs of the network (those of the findings first), T further heads.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bench.config.auxiliary_heads import heads
from bench.config.registry import Entry
from bench.inputs.examples import Examples
from bench.models.network import finding_logits
from bench.planning.run import Run
from bench.training.losses import bce, three_states
from bench.training.uncertainty import Labels, blank


class TeachingError(RuntimeError):
    """The labels of the training split cannot teach anything."""


@dataclass(frozen=True, slots=True, eq=False)
class Teaching:
    """What the training images teach, after the blank and uncertainty policies."""

    target_NK: Tensor  # in [0, 1]
    weight_NK: Tensor  # 0 takes a pair out
    head_NT: Tensor  # 1, 0, or NaN where a further head has nothing to learn

    def unlearnt(self) -> tuple[int, ...]:
        """Return the findings that the labels show one class of, or none: their outputs mean nothing."""
        counts, target_NK = self.weight_NK > 0, self.target_NK
        both_K = (counts & (target_NK > 0.5)).any(dim=0) & (counts & (target_NK < 0.5)).any(dim=0)
        return tuple(torch.nonzero(~both_K).flatten().tolist())


def teaching(run: Run, train: Examples, device: torch.device) -> Teaching:
    """Return targets and weights of the training images.

    Raises TeachingError when nothing can be learnt from them.
    """
    policy, config = run.entries["uncertainty"], run.config
    state_NK = blank(torch.from_numpy(train.state_NK), config.blank)
    labels = Labels(state_NK, train.image_id.astype(str).tolist(), config.findings, config.seed)
    target_NK, weight_NK = policy.load()(labels, **policy.options)
    head_NT = torch.empty(len(train), 0) if train.head_NT is None else torch.from_numpy(train.head_NT)
    taught = Teaching(target_NK.to(device), weight_NK.to(device), head_NT.to(device))
    if len(taught.unlearnt()) == target_NK.shape[1]:
        raise TeachingError("after the uncertainty and blank policies no finding has both classes in training")
    return taught


class Objective(nn.Module):
    """The run's loss on what is taught. Its own parameters, where it has any, are learnt with the network's.

    Every further head adds its cross-entropy over the images that teach it, times its weight (`head_weights`). With
    `pretraining` the findings' loss is plain cross-entropy, whatever the run's own is.
    """

    def __init__(self, run: Run, taught: Teaching) -> None:
        super().__init__()
        self.taught, self.states = taught, run.states
        self.heads = heads(run.config)
        self.findings_weight = run.config.head_weights.findings
        self.weight_NK = taught.weight_NK.clone()
        for head in self.heads:
            if head.finding is not None:
                self.weight_NK[:, head.finding] = 0.0  # the head's loss teaches it
        self.pretraining = False
        self.loss: Callable[..., Tensor] = three_states
        if self.states == 1:
            self.loss = build_loss(run.entries["loss"], taught.target_NK, self.weight_NK)

    def forward(self, output_NO: Tensor, place_N: Tensor) -> Tensor:
        """Return the mean loss of the training images at `place_N`, as their pairs weigh."""
        output_NO, taught, width = output_NO.float(), self.taught, self.weight_NK.shape[1] * self.states
        finding_NX = output_NO if output_NO.shape[1] == width else output_NO[:, :width]
        loss = bce if self.pretraining else self.loss
        total = loss(finding_NX, taught.target_NK[place_N], self.weight_NK[place_N])
        if self.heads:
            total = self.findings_weight * total
            logit_NK, logit_NT = finding_logits(finding_NX, self.states), iter(output_NO[:, width:].T)
            for head, target_N in zip(self.heads, taught.head_NT[place_N].T, strict=True):
                logit_N = next(logit_NT) if head.finding is None else logit_NK[:, head.finding]
                total = total + head.weight * bce(logit_N, target_N, (~target_N.isnan()).float())
        return total

    def weight(self, place_N: Tensor) -> Tensor:
        """Return how much the images at `place_N` weigh in a mean over a larger batch."""
        return self.weight_NK[place_N].sum()

    def learns(self) -> NDArray[np.bool_]:
        """Return which training images surely weigh something [N]: a batch with one of them is no batch of nothing."""
        return (self.weight_NK.sum(dim=1) > 1e-6).cpu().numpy()

    def after_step(self) -> None:
        """Do what the loss needs after each optimizer step, e.g. keep a dual variable in its range."""
        if hasattr(self.loss, "after_step") and not self.pretraining:
            self.loss.after_step()


def build_loss(entry: Entry, target_NK: Tensor, weight_NK: Tensor) -> Callable[..., Tensor]:
    """Return loss(logit_NK, target_NK, weight_NK) of a registry entry; a class is made from the training targets."""
    kind, options = entry.load(), dict(entry.options)
    from_targets = inspect.isclass(kind)
    if from_targets:
        made: Callable[..., Tensor] = kind(target_NK, weight_NK, **options)
        return made

    def loss(logit_NK: Tensor, target_NK: Tensor, weight_NK: Tensor) -> Tensor:
        value: Tensor = kind(logit_NK, target_NK, weight_NK, **options)
        return value

    return loss
