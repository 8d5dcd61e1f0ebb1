"""The output layers of a network: those whose outputs are the logits of findings and auxiliary heads."""

from typing import Any, cast

from torch import nn


def output_layers(network: nn.Module) -> list[nn.Module]:
    """Return the output layers of a network: a timm network's classifier; of other networks, the last linear layer.

    A module with the attribute `is_output_layer` replaces them.
    """
    if marked := [module for module in network.modules() if getattr(module, "is_output_layer", False)]:
        return marked
    for module in network.modules():
        if hasattr(module, "get_classifier"):
            layers: Any = cast("Any", module).get_classifier()
            return list(layers) if isinstance(layers, tuple | list) else [layers]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return linear[-1:]
