"""SWA and SWAD: means of the weights after the last epochs, and after the steps of the epochs with a low loss."""

import math
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from bench.training.algorithms.batch import Algorithm, Batch

Weights = dict[str, Tensor]  # weights and float buffers by name


class MeanWeights:
    """The mean of weights that are added one after the other."""

    def __init__(self, num: int = 0, mean: Mapping[str, Tensor] | None = None) -> None:
        self.num = num  # how often weights were added
        self.mean: Weights = dict(mean or {})

    @torch.no_grad()
    def add(self, network: nn.Module) -> None:
        """Add the current weights and float buffers of a network."""
        self.add_weights({name: t for name, t in network.state_dict().items() if t.is_floating_point()})

    @torch.no_grad()
    def add_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Add weights and float buffers."""
        self.num += 1
        for name, tensor in weights.items():
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

    def end_epoch(self, network: nn.Module, share: float, loss: float) -> nn.Module | None:  # noqa: ARG002
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


class SWAD(Algorithm):
    """Train as without an algorithm; store the mean of the weights after all steps of the epochs in a valley of the validation loss.

    The valley begins with the first epoch that has the lowest loss of `n_converge` epochs, of which it is the first. A
    loss is high if it is above (1 + `tolerance`) times the mean loss of these epochs. The valley ends before the first
    `n_tolerance` successive epochs with a high loss, or with the training. After each epoch, the mean is validated as if
    training ended there. The last mean is stored; without a valley, it is the mean over the steps of the last epoch. The
    batch-norm statistics of the mean weights are computed anew.
    Source: Cha et al. 2021, arXiv:2102.08604, algorithm 1, with validation after each epoch.
    """

    needs_trained_loss = True

    def __init__(self, n_converge: int, n_tolerance: int, tolerance: float) -> None:
        super().__init__()
        self.n_converge, self.n_tolerance, self.tolerance = n_converge, n_tolerance, tolerance
        self.steps = MeanWeights()  # of the current epoch
        self.losses: list[float] = []  # of the epochs until the valley ended
        self.recent: dict[int, Weights] = {}  # means of the last epochs, by index of the epoch
        self.earlier = MeanWeights()  # of the epochs in the valley that are not in `recent`
        self.begin = -1  # index of the first epoch in the valley; -1: not found yet
        self.limit = math.inf  # the highest loss that is not high
        self.has_ended = False

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of the whole batch."""
        return batch.loss(batch.outputs())

    def after_step(self, network: nn.Module) -> bool:
        """Add the weights to the mean of the epoch."""
        if not self.has_ended:
            self.steps.add(network)
        return False

    def end_epoch(self, network: nn.Module, share: float, loss: float) -> nn.Module | None:  # noqa: ARG002
        """Add the epoch, after which the network has the validation loss `loss`; return a copy of the network with the mean."""
        if not self.has_ended:
            self.recent[len(self.losses)] = self.steps.mean
            self.losses.append(loss)
            self.steps = MeanWeights()
            if self.begin < 0:
                self._find_begin()
            else:
                self._find_end()
            self._drop_old_epochs()
        return self._mean_weights().network_like(network)

    def _find_begin(self) -> None:
        """Set `begin` and `limit` if the loss of the last `n_converge` epochs was the lowest at their beginning."""
        window = self.losses[-self.n_converge :]
        if len(window) == self.n_converge and window[0] == min(window):
            self.begin = len(self.losses) - self.n_converge
            self.limit = (1 + self.tolerance) * sum(window) / len(window)

    def _find_end(self) -> None:
        """End the valley before the last `n_tolerance` epochs if the loss of all of them is high."""
        if min(self.losses[-self.n_tolerance :]) > self.limit:
            self.has_ended = True
            self.recent = dict(list(self.recent.items())[: -self.n_tolerance])

    def _drop_old_epochs(self) -> None:
        """Move the epochs that belong to the valley for certain to `earlier`; forget those before it."""
        num_kept = 0 if self.has_ended else max(self.n_converge, self.n_tolerance)
        while len(self.recent) > num_kept:
            index = next(iter(self.recent))
            weights = self.recent.pop(index)
            if 0 <= self.begin <= index:
                self.earlier.add_weights(weights)

    def _mean_weights(self) -> MeanWeights:
        """Return the mean over the valley so far; before it is found, the mean of the last epoch."""
        mean = MeanWeights(**self.earlier.state())
        begin = self.begin if self.begin >= 0 else len(self.losses) - 1
        for index, weights in self.recent.items():
            if index >= begin:
                mean.add_weights(weights)
        return mean

    def get_extra_state(self) -> Any:
        """Return the losses, the means and the valley, for the checkpoint."""
        names = ("losses", "recent", "begin", "limit", "has_ended")
        return {name: getattr(self, name) for name in names} | {"earlier": self.earlier.state()}

    def set_extra_state(self, state: Any) -> None:
        """Restore the losses, the means and the valley."""
        for name, value in state.items():
            setattr(self, name, MeanWeights(**value) if name == "earlier" else value)
