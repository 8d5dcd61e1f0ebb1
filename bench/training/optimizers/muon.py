"""Muon: orthogonalized momentum for the hidden matrices of a network (Jordan et al. 2024; Liu et al., arXiv:2502.16982)."""

from collections.abc import Iterable, Iterator
from typing import Any

from timm.optim.muon import Muon
from torch import nn
from torch.optim import Optimizer

from bench.models.output_layers import output_layers


def muon(params: Iterable[dict[str, Any]], network: nn.Module, **options: Any) -> Optimizer:
    """Return timm's Muon for the hidden matrices of `network`; all other weights use the AdamW that is part of timm's Muon.

    Other weights are those of the stem, the classifier, depthwise and grouped convolutions, norms, biases and the loss. The
    weights of a convolution are one matrix, with one row for each output channel. By default timm selects weights by shape
    only, and would include the stem and the classifier.
    """
    hidden = {id(weight) for weight in hidden_matrices(network)}
    groups: list[dict[str, Any]] = []
    for group in params:
        muon_weights = [p for p in group["params"] if id(p) in hidden]
        adamw_weights = [p for p in group["params"] if id(p) not in hidden]
        if muon_weights:
            groups.append({**group, "params": muon_weights, "use_muon": True})
        if adamw_weights:
            groups.append({**group, "params": adamw_weights, "use_fallback": True})
    optimizer: Optimizer = Muon(groups, **options)
    return optimizer


def hidden_matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights of all convolutions and linear layers except stem and output layers.

    Depthwise and grouped convolutions are excluded, because each of their filters is a separate small matrix. Every
    convolution on the image's channels belongs to the stem, since the stem of some networks has several branches.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    image_channels = convolutions[0].in_channels if convolutions else 0
    output_weights = {id(weight) for layer in output_layers(network) for weight in layer.parameters()}
    for module in network.modules():
        is_hidden = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels != image_channels
        )
        if is_hidden and id(module.weight) not in output_weights:
            yield module.weight  # type: ignore[misc]
