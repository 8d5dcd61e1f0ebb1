"""A team: processes that train one run together, one per device, and end with what one process would have.

A batch is cut into the passes that the run says (`micro_batch`); the members share the passes out, add up gradients and
batch-norm statistics, and take the same step. So how many devices there are is no part of a run: weights differ by the
rounding of sums alone. What is drawn in dropout differs: each member draws its own.
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

T = TypeVar("T")
D = TypeVar("D", bound=np.generic)
PATIENCE = dt.timedelta(minutes=30)  # until members that hear nothing give up


@dataclass(frozen=True, slots=True)
class Team:
    """One member's view; by itself, a team of one."""

    rank: int = 0
    size: int = 1
    control: Any = None  # the process group of what is no tensor of a device; None: there is nobody else

    @classmethod
    def join(cls, rank: int, size: int, host: str, port: int, device: torch.device) -> "Team":
        """Meet the other members, with the first one's store at host:port. Raises RuntimeError when they do not come."""
        backend = "nccl" if device.type == "cuda" else "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store = dist.TCPStore(host, port, size, is_master=False, timeout=PATIENCE)  # type: ignore[attr-defined]
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
        return cls(rank, size, dist.new_group(backend="gloo", timeout=PATIENCE))

    @property
    def first(self) -> bool:
        """Whether this is the member that writes files."""
        return self.rank == 0

    def mine(self, parts: Sequence[T]) -> list[T]:
        """Return the parts that this member does."""
        return list(parts[self.rank :: self.size])

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the sum over members, in place; all members give tensors of the same shapes in the same order."""
        if self.size == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        for same in by_type.values():  # one message, not one for each
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.all_reduce(flat)
            for tensor, part in zip(same, torch.split(flat, [t.numel() for t in same]), strict=True):
                tensor.copy_(part.view_as(tensor))

    def agree(self, value: bool) -> bool:
        """Return what the first member says."""
        if self.size == 1:
            return value
        said = torch.tensor([int(value)])
        dist.broadcast(said, 0, group=self.control)
        return bool(said.item())

    def gather(self, mine: NDArray[D]) -> NDArray[D]:
        """Return the arrays of all members, one behind the other in the order of their ranks; an empty one has no say in widths."""
        if self.size == 1:
            return mine
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, mine, group=self.control)
        return np.concatenate([each for each in found if len(each)] or [mine])

    def share(self, num: int) -> slice:
        """Return this member's part of `num` things in their order."""
        edges = np.linspace(0, num, self.size + 1).astype(int)
        return slice(int(edges[self.rank]), int(edges[self.rank + 1]))


ALONE = Team()


class Norms:
    """Keeps batch-norm statistics what they would be, had this process done every pass.

    Running statistics are a moving mean, r <- (1 - m) r + m x, linear in the batches x: each member starts from its share
    of r, the first from r and the others from 0, lets a pass of another member decay what it has, and the sum over members
    is what one process would have.
    """

    def __init__(self, network: nn.Module, team: Team) -> None:
        self.team = team
        self.all = [module for module in network.modules() if isinstance(module, _BatchNorm)] if team.size > 1 else []

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Share the passes of a block out; `skip` stands for each pass of another member."""
        if not self.team.first:
            for norm in self._learning():
                for statistic in _statistics(norm):
                    statistic.zero_()
        yield
        self.team.add([statistic for norm in self._learning() for statistic in _statistics(norm)])

    def skip(self) -> None:
        """Let a pass of another member count."""
        for norm in self._learning():
            for statistic in _statistics(norm):
                statistic.mul_(1 - _momentum(norm))
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked += 1

    def _learning(self) -> list[_BatchNorm]:
        """Return the layers whose statistics a pass changes."""
        return [norm for norm in self.all if norm.training and norm.running_mean is not None]


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    if norm.running_mean is None or norm.running_var is None:
        raise TypeError("a batch norm without statistics")
    return norm.running_mean, norm.running_var


def _momentum(norm: _BatchNorm) -> float:
    """Return the weight of the newest batch.

    Raises TypeError for a plain mean over all batches, which a team cannot keep.
    """
    if norm.momentum is None:
        raise TypeError("batch norm without a momentum cannot be trained by a team")
    return norm.momentum
