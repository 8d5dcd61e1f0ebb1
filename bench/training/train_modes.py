"""Which weights of a network learn, and which batch-norm statistics belong to its weights."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.training.optimizers.parameter_groups import classifier


def learn_only_the_head(network: nn.Module, only: bool) -> None:
    """Let the classifier alone learn, or, with `only` False, every weight."""
    for weight in network.parameters():
        weight.requires_grad_(not only)
    for layer in classifier(network) if only else ():
        for weight in layer.parameters():
            weight.requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Switch to training; batch norm whose weights are frozen stays as it is, statistics too."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not any(weight.requires_grad for weight in module.parameters()):
            module.eval()


@torch.no_grad()
def recalibrate(network: nn.Module, passes: Iterable[Callable[[], Tensor]]) -> None:
    """Measure batch-norm statistics anew: the plain mean over `passes`, each a forward pass of `network` in training mode.

    Weights that moved without a forward pass (schedule-free) have the statistics of other weights. Frozen layers keep
    theirs.
    """
    train_mode(network)
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    if not norms:
        return
    usual = [module.momentum for module in norms]
    for module in norms:
        module.reset_running_stats()
        module.momentum = None  # the mean over all passes, not a moving one
    try:
        for forward in passes:
            forward()
    finally:
        for module, momentum in zip(norms, usual, strict=True):
            module.momentum = momentum
