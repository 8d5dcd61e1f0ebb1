"""B10: time of our training step, compared with a bare PyTorch loop.

Both train the same network with the same batches, loss and AdamW variant. A gate checks that the losses of all our
steps equal those of the peer, the implementation that we compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.harness import Benchmark, Measured, check, compared, interleaved, ms

FINDINGS, LR, DECAY = 9, 1e-3, 0.01


class Tiny(nn.Module):
    """A tiny network with a convolution, batch norm and a classifier, so that most of the time is the loop's overhead."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.Linear(8, FINDINGS)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x_NCHW)).relu().mean((2, 3)))


@dataclass
class Task:
    """Random images and labels, and a network that always has the same initial weights.

    side, batch, num  pixels per side, images per batch, total number of images
    """

    side: int
    batch: int
    num: int = 512
    real: bool = False  # use the demo's network instead of Tiny
    images: NDArray[np.uint8] = field(init=False)
    state: NDArray[np.int8] = field(init=False)

    def __post_init__(self) -> None:
        draw = np.random.default_rng(0)
        self.images = draw.integers(0, 256, (self.num, self.side, self.side)).astype(np.uint8)
        self.state = draw.choice(np.array([1, 0, -1, -2], np.int8), (self.num, FINDINGS))
        self.target = torch.from_numpy((self.state == 1).astype(np.float32))
        self.weight = torch.from_numpy((self.state != -1).astype(np.float32))
        self.pixels = torch.from_numpy(self.images)

    def backbone(self) -> nn.Module:
        torch.manual_seed(0)
        if not self.real:
            return Tiny()
        from bench.models.se_resnet import se_resnet

        return se_resnet(
            num_outputs=FINDINGS, in_channels=1, depths=(1, 1, 1, 1), widths=(16, 32, 64, 128), dropout=0.0
        )

    def orders(self, epoch: int) -> list[NDArray[np.int64]]:
        order = np.random.default_rng(epoch).permutation(self.num)
        return [order[i : i + self.batch] for i in range(0, self.num - self.batch + 1, self.batch)]

    def loss(self, logit: Tensor, rows: Tensor) -> Tensor:
        weight = self.weight[rows]
        losses = binary_cross_entropy_with_logits(
            logit.float(), torch.where(weight > 0, self.target[rows], 0.0), reduction="none"
        )
        return (weight * losses).sum() / weight.sum().clamp(min=1e-8)

    def input(self, rows: Tensor) -> Tensor:
        x_N1HW = (self.pixels[rows][:, None].float() / 255 - 0.5) / 0.25
        return x_N1HW.contiguous(memory_format=torch.channels_last)


def adamw(network: nn.Module) -> torch.optim.Optimizer:
    """Return AdamW with the settings that our registry uses on a CPU.

    Biases and normalization layers have no weight decay. PyTorch's implementations `fused` and `foreach` are off.
    """
    not_decayed = [p for p in network.parameters() if p.ndim <= 1]
    decayed = [p for p in network.parameters() if p.ndim > 1]
    return torch.optim.AdamW(
        [{"params": decayed, "weight_decay": DECAY}, {"params": not_decayed, "weight_decay": 0.0}], lr=LR
    )


def ours(task: Task) -> tuple[Any, Callable[[int], object]]:
    """Return our training step, and a function that trains an epoch with this step.

    The epoch includes all other work of a real training: loss sums, learning rate, progress.
    """
    from bench.config.registry import Registry
    from bench.config.run_config import RunConfig, Schedule
    from bench.inputs.batches import BatchReader
    from bench.inputs.examples import Examples
    from bench.inputs.normalize import Normalizer
    from bench.models.network import Network
    from bench.planning.run import RunSpec
    from bench.training.step import Step
    from bench.training.training_loss import TrainingLoss, TrainingTargets

    schedule = Schedule(epochs=1000, batch_size=task.batch, lr=LR, weight_decay=DECAY, kind="constant", warmup=0.0)
    config = RunConfig("seresnet_tiny", "adamw", "bce", "u_ignore", "imagenet_64", channels=1, schedule=schedule)
    run, cpu = RunSpec.of(config, Registry.read(), "internal", None), torch.device("cpu")
    ids = np.arange(task.num).astype(str).astype(object)
    internal = Examples(ids, ids, np.arange(task.num), task.state)
    network = Network(task.backbone(), (0.5,) * 3, (0.25,) * 3, 1).to(memory_format=torch.channels_last)
    normalizer, training_loss = (
        Normalizer(["imagenet"], network.mean, network.std, 1),
        TrainingLoss(run, TrainingTargets.of(run, internal, cpu)),
    )
    step = Step(run, network, normalizer, BatchReader(task.images, cpu), internal.rows, training_loss, cpu)
    step.begin_epoch(1)

    def epoch(number: int) -> object:
        return float(step.train_epoch(number, task.orders(number), [], lambda *_: None, lambda: False, lambda *_: None))

    return step, epoch


def bare(task: Task) -> tuple[Callable[[Tensor], Tensor], Callable[[int], object]]:
    """Return a training step in a few lines of torch, and a function that trains an epoch and sums the losses."""
    network = task.backbone().to(memory_format=torch.channels_last).train()
    optimizer = adamw(network)

    def step(rows: Tensor) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = task.loss(network(task.input(rows)), rows)
        loss.backward()
        optimizer.step()
        return loss.detach()

    def epoch(number: int) -> object:
        total = torch.zeros(())
        for batch in task.orders(number):
            total += step(torch.from_numpy(batch))
        return float(total)

    return step, epoch


def same_losses(task: Task) -> str:
    """Check that our losses of two epochs equal those of the bare loop in every bit."""
    step, _ = ours(task)
    bare_step, _ = bare(task)
    pairs = [
        (float(step(p, e, i)), float(bare_step(torch.from_numpy(p))))
        for e in (1, 2)
        for i, p in enumerate(task.orders(e))
    ]
    num_different = sum(a != b for a, b in pairs)
    return check(num_different == 0, f"{num_different} of {len(pairs)} losses differ from the peer's in any bit")


def beside_bare(task: Task, *, speed: bool) -> Callable[[bool], Measured]:
    """Return a benchmark of our training step against that of a bare loop: our time divided by the loop's, with `speed` the inverse.

    Without a goal, a larger ratio has to be better.
    """

    def run(quick: bool) -> Measured:
        torch.set_num_threads(1)
        gate = same_losses(task)
        spent = epochs_of(task, 5 if quick else 41)
        first, second = ("bare", "ours") if speed else ("ours", "bare")
        note = f"time per step: peer {ms(spent['bare'])}, ours {ms(spent['ours'])}"
        return compared(spent[first], spent[second], gate, note)

    return run


def epochs_of(task: Task, rounds: int) -> dict[str, list[float]]:
    """Return the seconds per step of our loop and of the bare loop, in each round of one epoch."""
    implementations = {"ours": ours(task)[1], "bare": bare(task)[1]}
    return interleaved(
        {name: (lambda train_epoch=train_epoch: train_epoch(1)) for name, train_epoch in implementations.items()},
        rounds,
        items=dict.fromkeys(implementations, len(task.orders(1))),
    )


SMALLEST = "training step of the smallest network, 16 px, batch of 16"
DEMO = "training step of the network of grid demo, 64 px, batch of 48"
BENCHMARKS: tuple[Benchmark, ...] = (
    Benchmark(
        "B10", f"{SMALLEST}: our speed", "plain PyTorch loop, same AdamW", "", beside_bare(Task(16, 16), speed=True)
    ),
    Benchmark(
        "B10", DEMO, "plain PyTorch loop, same AdamW", "<= 1.03", beside_bare(Task(64, 48, 240, True), speed=False)
    ),
)
