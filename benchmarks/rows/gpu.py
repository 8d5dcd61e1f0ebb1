"""G1 and G2: benchmarks that need a GPU; without a GPU their rows are "not measured".

A peer is an implementation that we compare with. `of(Scale.rehearsal())` has the same code with tiny sizes on a CPU. Its
figures state nothing about a GPU; `python -m benchmarks gpu --device cpu` prints them and writes nothing.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Benchmark, Measured, NotMeasured, check, compared, interleaved

FINDINGS = 9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Scale:
    """The device and the sizes of the benchmarks."""

    device: torch.device
    side: int = 224  # pixels
    batch: int = 64  # images of a training step
    predicted: int = 1024  # images of a prediction, in batches of at most 256
    rounds: int = 25
    least_s: float = 0.2  # seconds of a timing

    @classmethod
    def rehearsal(cls) -> Self:
        """Return the smallest sizes, on the CPU."""
        return cls(torch.device("cpu"), 32, 4, 8, 1, 0.0)

    @property
    def is_rehearsal(self) -> bool:
        """Return whether the figures state nothing about a GPU."""
        return self.device.type == "cpu"

    def need_device(self) -> None:
        """Raise NotMeasured if torch does not find the device."""
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise NotMeasured("no GPU here")

    def clock(self) -> float:
        """Return the wall-clock seconds after waiting for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def timed(
        self, implementations: dict[str, Callable[[], object]], quick: bool, num: int = 1
    ) -> dict[str, list[float]]:
        """Return the seconds of each implementation in each round, divided by `num` images."""
        items = dict.fromkeys(implementations, num)
        return interleaved(implementations, 1 if quick else self.rounds, self.clock, items, self.least_s)


def training(name: str, scale: Scale) -> Callable[[bool], Measured]:
    """Return a benchmark of our training step for an architecture, against a plain step on one synthetic batch.

    Our step reads its images from GPU memory. The ratio is the plain step's time divided by ours.
    """

    def run(quick: bool) -> Measured:
        scale.need_device()
        from bench.diagnostics.device_check import compared_steps

        _, implementations = compared_steps(scale.device, name, scale.side, scale.batch)
        losses = [float(implementations["ours"]()) for _ in range(4)]  # type: ignore[arg-type]
        gate = check(
            all(map(math.isfinite, losses)), "losses are finite; both have the same network, precision and optimizer"
        )
        spent = scale.timed(implementations, quick)
        note = f"{scale.batch / np.median(spent['ours']):.0f} images/s"
        return compared(spent["plain"], spent["ours"], gate, note)

    return run


def inference(name: str, scale: Scale) -> Callable[[bool], Measured]:
    """Return a benchmark of our prediction against the same timm model without our code, both in bf16 and channels_last.

    Our prediction is the one of a run on a GPU with `precision: mixed`: its last layers are in fp32.
    The ratio is the time of the timm model divided by ours.
    """

    def run(quick: bool) -> Measured:
        scale.need_device()
        import timm

        from bench.inputs.batches import BatchReader
        from bench.inputs.normalize import Normalizer
        from bench.models.network import build
        from bench.models.predict import predict

        device, num = scale.device, scale.predicted
        pass_size = min(num, 256)
        network = (
            build("bench.models.network:timm_model", {"name": name}, FINDINGS)
            .to(device, memory_format=torch.channels_last)
            .eval()
        )
        theirs = timm.create_model(name, num_classes=FINDINGS).to(device, memory_format=torch.channels_last).eval()
        theirs.load_state_dict(network.backbone.state_dict())
        images = np.random.default_rng(0).integers(0, 256, (num, scale.side, scale.side)).astype(np.uint8)
        reader, rows, normalizer = BatchReader(images, device), np.arange(num), Normalizer(["imagenet"], MEAN, STD)
        x_NCHW = normalizer(reader(rows[:pass_size])).contiguous(memory_format=torch.channels_last)

        def timm_way() -> Tensor:
            with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
                return [theirs(x_NCHW) for _ in range(num // pass_size)][-1]

        logit = predict(network, normalizer, reader, rows[:pass_size], device, "bf16")[0]
        difference = float(np.abs(logit - timm_way().float().cpu().numpy()).max() / logit.std())
        gate = check(difference <= 0.05, f"largest difference of a logit: {difference:.2g} standard deviations")
        implementations = {"ours": lambda: predict(network, normalizer, reader, rows, device, "bf16"), "timm": timm_way}
        spent = scale.timed(implementations, quick, num)
        note = f"{1 / np.median(spent['ours']):.0f} images/s from uint8 to logits in CPU memory; the batch of the peer is already on the GPU"
        return compared(spent["timm"], spent["ours"], gate, note)

    return run


def of(scale: Scale) -> tuple[Benchmark, ...]:
    """Return the benchmarks of a scale. Those of a rehearsal state it in their names, and have no goals."""
    size = f"{scale.side} px, bf16"
    networks = (("resnet50", "ResNet-50"), ("densenet121", "DenseNet-121"), ("convnext_s", "ConvNeXt-S"))
    synthetic = "same network on a synthetic batch"
    rows = (
        *(("G1", f"training, {title}, {size}", synthetic, ">= 0.97", training(name, scale)) for name, title in networks),
        ("G2", f"inference, ResNet-50, {size}", "same network in timm, timed as timm does", ">= 1.0", inference("resnet50", scale)),
    )  # fmt: skip
    if not scale.is_rehearsal:
        return tuple(Benchmark(*row) for row in rows)
    return tuple(Benchmark(name, f"rehearsal on a CPU: {what}", peer, "", run) for name, what, peer, _, run in rows)


BENCHMARKS = of(Scale(torch.device("cuda:0")))
