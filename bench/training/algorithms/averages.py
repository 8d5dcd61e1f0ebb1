"""SWA: the mean of the weights after the last epochs."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.algorithms.batch import Algorithm, Batch


class MeanWeights:
    """The mean of weights that are added one after the other."""

    def __init__(self, num: int = 0, mean: Mapping[str, Tensor] | None = None) -> None:
        self.num = num  # how often weights were added
        self.mean = dict(mean or {})

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Add the current weights and float buffers of a network."""
        self.num += 1
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                before = self.mean.get(name, tensor).to(tensor)
                self.mean[name] = before + (tensor - before) / self.num

    def network_like(self, network: nn.Module) -> nn.Module:
        """Return a copy of a network with the mean weights."""
        averaged = deepcopy(network)
        averaged.load_state_dict(self.mean, strict=False)
        return averaged

    def state(self) -> dict[str, Any]:
        """Return what the constructor needs to make this mean again, for the checkpoint."""
        return {"num": self.num, "mean": self.mean}


class SWA(Algorithm):
    """Train as without an algorithm; validate and store the mean of the weights after each epoch since the share `start` of training.

    Epochs before `start` are never selected. The batch-norm statistics of the mean weights are computed anew.
    Source: Izmailov et al. 2018, arXiv:1803.05407, algorithm 1.
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start, self.weights = start, MeanWeights()

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of the whole batch."""
        return batch.loss(batch.outputs())

    def end_epoch(self, network: nn.Module, share: float) -> nn.Module | None:
        """Add the weights of the network to the mean; return a copy of the network with the mean, None before `start`."""
        if share < self.start:
            return None
        self.weights.add(network)
        return self.weights.network_like(network)

    @property
    def is_selectable(self) -> bool:
        """Return whether the mean has begun."""
        return self.weights.num > 0

    def get_extra_state(self) -> Any:
        """Return the mean and its number of epochs, for the checkpoint."""
        return self.weights.state()

    def set_extra_state(self, state: Any) -> None:
        """Restore the mean."""
        self.weights = MeanWeights(**state)
