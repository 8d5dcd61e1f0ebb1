"""The hidden matrices of a network: the weights between its stem and its output layers."""

from collections.abc import Iterator

from torch import nn

from bench.models.output_layers import output_layers


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
