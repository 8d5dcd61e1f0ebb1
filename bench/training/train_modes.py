"""Set which weights of a network learn, and keep batch-norm statistics consistent with the weights."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.models.attentive_pooling import AttentivePooling
from bench.models.lora import Lora
from bench.models.output_layers import output_layers


def freeze_backbone(network: nn.Module, frozen: bool) -> None:
    """Freeze all weights except the output layers; with `frozen` False, let every weight learn.

    In a network with low-rank changes (LoRA) or with attentive pooling, `frozen` False lets these changes or the pooling,
    and the output layers, learn.
    """
    changes = [module for module in network.modules() if isinstance(module, Lora | AttentivePooling)]
    for weight in network.parameters():
        weight.requires_grad_(not frozen and not changes)
    if frozen or changes:
        learning = output_layers(network) if frozen else [*changes, *output_layers(network)]
        for module in learning:
            for weight in module.parameters():
                weight.requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Switch the network to training mode; batch norm with frozen weights stays in evaluation mode."""
    network.train()
    for module in network.modules():
        if isinstance(module, _BatchNorm) and not any(weight.requires_grad for weight in module.parameters()):
            module.eval()


@contextmanager
def fresh_statistics(layers: Sequence[_BatchNorm]) -> Iterator[None]:
    """Delete the statistics of layers, and let the forward passes in the block compute them anew.

    The new statistics are the plain means over these passes, not moving means. The layers must be in training mode.
    """
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # None selects the plain mean
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@torch.no_grad()
def recalibrate_batch_norm(network: nn.Module, forward_passes: Iterable[Callable[[], Tensor]]) -> None:
    """Recompute batch-norm statistics as the plain mean over `forward_passes` of `network` in training mode.

    A schedule-free optimizer has other weights for evaluation than for training, so the running statistics of training
    do not fit the evaluated weights. Frozen layers keep their statistics.
    """
    train_mode(network)
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    if not layers:
        return
    with fresh_statistics(layers):
        for forward in forward_passes:
            forward()
