"""Make the algorithm of a run from its registry entry."""

import inspect
from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn

from bench.config.registry import Entry
from bench.models.network import seeded
from bench.training import TrainingError
from bench.training.algorithms.batch import Algorithm, Batch


class FunctionAlgorithm(Algorithm):
    """An algorithm without state: a function of the batch and the options of its registry entry."""

    def __init__(self, function: Callable[..., Tensor], options: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.options = function, options

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.function(batch, **self.options)


def build_algorithm(entry: Entry, num_groups: int, output_layer: nn.Module, seed: int = 0) -> Algorithm:
    """Return the algorithm of an entry: an instance of its class, or its function.

    A constructor with the parameter `num_groups` gets the number of groups; with `num_features` and `num_outputs`, the numbers of
    inputs and outputs of `output_layer`. `seed`: seed of its random weights. Raises TrainingError if an algorithm with groups gets fewer than two.
    """
    if entry.facts.get("groups") and num_groups < 2:
        raise TrainingError(f"{entry.name} compares groups, and the readable training images have {num_groups}")
    code, options = entry.load(), dict(entry.options)
    if not inspect.isclass(code):
        return FunctionAlgorithm(code, options)
    parameters = inspect.signature(code).parameters
    if "num_groups" in parameters:
        options["num_groups"] = num_groups
    for axis, name in enumerate(("num_outputs", "num_features")):
        if name in parameters:
            options[name] = int(output_layer.get_parameter("weight").shape[axis])
    with seeded(seed):
        return cast("Algorithm", code(**options))
