"""The self-test of a device (`bench check --device`): training, prediction and a grid, compared with the CPU and plain torch.

A test that fails keeps its traceback, and the others go on. Legend: N images, K findings, C channels, H height, W width.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from bench.config.registry import Registry
from bench.config.run_config import RunConfig, Schedule
from bench.inputs.batches import BatchReader
from bench.inputs.examples import Examples
from bench.inputs.normalize import Normalizer
from bench.models.network import Network, build
from bench.models.predict import predict
from bench.planning.run import RunSpec
from bench.runs.provenance import environment
from bench.system.devices import check_device, first_device
from bench.system.peak_memory import PeakMemory
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.checks.release import Check
from harmonize.errors import SetupError
from harmonize.progress import Progress

FAMILIES = (
    "resnet18",
    "densenet121",
    "efficientnet_lite0",
    "seresnet_tiny",
    "convnextv2_t",
    "dinov2_tiny",
    "swinv2_tiny",
)
# largest difference of a loss from the loss of the CPU in fp32, as a share of it. A GPU rounds the inputs of convolutions to
# 10 bits (TF32), bf16 has 7 bits: on a CPU, bf16 differs by up to .02
NEAR_LOSS = {"fp32": 0.01, "bf16": 0.05}
# largest difference of a logit from the logit of the CPU in fp32, in standard deviations: predictions in fp32 do not use TF32
NEAR_LOGIT = {"fp32": 1e-3, "bf16": 0.05}
LEARNING_RATES = {"sgd": 0.02, "sam": 1e-3, "adamw": 1e-4}
SIDE = 64  # pixels of a side of an image
BATCH = 8  # images of a batch
K = 9  # outputs of a network
# kind of device -> network, pixels of a side, images of a batch, grid; seconds of a measurement
SIZES = {"cpu": ("seresnet_tiny", SIDE, BATCH, "tiny", 0.5), "gpu": ("resnet50", 224, 64, "demo", 3.0)}
NEEDED_BYTES = 4e9  # free memory that is necessary
OTHERS_BYTES = 2e9  # memory that other processes may use
CPU = torch.device("cpu")


class DisagreementError(Exception):
    """Error: a number differs too much from the number of the CPU or of plain torch."""


def examine_device(name: str, progress: Progress) -> tuple[list[Check], str]:
    """Test a device; return the checks, and a line to paste into an issue. Write check-NAME.json with tracebacks and environment.

    Raises ConfigError for an invalid name, SetupError if the device is missing, does not work, or is used by others.
    """
    device = usable_device(name)
    began = time.time()
    measured: dict[str, float] = {}
    tests = _tests(device, measured)
    checks: list[Check] = []
    tracebacks: dict[str, str] = {}  # name of a failed test -> its traceback
    for what, test in tests.items():
        progress(what, len(checks), len(tests))
        try:
            checks.append(Check("", what, "ok", "", test()))
        except Exception as error:  # noqa: BLE001  (a driver may raise anything, and the other tests go on)
            tracebacks[what] = traceback.format_exc()
            checks.append(Check("", what, "fault", "", f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"))
    facts = environment(device, 1, began) | {"diff": ""}  # the file may be attached to an issue: without local changes
    parts = [f"unseen-cxr {facts['versions'].get('unseen-cxr')} {facts['commit']}", f"torch {torch.__version__}"]
    parts += [f"{device}: {facts['device']}", f"{len(checks) - len(tracebacks)} of {len(checks)} ok"]
    if tracebacks:
        parts.append(f"failed: {', '.join(tracebacks)}")
    parts += [f"{key} {value:.4g}" for key, value in measured.items()]
    facts |= {"checks": {check.what: check.found for check in checks}, "measured": measured, "tracebacks": tracebacks}
    path = Path(f"check-{str(device).replace(':', '-')}.json")
    path.write_text(json.dumps({"summary": "; ".join(parts)} | facts, indent=1))
    return checks, f"{path} has the details. To paste into an issue:\n{'; '.join(parts)}"


def usable_device(name: str) -> torch.device:
    """Return the device. Raises ConfigError for an invalid name, SetupError if the device is missing, used, or does not work."""
    where = f"--device {name}"
    if name != "mps":
        check_device(name)
        name = first_device(name)
    fix = "end the other processes (`nvidia-smi` lists them), or choose another device"
    try:
        free, total = _memory_of(torch.device(name))
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"\.\s|\n", str(error))[0]
        if not re.search("out of memory|busy", reason):
            fix = "install a driver that fits, or the torch for this driver and GPU: https://pytorch.org/get-started"
        what = f"torch {torch.__version__} (CUDA {torch.version.cuda}) cannot use {name}: {reason}"
        raise SetupError(what, where, fix) from error
    if total - free > OTHERS_BYTES:
        raise SetupError(f"other processes use {(total - free) / 1e9:.1f} GB of {name}", where, fix)
    if free < NEEDED_BYTES:
        what = f"{name} has {free / 1e9:.1f} GB of free memory, and the test needs {NEEDED_BYTES / 1e9:.0f} GB"
        raise SetupError(what, where, fix)
    return torch.device(name)


def _memory_of(device: torch.device) -> tuple[float, float]:
    """Compute something on the device; return the bytes of its free and of its total memory (known for CUDA only)."""
    ones = torch.ones(8, 8, device=device)
    (ones @ ones).sum().item()
    return torch.cuda.mem_get_info(device) if device.type == "cuda" else (NEEDED_BYTES, NEEDED_BYTES)


def _tests(device: torch.device, measured: dict[str, float]) -> dict[str, Callable[[], str]]:
    """Return the tests by their names. `measured` gets speeds and memory."""
    network, side, batch, grid, seconds = SIZES["cpu" if device.type == "cpu" else "gpu"]
    runs = [(family, precision, "sgd") for family in FAMILIES for precision in NEAR_LOSS]
    tests: dict[str, Callable[[], str]] = {
        f"training of {family} in {precision}, {optimizer}": partial(_losses_near, device, family, precision, optimizer)
        for family, precision, optimizer in [*runs, ("seresnet_tiny", "bf16", "sam")]
    }
    tests |= {f"predictions of two networks in {of}": partial(_predictions, device, of) for of in NEAR_LOGIT}
    tests[f"speed of {network}"] = partial(_speed, device, measured, network, side, batch, seconds)
    tests[f"compiled training of {network}"] = partial(_compiled, device, measured, network, side, batch, seconds)
    if device.type != "mps":  # which `bench run` does not take
        tests[f"grid {grid}, two runs at a time"] = partial(_grid, device, grid)
    return tests


def training_step(
    device: torch.device, name: str, precision: str, optimizer: str, side: int = SIDE, batch: int = BATCH
) -> Step:
    """Return a training step of an architecture on synthetic images: the same images and first weights on each device."""
    num = 4 * batch
    draw = np.random.default_rng(0)
    schedule = Schedule(epochs=1, batch_size=batch, lr=LEARNING_RATES[optimizer], kind="constant", warmup=0.0)
    config = RunConfig(
        name, optimizer, "bce", "u_ignore", "imagenet_224", schedule=schedule, precision=precision, augmentation="none"
    )
    run = RunSpec.of(config, Registry.read(), "internal", None)
    network = _network(name).to(device).to(memory_format=torch.channels_last)
    ids = np.arange(num).astype(str).astype(object)
    train = Examples(ids, ids, np.arange(num), draw.choice(np.array([0, 1], np.int8), (num, K)))
    reader = BatchReader(draw.integers(0, 256, (num, side, side)).astype(np.uint8), device)
    loss = TrainingLoss(run, TrainingTargets.of(run, train, device))
    step = Step(run, network, _normalizer(network), reader, train.rows, loss, device)
    step.begin_epoch(1)
    step.set_lr(1.0)
    return step


def _network(name: str) -> Network:
    """Return a network with random weights and without dropout, whose masks differ between devices."""
    entry = Registry.read().find("architectures", name, name)
    network = build(entry.use, entry.options, K)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def _normalizer(network: Network) -> Normalizer:
    return Normalizer(["imagenet"], network.mean, network.std, network.in_channels)


def _losses(step: Step) -> list[float]:
    """Return the losses of three steps on the same batch: they fall as on the CPU only if the gradients are right."""
    return [float(step(np.arange(step.schedule.batch_size), 1, i)) for i in range(3)]


@cache
def _losses_on_cpu(name: str, optimizer: str) -> list[float]:
    return _losses(training_step(CPU, name, "fp32", optimizer))


def _near(found: Any, expected: Any, bound: float) -> str:
    """Return a text with the largest difference. Raises DisagreementError if the difference exceeds the bound, or is no number."""
    difference = float(np.abs(np.asarray(found) - np.asarray(expected)).max())
    text = f"largest difference {difference:.1g}, bound {bound:g}"
    if not difference <= bound:
        raise DisagreementError(text)
    return text


def _losses_near(device: torch.device, name: str, precision: str, optimizer: str) -> str:
    losses = _losses(training_step(device, name, precision, optimizer))
    return _near(np.divide(losses, _losses_on_cpu(name, optimizer)), 1.0, NEAR_LOSS[precision])


def _predictions(device: torch.device, precision: str) -> str:
    networks = [_network("resnet18"), _network("densenet121")]
    images = np.random.default_rng(0).integers(0, 256, (4 * BATCH, SIDE, SIDE)).astype(np.uint8)
    rows = np.arange(len(images))
    reader = BatchReader(images, device)
    expected = [predict(network, _normalizer(network), BatchReader(images, CPU), rows, CPU)[0] for network in networks]
    found = [
        predict(network.to(device), _normalizer(network), reader, rows, device, precision)[0] for network in networks
    ]
    return _near(np.divide(found, np.std(expected)), np.divide(expected, np.std(expected)), NEAR_LOGIT[precision])


def compared_steps(
    device: torch.device, name: str, side: int, batch: int
) -> tuple[Step, dict[str, Callable[[], object]]]:
    """Return a training step in bf16, and two calls: "ours" takes this step, "plain" a step of the same network.

    The plain step is a few lines of torch on one batch that stays on the device.
    """
    step = training_step(device, name, "bf16", "adamw", side, batch)
    plain = deepcopy(step.network).train()
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=0.01, fused=device.type == "cuda")
    x_NCHW = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    target_NK = torch.randint(0, 2, (batch, K), device=device).float()
    numbers = iter(range(10**9))
    draw = np.random.default_rng(1)

    def plain_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            logit_NK = plain.outputs(x_NCHW)
        binary_cross_entropy_with_logits(logit_NK.float(), target_NK).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step, {"ours": lambda: step(draw.permutation(4 * batch)[:batch], 1, next(numbers)), "plain": plain_step}


def _seconds(device: torch.device, work: Callable[[], object], least: float) -> float:
    """Return the median seconds of a call, from calls of at least `least` seconds in total after three others."""
    spent: list[float] = []
    while len(spent) < 4 or sum(spent[3:]) < least:
        start = time.perf_counter()
        work()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        spent.append(time.perf_counter() - start)
    return median(spent[3:])


def _speed(device: torch.device, measured: dict[str, float], name: str, side: int, batch: int, least: float) -> str:
    memory = PeakMemory.start(device)
    rows = np.arange(4 * batch)
    step, calls = compared_steps(device, name, side, batch)
    ours, plain = (_seconds(device, call, least) for call in calls.values())
    measured |= {"trained images/s in bf16": batch / ours, "as a share of a plain loop": plain / ours}
    for precision in NEAR_LOSS:
        call = partial(predict, step.network, step.normalizer, step.reader, rows, device, precision)
        measured[f"predicted images/s in {precision}"] = len(rows) / _seconds(device, call, least)
    measured["peak memory in GB"] = (memory.bytes or 0) / 1e9
    return f"{batch / ours:,.0f} trained images/s, {plain / ours:.2f} of a plain loop of the same network"


def _compiled(device: torch.device, measured: dict[str, float], name: str, side: int, batch: int, least: float) -> str:
    (eager, call), (compiled, compiled_call) = (compared_steps(device, name, side, batch) for _ in range(2))
    # on a CPU without the last stages, which start a C++ compiler for 20 seconds
    compiled.forward = torch.compile(compiled.forward, backend="eager" if device.type == "cpu" else "inductor")
    start = time.perf_counter()
    losses = _losses(compiled)
    compiling = time.perf_counter() - start
    text = _near(np.divide(losses, _losses(eager)), 1.0, NEAR_LOSS["bf16"])
    without, after = (_seconds(device, calls["ours"], least) for calls in (call, compiled_call))
    measured["compiled, times as fast"] = without / after
    gain = f"saves time from step {compiling / (without - after):,.0f} on" if after < without else "saves no time"
    return f"{text}; a step takes {1e3 * without:.3g} ms, compiled {1e3 * after:.3g} ms; compilation takes {compiling:.3g} s and {gain}"


def _grid(device: torch.device, grid: str) -> str:
    """Run a grid as a user does. The text of a failure has what the command and the failed runs wrote."""
    torch.cuda.empty_cache()  # the memory of the tests before, which the runs may need
    with tempfile.TemporaryDirectory() as folder:
        options = ["--grid", grid, "--store", folder, "--device", str(device), "--per-device", "2", "--quiet"]
        command = [sys.executable, "-m", "bench.cli", "run", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        failed = "\n".join(path.read_text() for path in sorted(Path(folder).glob("*/*/FAILED")))
    if done.returncode:
        raise RuntimeError(
            f"exit code {done.returncode} of bench run --grid {grid}\n{done.stdout}{done.stderr}{failed}"
        )
    return next(line for line in done.stdout.splitlines() if "runs done" in line)
