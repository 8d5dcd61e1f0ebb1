"""The output layers of a network: those whose outputs are the logits of findings and auxiliary heads."""

from typing import Any, cast

from torch import nn


def output_layers(network: nn.Module) -> list[nn.Module]:
    """Return the output layers of a network: timm's classifier, or the last linear layer of other networks."""
    for module in network.modules():
        if hasattr(module, "get_classifier"):
            layers: Any = cast("Any", module).get_classifier()
            return list(layers) if isinstance(layers, tuple | list) else [layers]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]
