"""The output layers of a network, and their initialization, which is equal for all architectures."""

from typing import Any, cast

import torch
from torch import Tensor, nn

# Standard deviation of an untrained output per unit of the features' root mean square. timm's own initialization gives nine
# outputs of an EfficientNet a standard deviation of 2 to 4 and those of a RegNetY 0.1: the first then starts at a higher loss,
# and its large random gradients damage pretrained features. With 0 or 0.1, networks without pretraining learn more slowly.
OUTPUT_STD = 0.5


def output_layers(network: nn.Module) -> list[nn.Module]:
    """Return the output layers of a network: timm's classifier, or the last linear layer of other networks."""
    for module in network.modules():
        if hasattr(module, "get_classifier"):
            layers: Any = cast("Any", module).get_classifier()
            return list(layers) if isinstance(layers, tuple | list) else [layers]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]


def initialize_outputs(network: nn.Module) -> None:
    """Draw the weights of linear output layers from a normal distribution with standard deviation OUTPUT_STD / sqrt(features).

    Biases become 0; training then sets those of the findings (`set_biases`). The division by the square root makes the spread
    of the outputs independent of the number of features.
    Source: LeCun et al. 1998, Efficient BackProp, section 4.6 (with OUTPUT_STD 1).
    """
    for layer in _linear(network):
        nn.init.normal_(layer.weight, std=OUTPUT_STD / float(layer.weight[0].numel()) ** 0.5)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def set_biases(network: nn.Module, bias_X: Tensor) -> None:
    """Set the biases of the first X outputs. Layers without biases, or with fewer outputs, stay as they are."""
    with torch.no_grad():
        for layer in _linear(network):
            if layer.bias is not None and len(layer.bias) >= len(bias_X):
                layer.bias[: len(bias_X)] = bias_X.to(layer.bias)


def _linear(network: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    return [layer for layer in output_layers(network) if isinstance(layer, nn.Linear | nn.Conv2d)]
