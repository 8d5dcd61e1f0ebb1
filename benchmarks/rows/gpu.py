"""G1 to G4: benchmarks that need a GPU; without a GPU their rows are "not measured".

A peer is an implementation that we compare with. `of(Scale.rehearsal())` has the same code with tiny sizes on a CPU. Its
figures state nothing about a GPU; `python -m benchmarks gpu --device cpu` prints them and writes nothing.
"""

import copy
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.harness import Benchmark, Measured, NotMeasured, check, compared, interleaved, ms, spread

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
    grid: str = "demo"  # grid of G3
    end: float = math.inf  # time of `time.monotonic` at which G3 has to end

    @classmethod
    def rehearsal(cls) -> Self:
        """Return the smallest sizes, on the CPU."""
        return cls(torch.device("cpu"), 32, 4, 8, 1, 0.0, "tiny")

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


def several_runs(scale: Scale) -> Callable[[bool], Measured]:
    """Return a benchmark of a small grid with four runs at a time on one device, against one run at a time.

    The ratio is the first time divided by the second. The scores of both must agree.
    """

    def run(quick: bool) -> Measured:
        scale.need_device()
        grid, spent, areas = "tiny" if quick else scale.grid, {}, {}
        with tempfile.TemporaryDirectory() as name:
            for num_concurrent in (1, 4):
                store = Path(name) / str(num_concurrent)
                spent[num_concurrent] = grid_seconds(grid, store, scale, num_concurrent)
                table = pd.concat([pd.read_parquet(file) for file in sorted(store.glob("scores/*/scores.parquet"))])
                macro = (table["metric"] == "auroc") & (table["finding"] == "macro")
                areas[num_concurrent] = table.loc[macro, "value"].to_numpy()
        # the mean and not the largest difference, because training on a GPU is not repeatable bit by bit: the macro AUROCs of
        # two trainings of the demo whose first weights differed by 1e-6 differed by .013 on average, and by up to .043
        difference = float(np.nanmean(np.abs(areas[1] - areas[4])))
        gate = check(difference <= 0.03, f"mean difference of the macro AUROCs: {difference:.2g}")
        note = f"grid {grid}: {spent[1]:.0f} s one after the other, {spent[4]:.0f} s four at a time"
        return spread([spent[4] / spent[1]], gate, note)

    return run


def grid_seconds(grid: str, store: Path, scale: Scale, num_concurrent: int) -> float:
    """Return the wall-clock seconds of a grid. Raises NotMeasured if it does not finish in time."""
    command = [sys.executable, "-m", "bench.cli", "run", "--grid", grid, "--store", str(store), "--quiet"]
    options = ["--device", str(scale.device), "--per-device", str(num_concurrent)]
    left, start = max(scale.end - time.monotonic(), 0.0), time.perf_counter()
    try:
        done = subprocess.run(
            [*command, *options],
            check=False,
            capture_output=True,
            text=True,
            timeout=None if math.isinf(left) else left,
        )
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"grid {grid} did not finish in the time left ({left:.0f} s)") from error
    if done.returncode:
        said = f"{done.stdout[-2000:]}{done.stderr.strip()}"
        raise RuntimeError(f"bench run --grid {grid} ended with status {done.returncode}: {said}")
    return time.perf_counter() - start


def optimizer_step(kind: str, scale: Scale) -> Callable[[bool], Measured]:
    """Return a benchmark of our optimizer Lion or SAM (`kind`) on the weights of ResNet-50.

    The gate compares the weights after a step with those of timm's Lion, or of a plain SAM loop. The ratio is our time
    divided by the time of PyTorch's fused AdamW (for Lion) or of the plain loop (for SAM).
    """

    def run(quick: bool) -> Measured:
        scale.need_device()
        import timm
        from timm.optim import Lion as TimmLion

        from bench.training.optimizers.lion import Lion
        from bench.training.optimizers.sam import SAM

        torch.manual_seed(0)
        first: nn.Module = timm.create_model("resnet50", num_classes=FINDINGS).to(scale.device).eval()
        x_NCHW = torch.randn(scale.batch // 4, 3, scale.side, scale.side, device=scale.device)
        weights = {name: copy.deepcopy(first) for name in ("ours", "peer", "fused")}
        options = {"lr": 1e-4, "weight_decay": 0.01}
        fused = torch.optim.AdamW(weights["fused"].parameters(), **options, fused=True)

        def gradients(network: nn.Module) -> Callable[[], Tensor]:
            def closure() -> Tensor:
                network.zero_grad()
                loss: Tensor = network(x_NCHW).square().mean()
                loss.backward()
                return loss.detach()

            return closure

        if kind == "Lion":
            ours = Lion(weights["ours"].parameters(), **options)
            peer = TimmLion(weights["peer"].parameters(), **options)
            implementations: dict[str, Callable[[], object]] = {
                "ours": ours.step,
                "peer": peer.step,
                "fused": fused.step,
            }
            for network in weights.values():
                gradients(network)()
        else:
            sam = SAM(weights["ours"].parameters(), weights["ours"], base=torch.optim.SGD, rho=0.05, lr=1e-4)
            plain = torch.optim.SGD(weights["peer"].parameters(), lr=1e-4)
            implementations = {
                "ours": lambda: sam.step(gradients(weights["ours"])),
                "peer": lambda: plain_sam(weights["peer"], plain, gradients(weights["peer"])),
            }
        for name in ("ours", "peer"):
            implementations[name]()
        pairs = zip(weights["ours"].parameters(), weights["peer"].parameters(), strict=True)
        difference = max(float((a - b).detach().abs().max()) for a, b in pairs)
        gate = check(difference <= 1e-5, f"largest difference of a weight after a step: {difference:.1g}")
        spent = scale.timed(implementations, quick)
        against = "fused" if kind == "Lion" else "peer"
        note = ", ".join(f"{name} {ms(seconds)}" for name, seconds in spent.items())
        return compared(spent["ours"], spent[against], gate, note)

    return run


def plain_sam(
    network: nn.Module, base: torch.optim.Optimizer, closure: Callable[[], Tensor], rho: float = 0.05
) -> None:
    """Take a step of SAM as in the paper: perturb the weights, compute the gradient, restore the weights, step."""
    closure()
    weights = [p for p in network.parameters() if p.grad is not None]
    norm = torch.stack([p.grad.norm() for p in weights]).norm()  # type: ignore[union-attr]
    before = [p.detach().clone() for p in weights]
    with torch.no_grad():
        for p in weights:
            p.add_(p.grad * (rho / (norm + 1e-12)))  # type: ignore[operator]
    closure()
    with torch.no_grad():
        for p, old in zip(weights, before, strict=True):
            p.copy_(old)
    base.step()


def of(scale: Scale) -> tuple[Benchmark, ...]:
    """Return the benchmarks of a scale. Those of a rehearsal state it in their names, and have no goals."""
    size = f"{scale.side} px, bf16"
    networks = (("resnet50", "ResNet-50"), ("densenet121", "DenseNet-121"), ("convnext_s", "ConvNeXt-S"))
    synthetic, device = "same network on a synthetic batch", "GPU" if scale.device.type == "cuda" else "CPU"
    fused = "fused AdamW (time), Lion of timm (weights)"
    rows = (
        *(("G1", f"training, {title}, {size}", synthetic, ">= 0.97", training(name, scale)) for name, title in networks),
        ("G2", f"inference, ResNet-50, {size}", "same network in timm, timed as timm does", ">= 1.0", inference("resnet50", scale)),
        ("G3", f"small grid, four runs at a time on one {device}", "the runs one after the other", "<= 0.7", several_runs(scale)),
        ("G4", "optimizer step of Lion, ResNet-50", fused, "<= 1.1", optimizer_step("Lion", scale)),
        ("G4", "optimizer step of SAM, ResNet-50", "plain SAM loop", "<= 1.1", optimizer_step("SAM", scale)),
    )  # fmt: skip
    if not scale.is_rehearsal:
        return tuple(Benchmark(*row) for row in rows)
    return tuple(Benchmark(name, f"rehearsal on a CPU: {what}", peer, "", run) for name, what, peer, _, run in rows)


BENCHMARKS = of(Scale(torch.device("cuda:0")))
