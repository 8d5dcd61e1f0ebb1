"""Data-parallel training of one run: one process per device, with the result of a single process.

Each batch is split into micro-batches, as the run's `micro_batch` says. The processes divide the micro-batches among
them, sum gradients and batch-norm statistics, and take the same optimizer step. So without dropout, the number of
devices changes the weights only by rounding of sums. With dropout, the number of devices also changes the masks, because
each process draws its own masks. The number of devices is not part of the run id.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.training import TrainingError

T = TypeVar("T")
D = TypeVar("D", bound=np.generic)
TIMEOUT = dt.timedelta(minutes=30)  # maximum time that a collective call waits for an answer


@dataclass(frozen=True, slots=True)
class DataParallelGroup:
    """The group of processes that train one run, with the rank of this process; by default a group of one process."""

    rank: int = 0
    size: int = 1
    # process group of torch's backend gloo, for values in CPU memory; None in a group of one process
    control: Any = None

    @classmethod
    def join(cls, rank: int, size: int, host: str, port: int, device: torch.device) -> "DataParallelGroup":
        """Connect to the other processes through the TCP store at host:port, which must be open (see `launched_group`).

        Raises RuntimeError when the processes do not connect within TIMEOUT.
        """
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store = dist.TCPStore(host, port, size, is_master=False, timeout=TIMEOUT)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT)
        control = dist.new_group(backend="gloo", timeout=TIMEOUT)
        return cls(rank, size, control)

    @property
    def is_main(self) -> bool:
        """Return whether this process has rank 0 and writes the files."""
        return self.rank == 0

    def own_items(self, items: Sequence[T]) -> list[T]:
        """Return the items that this process handles: every `size`-th item, starting at its rank."""
        return list(items[self.rank :: self.size])

    def check_batch(self, num_images: int, micro: int) -> None:
        """Raise TrainingError when a batch has fewer micro-batches of `micro` images than there are processes."""
        if self.size > -(-num_images // micro):
            raise TrainingError(
                f"{self.size} devices cannot share a batch of {num_images} images in micro-batches of {micro}; "
                "set schedule.micro_batch lower, or use fewer devices"
            )

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor in place by its sum over all processes.

        All processes pass tensors of the same shapes in the same order.
        """
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for same_dtype in by_dtype.values():  # one message per dtype instead of one per tensor
            flat = torch.cat([tensor.reshape(-1) for tensor in same_dtype])
            dist.all_reduce(flat)
            for tensor, total in zip(same_dtype, torch.split(flat, [t.numel() for t in same_dtype]), strict=True):
                tensor.copy_(total.view_as(tensor))

    def broadcast(self, value: bool) -> bool:
        """Return, in every process, the `value` of rank 0."""
        if self.size == 1:
            return value
        flag = torch.tensor([int(value)])
        dist.broadcast(flag, 0, group=self.control)
        return bool(flag.item())

    def all_gather(self, own: NDArray[D]) -> NDArray[D]:
        """Return the arrays of all processes, concatenated in the order of their ranks.

        Empty arrays are skipped. All other arrays must have the same shape after the first axis.
        """
        if self.size == 1:
            return own
        arrays: list[Any] = [None] * self.size
        dist.all_gather_object(arrays, own, group=self.control)
        return np.concatenate([array for array in arrays if len(array)] or [own])

    def own_slice(self, num: int) -> slice:
        """Return the contiguous share of `num` items that this process handles."""
        edges = np.linspace(0, num, self.size + 1).astype(int)
        return slice(int(edges[self.rank]), int(edges[self.rank + 1]))


SINGLE_PROCESS = DataParallelGroup()


class SharedBatchNorm:
    """Keep running batch-norm statistics as in a single process that handles every micro-batch.

    A running statistic r is a moving mean: r <- (1 - m) r + m x, with momentum m and the statistic x of a micro-batch.
    Because r is linear in x, r can be a sum of one share per process. Rank 0 starts with r and the other ranks with 0. For
    each micro-batch of another process, a process multiplies its share by 1 - m. The sum of the shares is then the moving
    mean of a single process.
    """

    def __init__(self, network: nn.Module, processes: DataParallelGroup) -> None:
        self.processes = processes
        modules = network.modules() if processes.size > 1 else ()
        self.layers = [module for module in modules if isinstance(module, _BatchNorm)]

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Sum the statistics over the processes when the block ends.

        Inside the block, the caller must call `skip` for each micro-batch of another process.
        """
        if not self.processes.is_main:
            for layer in self._updating():
                for statistic in _statistics(layer):
                    statistic.zero_()
        yield
        self.processes.all_reduce([statistic for layer in self._updating() for statistic in _statistics(layer)])

    def skip(self) -> None:
        """Multiply the statistics by 1 - momentum, for one micro-batch of another process."""
        for layer in self._updating():
            for statistic in _statistics(layer):
                statistic.mul_(1 - _momentum(layer))
            if layer.num_batches_tracked is not None:
                layer.num_batches_tracked += 1

    def _updating(self) -> list[_BatchNorm]:
        """Return the layers whose statistics change in a forward pass."""
        return [layer for layer in self.layers if layer.training and layer.running_mean is not None]


def _statistics(layer: _BatchNorm) -> tuple[Tensor, Tensor]:
    if layer.running_mean is None or layer.running_var is None:
        raise TypeError("the batch-norm layer has no running statistics")
    return layer.running_mean, layer.running_var


def _momentum(layer: _BatchNorm) -> float:
    """Return the momentum of a layer: the weight of the newest micro-batch in the moving mean.

    Raises TypeError for momentum None (a plain mean over all batches), which cannot be shared between processes.
    """
    if layer.momentum is None:
        raise TypeError("batch norm without a momentum cannot be trained on several devices")
    return layer.momentum
