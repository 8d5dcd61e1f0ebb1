"""LoRA: train a product of two small matrices beside each frozen layer, then add the product to the weights.

Source: Hu et al. 2021, arXiv:2106.09685. `scripts/oracles/lora.py` compares with peft.

Legend: I inputs and O outputs of a layer, R rank. Inputs of a convolution are the channels of all pixels of its kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.models.output_layers import output_layers


class Lora(nn.Module):
    """A change of a weight [O, I, ...] of rank R: weight + alpha / R x B A. At first B is 0, so nothing is changed.

    The change is a parametrization of the layer's weight. So it also has an effect where a network reads the weight
    itself, such as torch's attention.
    """

    def __init__(self, layer: nn.Linear | nn.Conv2d, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        num_outputs, num_inputs = layer.weight.flatten(1).shape
        bound = num_inputs**-0.5  # as in a new linear layer of torch
        kind: dict[str, Any] = {"dtype": layer.weight.dtype, "device": layer.weight.device}
        uniform_RI = torch.rand(rank, num_inputs, generator=generator) * 2 - 1
        self.a_RI = nn.Parameter(uniform_RI.to(**kind) * bound)
        self.b_OR = nn.Parameter(torch.zeros(num_outputs, rank, **kind))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        changed: Tensor = weight + self.scale * (self.b_OR @ self.a_RI).view_as(weight)
        return changed

    @staticmethod
    def add(network: nn.Module, rank: int, alpha: float, seed: int, convolutions: bool = False) -> int:
        """Add a change to each layer of `layers`; return the number of layers. The same seed gives the same first values."""
        generator = torch.Generator().manual_seed(seed)
        layers = Lora.layers(network, convolutions)
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", Lora(layer, rank, alpha, generator))
        return len(layers)

    @staticmethod
    def layers(network: nn.Module, convolutions: bool = False) -> list[nn.Linear | nn.Conv2d]:
        """Return the layers that get a change: linear ones, and convolutions without groups if asked; no output layers."""
        outputs = output_layers(network)
        inner = [m for m in network.modules() if not any(m is layer for layer in outputs)]
        return [
            m
            for m in inner
            if isinstance(m, nn.Linear) or (convolutions and isinstance(m, nn.Conv2d) and m.groups == 1)
        ]

    @staticmethod
    def merge(network: nn.Module) -> None:
        """Write the changed weights into the layers, and remove the changes: the network has its usual form again."""
        for module in list(network.modules()):
            if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
