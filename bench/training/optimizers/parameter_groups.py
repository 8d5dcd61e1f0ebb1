"""Parameter groups of a network: its classifier, and the hidden matrices between stem and classifier."""

from collections.abc import Iterator
from typing import Any, cast

from torch import nn


def classifier(network: nn.Module) -> list[nn.Module]:
    """Return the output layers of a network: timm's classifier, or the last linear layer of other networks."""
    for module in network.modules():
        if hasattr(module, "get_classifier"):
            layers: Any = cast("Any", module).get_classifier()
            return list(layers) if isinstance(layers, tuple | list) else [layers]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]


def hidden_matrices(network: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights of all convolutions and linear layers except stem and classifier.

    Depthwise and grouped convolutions are excluded, because each of their filters is a separate small matrix. Every
    convolution on the image's channels belongs to the stem, since the stem of some networks has several branches.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    image_channels = convolutions[0].in_channels if convolutions else 0
    output_weights = {id(weight) for layer in classifier(network) for weight in layer.parameters()}
    for module in network.modules():
        is_hidden = isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels != image_channels
        )
        if is_hidden and id(module.weight) not in output_weights:
            yield module.weight  # type: ignore[misc]
