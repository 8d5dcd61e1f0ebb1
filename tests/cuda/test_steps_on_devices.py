"""Training steps on a CPU and on a GPU: number formats, memory layout, compilation, too little memory, SAM and Lion."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.optim import Lion as TimmLion
from torch import Tensor, nn

from bench.config.run_config import Schedule
from bench.models.predict import predict, weights_sha256
from bench.planning.run import RunSpec
from bench.training.fit import TrainingResult, fit
from bench.training.optimizers.lion import Lion
from bench.training.optimizers.sam import SAM
from bench.training.torch_compile import compile_if_faster
from tests.cuda.on_device import NORMALIZER, SIDE, WIDE, Plain, Reference, losses_of, memory_for, network_on, step_on
from tests.nonempty import nonempty
from tests.unit.bench.training.test_train import a_cohort, a_run

LR = 0.1
# largest relative difference of a loss and absolute difference of a weight from those in float64. The mantissas have 23
# (fp32; 10 in convolutions on a GPU, TF32), 10 (fp16) and 7 bits (bf16)
NEAR = {"fp32": 1e-5, "fp16": 4e-3, "bf16": 3e-2}
TF32 = 4e-3


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


def sgd(precision: str = "fp32", **changes: object) -> RunSpec:
    """Return a run with plain gradient descent and no augmentation."""
    schedule = Schedule(epochs=1, batch_size=8, lr=LR, kind="constant", warmup=0.0)
    run = a_run("sgd", augmentation="none", precision=precision, **{"schedule": schedule} | changes)
    optimizer = replace(run.entries["optimizer"], options={"lr": LR, "momentum": 0.0, "weight_decay": 0.0})
    return replace(run, entries=run.entries | {"optimizer": optimizer})


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_steps_have_the_losses_and_weights_of_the_same_training_in_float64(
    precision: str, device: torch.device
) -> None:
    reference, step = Reference(Plain(), LR), step_on(device, sgd(precision))
    if precision == "fp16":  # no step overflows at this scale; the default of 65,536 would first be lowered
        step.scaler = torch.amp.GradScaler(device.type, init_scale=128.0)
    near = max(NEAR[precision], TF32 if device.type == "cuda" else 0)
    np.testing.assert_allclose(losses_of(step), reference.train(), rtol=near)
    weights = {name: p.detach() for name, p in step.network.backbone.named_parameters()}
    for name, expected in reference.network.named_parameters():
        assert weights[name].dtype == torch.float32, "weights stay in float32 whatever the passes have"
        torch.testing.assert_close(weights[name].cpu().double(), expected, rtol=0, atol=near, msg=name)


def test_a_step_that_overflows_in_fp16_moves_no_weight_and_halves_the_scale(device: torch.device) -> None:
    step = step_on(device, sgd("fp16"))
    assert step.scaler is not None
    step.scaler = torch.amp.GradScaler(device.type, init_scale=2.0**40)
    before = weights_sha256(step.network.backbone.head)
    (loss,) = losses_of(step, 1)
    assert np.isfinite(loss)
    assert weights_sha256(step.network.backbone.head) == before
    assert step.scaler.get_scale() == 2.0**39
    state = step.state_dict()["scaler"]
    step.scaler = torch.amp.GradScaler(device.type, init_scale=128.0)
    losses_of(step, 1)
    assert weights_sha256(step.network.backbone.head) != before
    step.scaler.load_state_dict(state)
    assert step.scaler.get_scale() == 2.0**39, "the scale of the checkpoint"


def test_weights_and_maps_are_in_channels_last(device: torch.device) -> None:
    step, layouts = step_on(device, sgd()), []
    second = step.network.backbone.second

    def note(_: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        layouts.extend(x.is_contiguous(memory_format=torch.channels_last) for x in (*inputs, output))

    second.register_forward_hook(note)
    losses_of(step)
    assert len(layouts) == 3 * 2
    assert all(layouts)
    assert second.weight.is_contiguous(memory_format=torch.channels_last)
    assert not second.weight.is_contiguous()


# inductor says on a GPU that TF32 is off, and tracers warn of what they will drop
@pytest.mark.filterwarnings("default")
def test_a_compiled_pass_takes_the_steps_of_one_that_is_not(device: torch.device) -> None:
    """On the CPU without the last stage, which starts a C++ compiler for 20 seconds."""
    backend = "inductor" if device.type == "cuda" else "aot_eager"
    calls, plain, step = count(), step_on(device, sgd()), step_on(device, sgd())

    def clock() -> float:
        passes, half = divmod(next(calls), 2)
        return half * (2.0 if passes < 6 else 1.0)

    before = weights_sha256(step.network)
    said = compile_if_faster(step, 10**6, partial(torch.compile, backend=backend), clock)
    assert said == "compiled: a pass takes 1e+03 ms compiled and 2e+03 ms without"
    assert weights_sha256(step.network) == before, "to try it changes no weight and no statistic"
    near = TF32 if device.type == "cuda" else 1e-5
    np.testing.assert_allclose(losses_of(step), losses_of(plain), rtol=near)


def test_a_batch_that_does_not_fit_is_split_and_the_step_stays_that_of_the_parts(device: torch.device) -> None:
    width = WIDE if device.type == "cuda" else 8
    backbone = Plain(dropout=0.3, width=width)
    schedule = Schedule(epochs=1, batch_size=16, lr=LR, kind="constant", warmup=0.0)
    asked = step_on(device, sgd(schedule=replace(schedule, micro_batch=8)), Plain(dropout=0.3, width=width))
    expected = losses_of(asked, 1, 16)
    step = step_on(device, sgd(schedule=schedule), backbone)
    passes = step_on(device, sgd(), Plain(width=width))  # measures the memory of a pass, with weights of its own

    def a_pass(num: int) -> None:
        passes.micro = num
        passes.trial_pass()

    with memory_for(8, device, backbone, a_pass):
        found = losses_of(step, 1, 16)
    assert (step.halved, step.micro) == (True, 8)
    np.testing.assert_allclose(found, expected, rtol=TF32 if device.type == "cuda" else 0)


def test_predictions_that_do_not_fit_are_split_and_stay_what_they_are(device: torch.device) -> None:
    backbone = Plain(width=WIDE if device.type == "cuda" else 8)
    network, rows = network_on(device, backbone), np.arange(40)
    reader = step_on(device, sgd()).reader
    expected, _ = predict(network, NORMALIZER, reader, rows, device)

    def a_pass(num: int) -> None:
        predict(network, NORMALIZER, reader, rows[:num], device)

    with memory_for(20, device, backbone, a_pass):
        found, _ = predict(network, NORMALIZER, reader, rows, device)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


class Interrupted(Exception):  # noqa: N818  (nothing is wrong)
    """Training stops, as when a user ends it."""


def trained(run: RunSpec, device: torch.device, checkpoint: Path, stop_at: int | None = None) -> TrainingResult:
    step, (_, internal, val) = step_on(device, run), a_cohort()

    def progress(what: str, done: int, total: int) -> None:
        if done == stop_at:
            raise Interrupted

    network = network_on(device, Plain(dropout=0.3))
    return fit(run, network, NORMALIZER, step.reader, internal, {"val": val}, device, checkpoint, progress)


@pytest.mark.parametrize(
    ("optimizer", "precision"), [("adamw", "fp32"), ("adamw", "bf16"), ("sgd", "fp16"), ("sam", "bf16")]
)
def test_a_training_that_was_stopped_and_went_on_ends_with_the_weights_of_one_that_was_not(
    optimizer: str, precision: str, device: torch.device, tmp_path: Path
) -> None:
    """Bit by bit on the CPU. On a GPU, some sums have an order that changes."""
    run = a_run(optimizer, precision=precision, augmentation="full")
    whole = trained(run, device, tmp_path / "whole.pt")
    with pytest.raises(Interrupted):
        trained(run, device, tmp_path / "stopped.pt", stop_at=5)  # in the second epoch of three steps each
    resumed = trained(run, device, tmp_path / "stopped.pt")
    pairs = zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True)
    near = 2e-3 if device.type == "cuda" else 0
    for found, expected in pairs:
        assert found.device == device
        torch.testing.assert_close(found, expected, rtol=near, atol=near)
    np.testing.assert_allclose(resumed.history["train_loss"], whole.history["train_loss"], rtol=near)


def a_problem(device: torch.device, dropout: float = 0.0) -> tuple[nn.Module, Tensor]:
    """Return a network and its input, the same on each device."""
    network, draw = Plain(dropout), torch.Generator().manual_seed(1)
    return network.to(device).eval(), torch.randn(4, 1, SIDE, SIDE, generator=draw).to(device)


def test_lion_takes_the_steps_of_timms_lion(device: torch.device) -> None:
    (ours, x_NCHW), (theirs, _) = a_problem(device), a_problem(device)
    optimizers = [kind(network.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1)
                  for kind, network in ((Lion, ours), (TimmLion, theirs))]  # fmt: skip
    for _ in range(3):
        ours.zero_grad()
        ours(x_NCHW).square().mean().backward()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            other.grad = mine.grad.clone()  # equal gradients: the last bit of one near 0 would turn its sign
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in nonempty(zip(ours.parameters(), theirs.parameters(), strict=True)):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-6)


def test_sam_takes_the_steps_of_a_plain_loop(device: torch.device) -> None:
    (ours, x_NCHW), (plain, _) = a_problem(device), a_problem(device)
    sam = SAM(ours.parameters(), ours, base=torch.optim.SGD, rho=0.05, lr=LR)
    base = torch.optim.SGD(plain.parameters(), lr=LR)

    def closure(network: nn.Module) -> Tensor:
        network.zero_grad()
        loss = network(x_NCHW).square().mean()
        loss.backward()
        return loss.detach()

    for _ in range(3):
        sam.step(lambda: closure(ours))
        plain_sam(plain, base, lambda: closure(plain))
    for mine, other in nonempty(zip(ours.parameters(), plain.parameters(), strict=True)):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_both_passes_of_sam_drop_the_same_units(device: torch.device) -> None:
    network, x_NCHW = a_problem(device, dropout=0.5)
    network.train()
    sam, masks = SAM(network.parameters(), network, base=torch.optim.SGD, rho=0.05, lr=LR), []
    network.dropout.register_forward_hook(lambda _, inputs, output: masks.append((output == 0) & (inputs[0] != 0)))

    def closure() -> Tensor:
        network.zero_grad()
        loss = network(x_NCHW).square().mean()
        loss.backward()
        return loss.detach()

    for _ in range(2):
        sam.step(closure)
    assert masks[0].any()
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    assert not torch.equal(masks[1], masks[2]), "the next step draws anew"
