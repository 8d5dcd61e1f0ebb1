"""The parts of a network that are trained differently: its classifier, and the matrices between stem and classifier."""

from collections.abc import Iterator
from typing import Any, cast

from torch import nn


def classifier(network: nn.Module) -> list[nn.Module]:
    """Return the layers that give the outputs: what timm calls the classifier, else the last linear layer."""
    for module in network.modules():
        if hasattr(module, "get_classifier"):
            found: Any = cast("Any", module).get_classifier()
            return list(found) if isinstance(found, tuple | list) else [found]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]


def hidden_matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights of convolutions and linear layers that neither take the image in nor give the outputs.

    Depthwise and grouped convolutions are not among them: each of their filters is a small matrix of its own. A stem is
    any convolution on the image's channels, since some networks take it in along several branches.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    image_channels = convolutions[0].in_channels if convolutions else 0
    last = {id(weight) for layer in classifier(network) for weight in layer.parameters()}
    for module in network.modules():
        inner = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels != image_channels
        )
        if inner and id(module.weight) not in last:
            yield module.weight  # type: ignore[misc]
