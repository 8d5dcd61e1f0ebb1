"""G1 to G4: benchmarks that need a GPU; without a GPU their rows are "not measured".

A peer is an implementation that we compare with.
"""

import copy
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.harness import Benchmark, Measured, check, compared, gpu_clock, interleaved, ms, need_gpu, spread

SIDE, BATCH, FINDINGS = 224, 64, 9
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def training(name: str) -> Callable[[bool], Measured]:
    """Return a benchmark of our training step for an architecture, against a plain step on one synthetic batch.

    Our step reads its images from GPU memory. The ratio is the plain step's time divided by ours.
    """

    def run(quick: bool) -> Measured:
        need_gpu()
        from bench.config.registry import Registry
        from bench.config.run_config import RunConfig, Schedule
        from bench.inputs.batches import BatchReader
        from bench.inputs.examples import Examples
        from bench.inputs.normalize import Normalizer
        from bench.models.network import build
        from bench.planning.run import Run
        from bench.training.step import Step
        from bench.training.training_loss import TrainingLoss, TrainingTargets

        gpu, num, draw = torch.device("cuda:0"), 16 * BATCH, np.random.default_rng(0)
        network = build("bench.models.network:timm_model", {"name": name}, FINDINGS).to(
            gpu, memory_format=torch.channels_last
        )
        plain = copy.deepcopy(network).train()
        config = RunConfig(
            "densenet121", "adamw", "bce", "u_ignore", "imagenet_224", schedule=Schedule(batch_size=BATCH)
        )
        run_, ids = Run.of(config, Registry.read(), "internal", None), np.arange(num).astype(str).astype(object)
        state = draw.choice(np.array([0, 1], np.int8), (num, FINDINGS))
        internal = Examples(ids, ids, np.arange(num), state)
        reader = BatchReader(draw.integers(0, 256, (num, SIDE, SIDE)).astype(np.uint8), gpu)
        step = Step(
            run_,
            network,
            Normalizer(["imagenet"], MEAN, STD),
            reader,
            internal.rows,
            TrainingLoss(run_, TrainingTargets.of(run_, internal, gpu)),
            gpu,
        )
        step.begin_epoch(1)
        optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        x_NCHW = torch.randn(BATCH, 3, SIDE, SIDE, device=gpu).contiguous(memory_format=torch.channels_last)
        target = torch.randint(0, 2, (BATCH, FINDINGS), device=gpu).float()

        def synthetic() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast("cuda", torch.bfloat16):
                logit = plain.outputs(x_NCHW)
            binary_cross_entropy_with_logits(logit.float(), target).backward()
            optimizer.step()

        step_numbers = iter(range(10**9))
        losses = [float(step(draw.permutation(num)[:BATCH], 1, next(step_numbers))) for _ in range(4)]
        gate = check(
            all(map(math.isfinite, losses)), "losses are finite; both have the same network, precision and optimizer"
        )
        implementations = {
            "ours": lambda: step(draw.permutation(num)[:BATCH], 1, next(step_numbers)),
            "synthetic": synthetic,
        }
        spent = interleaved(implementations, 5 if quick else 21, gpu_clock, least_s=1.0)
        return compared(spent["synthetic"], spent["ours"], gate, f"{BATCH / np.median(spent['ours']):.0f} images/s")

    return run


def inference(name: str) -> Callable[[bool], Measured]:
    """Return a benchmark of our prediction against the same timm model without our code, both in bf16 and channels_last.

    The ratio is the time of the timm model divided by ours.
    """

    def run(quick: bool) -> Measured:
        need_gpu()
        import timm

        from bench.inputs.batches import BatchReader
        from bench.inputs.normalize import Normalizer
        from bench.models.network import build
        from bench.models.predict import predict

        gpu, num = torch.device("cuda:0"), 1024
        network = (
            build("bench.models.network:timm_model", {"name": name}, FINDINGS)
            .to(gpu, memory_format=torch.channels_last)
            .eval()
        )
        theirs = timm.create_model(name, num_classes=FINDINGS).to(gpu, memory_format=torch.channels_last).eval()
        theirs.load_state_dict(network.backbone.state_dict())
        images = np.random.default_rng(0).integers(0, 256, (num, SIDE, SIDE)).astype(np.uint8)
        reader, rows, normalizer = BatchReader(images, gpu), np.arange(num), Normalizer(["imagenet"], MEAN, STD)
        x_NCHW = normalizer(reader(rows[:256])).contiguous(memory_format=torch.channels_last)

        def timm_way() -> Tensor:
            with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
                return [theirs(x_NCHW) for _ in range(num // 256)][-1]

        logit = predict(network, normalizer, reader, rows[:256], gpu, "bf16")[0]
        difference = float(np.abs(logit - timm_way().float().cpu().numpy()).max() / logit.std())
        gate = check(difference <= 0.05, f"largest difference of a logit: {difference:.2g} standard deviations")
        implementations = {"ours": lambda: predict(network, normalizer, reader, rows, gpu, "bf16"), "timm": timm_way}
        spent = interleaved(
            implementations, 5 if quick else 21, gpu_clock, least_s=1.0, items=dict.fromkeys(implementations, num)
        )
        note = f"{1 / np.median(spent['ours']):.0f} images/s from uint8 to logits in CPU memory; the batch of the peer is already on the GPU"
        return compared(spent["timm"], spent["ours"], gate, note)

    return run


def several_runs(quick: bool) -> Measured:
    """Return the time of a small grid on one GPU with four runs at a time, divided by the time with one run at a time.

    The scores of both must agree.
    """
    need_gpu()
    spent, areas = {}, {}
    with tempfile.TemporaryDirectory() as name:
        for num_concurrent in (1, 4):
            store = Path(name) / str(num_concurrent)
            command = [
                sys.executable,
                "-m",
                "bench.cli",
                "run",
                "--grid",
                "tiny" if quick else "demo",
                "--store",
                str(store),
            ]
            start = time.perf_counter()
            subprocess.run(
                [*command, "--device", "cuda:0", "--per-device", str(num_concurrent), "--quiet"],
                check=True,
                capture_output=True,
            )
            spent[num_concurrent] = time.perf_counter() - start
            files = sorted(store.glob("scores/*/scores.parquet"))
            table = pd.concat([pd.read_parquet(file) for file in files])
            areas[num_concurrent] = table.loc[
                (table["metric"] == "auroc") & (table["finding"] == "macro"), "value"
            ].to_numpy()
    difference = float(np.nanmax(np.abs(areas[1] - areas[4])))
    gate = check(difference <= 0.02, f"largest difference of a macro AUROC: {difference:.2g}")
    return spread([spent[4] / spent[1]], gate, f"{spent[1]:.0f} s one after the other, {spent[4]:.0f} s four at a time")


def optimizer_step(kind: str) -> Callable[[bool], Measured]:
    """Return a benchmark of our optimizer Lion or SAM (`kind`) on the weights of ResNet-50.

    The gate compares the weights after a step with those of timm's Lion, or of a plain SAM loop. The ratio is our time
    divided by the time of PyTorch's fused AdamW (for Lion) or of the plain loop (for SAM).
    """

    def run(quick: bool) -> Measured:
        need_gpu()
        import timm
        from timm.optim import Lion as TimmLion

        from bench.training.optimizers.lion import Lion
        from bench.training.optimizers.sam import SAM

        torch.manual_seed(0)
        first: nn.Module = timm.create_model("resnet50", num_classes=FINDINGS).cuda().eval()
        x_NCHW = torch.randn(16, 3, SIDE, SIDE, device="cuda")
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
        difference = max(float((a - b).abs().max()) for a, b in pairs)
        gate = check(difference <= 1e-5, f"largest difference of a weight after a step: {difference:.1g}")
        spent = interleaved(implementations, 5 if quick else 21, gpu_clock, least_s=0.5)
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


BENCHMARKS: tuple[Benchmark, ...] = (
    *(
        Benchmark(
            "G1", f"training, {title}, 224 px, bf16", "same network on a synthetic batch", ">= 0.97", training(name)
        )
        for name, title in (
            ("resnet50", "ResNet-50"),
            ("densenet121", "DenseNet-121"),
            ("convnext_small", "ConvNeXt-S"),
        )
    ),
    Benchmark(
        "G2",
        "inference, ResNet-50, 224 px, bf16",
        "same network in timm, timed as timm does",
        ">= 1.0",
        inference("resnet50"),
    ),
    Benchmark(
        "G3", "small grid, four runs at a time on one GPU", "the runs one after the other", "<= 0.7", several_runs
    ),
    Benchmark(
        "G4",
        "optimizer step of Lion, ResNet-50",
        "fused AdamW (time), Lion of timm (weights)",
        "<= 1.1",
        optimizer_step("Lion"),
    ),
    Benchmark("G4", "optimizer step of SAM, ResNet-50", "plain SAM loop", "<= 1.1", optimizer_step("SAM")),
)
