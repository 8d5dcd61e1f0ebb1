"""LoRA: train a product of two small matrices beside each frozen linear layer, then add the product to the weights.

Source: Hu et al. 2021, arXiv:2106.09685. `scripts/oracles/lora.py` compares with peft.

Legend: I inputs and O outputs of a linear layer, R rank.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bench.models.output_layers import output_layers


class Lora(nn.Module):
    """A change of a weight [O, I] of rank R: weight + alpha / R x B A. At first B is 0, so nothing is changed.

    The change is a parametrization of the layer's weight. So it also has an effect where a network reads the weight
    itself, such as torch's attention.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = layer.in_features**-0.5  # as in a new linear layer of torch
        kind: dict[str, Any] = {"dtype": layer.weight.dtype, "device": layer.weight.device}
        uniform_RI = torch.rand(rank, layer.in_features, generator=generator) * 2 - 1
        self.a_RI = nn.Parameter(uniform_RI.to(**kind) * bound)
        self.b_OR = nn.Parameter(torch.zeros(layer.out_features, rank, **kind))
        self.scale = alpha / rank

    def forward(self, weight_OI: Tensor) -> Tensor:
        """Return the changed weight."""
        changed_OI: Tensor = weight_OI + self.scale * (self.b_OR @ self.a_RI)
        return changed_OI

    @staticmethod
    def add(network: nn.Module, rank: int, alpha: float, seed: int) -> int:
        """Add a change to each linear layer of a network except its output layers; return the number of layers.

        The same seed gives the same first values.
        """
        generator = torch.Generator().manual_seed(seed)
        layers = Lora.layers(network)
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", Lora(layer, rank, alpha, generator))
        return len(layers)

    @staticmethod
    def layers(network: nn.Module) -> list[nn.Linear]:
        """Return the linear layers of a network except its output layers: those that get a change."""
        outputs = output_layers(network)
        return [m for m in network.modules() if isinstance(m, nn.Linear) and not any(m is layer for layer in outputs)]

    @staticmethod
    def merge(network: nn.Module) -> None:
        """Write the changed weights into the layers, and remove the changes: the network has its usual form again."""
        for module in list(network.modules()):
            if isinstance(module, nn.Linear) and parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
