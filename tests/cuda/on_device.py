"""Training steps and networks on a device, for the tests in this folder, and a limit of the device's memory."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from bench.inputs.batches import BatchReader
from bench.inputs.normalize import Normalizer
from bench.models.network import Network
from bench.planning.run import RunSpec
from bench.training.data_parallel import SINGLE_PROCESS, DataParallelGroup
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from tests.unit.bench.training.test_train import K, a_cohort

WIDE = 1 << 14
SIDE, MEAN, STD = 32, (0.5,) * 3, (0.25,) * 3
NORMALIZER = Normalizer(["imagenet"], MEAN, STD, 1)


class Plain(nn.Module):
    """A network with two convolutions, batch norm and dropout; `most` images per pass fit into an invented memory.

    The maps of the first convolution have `width` channels and 15 x 15 pixels: 15 MB per image with WIDE channels.
    """

    def __init__(self, dropout: float = 0.0, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, width, 3, 2), nn.Conv2d(width, 8, 3, 2)
        self.norm, self.dropout, self.head = nn.BatchNorm2d(8), nn.Dropout(dropout), nn.Linear(8, K)
        self.most = 1 << 30

    def forward_features(self, x_NCHW: Tensor) -> Tensor:
        if len(x_NCHW) > self.most:
            raise torch.OutOfMemoryError("planted")
        return self.norm(self.second(self.first(x_NCHW).relu())).relu()

    def forward_head(self, maps: Tensor, pre_logits: bool = False) -> Tensor:
        feature = self.dropout(maps.mean((2, 3)))
        return feature if pre_logits else self.head(feature)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x_NCHW))


def network_on(device: torch.device, backbone: nn.Module | None = None) -> Network:
    """Return a network with the same first weights on each device."""
    network = Network(backbone or Plain(), MEAN, STD, 1, K)
    return network.to(device=device).to(memory_format=torch.channels_last)


def step_on(
    device: torch.device, run: RunSpec, backbone: nn.Module | None = None, processes: DataParallelGroup = SINGLE_PROCESS
) -> Step:
    """Return a training step at its full learning rate, at the beginning of the first epoch."""
    reader, internal, _ = a_cohort()
    loss = TrainingLoss(run, TrainingTargets.of(run, internal, device))
    own = BatchReader(reader.images, device)
    step = Step(run, network_on(device, backbone), NORMALIZER, own, internal.rows, loss, device, processes)
    step.begin_epoch(1)
    step.set_lr(1.0)
    return step


def losses_of(step: Step, num_steps: int = 3, size: int = 8) -> list[float]:
    """Take steps on batches of `size` images, and return their losses."""
    return [float(step(np.arange(i * size, (i + 1) * size), 1, i)) for i in range(num_steps)]


class Reference:
    """The training of a network in a few lines of torch in float64 on the CPU, with plain SGD."""

    def __init__(self, backbone: nn.Module, lr: float) -> None:
        reader, internal, _ = a_cohort()
        self.network = copy.deepcopy(backbone).double()
        self.images = torch.from_numpy(np.asarray(reader.images)[internal.rows])
        self.state_NK = torch.from_numpy(internal.state_NK)
        self.lr = lr

    def logits(self, rows: slice) -> Tensor:
        """Return the logits of training images."""
        x_N1HW = (self.images[rows].double()[:, None] / 255 - MEAN[0]) / STD[0]
        return self.network(x_N1HW)

    def loss(self, rows: slice) -> Tensor:
        """Return the mean cross-entropy of the labels that are neither uncertain (-1) nor unmapped (-3)."""
        state_NK = self.state_NK[rows]
        known_NK = (state_NK != -1) & (state_NK != -3)
        loss_NK = nn.functional.binary_cross_entropy_with_logits(
            self.logits(rows), (state_NK == 1).double(), reduction="none"
        )
        return (loss_NK * known_NK).sum() / known_NK.sum()

    def train(self, num_steps: int = 3, size: int = 8) -> list[float]:
        """Take steps of plain gradient descent, and return their losses."""
        self.network.train()
        losses = []
        for i in range(num_steps):
            self.network.zero_grad()
            loss = self.loss(slice(i * size, (i + 1) * size))
            loss.backward()
            with torch.no_grad():
                for p in self.network.parameters():
                    p -= self.lr * p.grad
            losses.append(loss.item())
        return losses


@contextmanager
def memory_for(num: int, device: torch.device, backbone: Plain, work: Callable[[int], object]) -> Iterator[None]:
    """Let memory suffice for a pass of `num` images of the backbone, and not for one of 2 `num`.

    On a GPU, `work(n)` computes a pass of n images; the limit is halfway between the peaks of both passes. cuDNN is left out,
    because it needs less memory where there is less. On the CPU, the backbone raises the error.
    """
    if device.type == "cpu":
        backbone.most = num
        try:
            yield
        finally:
            backbone.most = 1 << 30
        return
    with torch.backends.cudnn.flags(enabled=False):
        work(1)  # handles of libraries and their workspaces
        peaks = [_peak(device, work, n) for n in (num, 2 * num)]
        total = torch.cuda.mem_get_info(device)[1]
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(sum(peaks) / 2 / total, device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, device)


def _peak(device: torch.device, work: Callable[[int], object], num: int) -> int:
    """Return the largest number of bytes that torch reserves on the GPU during a pass of `num` images."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    work(num)
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_reserved(device)
