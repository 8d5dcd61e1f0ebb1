"""What a user can choose in a grid, on a CPU and on a GPU: algorithms, losses, optimizers, preprocessing, clipped gradients."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.config.registry import Registry
from bench.config.run_config import Schedule
from bench.inputs.batches import BatchReader
from bench.inputs.histograms import learn
from bench.inputs.normalize import Normalizer
from bench.planning.run import RunSpec
from bench.training.fit import TrainingResult, fit
from tests.cuda.on_device import MEAN, NORMALIZER, STD, Plain, losses_of, network_on, step_on
from tests.cuda.test_steps_on_devices import LR, sgd
from tests.unit.bench.training.test_train import a_cohort, a_run
from tests.unit.bench.training.test_training_algorithms import grouped_cohort

CPU = torch.device("cpu")
SECTIONS = Registry.read().sections
ALGORITHMS = [name for name in SECTIONS["algorithms"] if name != "erm"]
NEAR = 5e-3  # largest difference from the CPU in a loss: convolutions may round to TF32
EXACT = 1e-3  # in a weight after nine steps and in the loss of an epoch, without TF32: sums have another order


def trained(run: RunSpec, device: torch.device, folder: Path) -> TrainingResult:
    """Return a training of three epochs with exact starting weights, in two groups if the algorithm has groups."""
    reader, internal, val = grouped_cohort() if run.group_column else a_cohort()
    own, network = BatchReader(reader.images, device), network_on(device, Plain())
    with torch.backends.cudnn.flags(allow_tf32=False):
        watched, checkpoint = {"val": val}, folder / f"{device.type}.pt"
        return fit(run, network, NORMALIZER, own, internal, watched, device, checkpoint, lambda *_: None)


def differences(found: TrainingResult, expected: TrainingResult) -> dict[str, float]:
    """Return the largest difference of each weight and statistic of two networks."""
    pairs = zip(found.network.state_dict().items(), expected.network.state_dict().values(), strict=True)
    return {name: float((ours.cpu().float() - theirs.float()).abs().max()) for (name, ours), theirs in pairs}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_training_with_an_algorithm_ends_near_the_weights_of_the_cpu(
    name: str, gpu: torch.device, tmp_path: Path
) -> None:
    """On a CPU, other tests do this. Plain gradient descent: Adam turns the last bit of a gradient near 0 into a step."""
    schedule = Schedule(epochs=3, batch_size=8, lr=0.002, kind="constant", warmup=0.0)
    run = sgd(algorithm=name, groups="sex", schedule=schedule)
    found, expected = trained(run, gpu, tmp_path), trained(run, CPU, tmp_path)
    far = {weight: value for weight, value in differences(found, expected).items() if value > EXACT}
    assert not far, "weights that differ"
    assert found.gradient_evaluations == expected.gradient_evaluations
    np.testing.assert_allclose(found.history["train_loss"], expected.history["train_loss"], rtol=EXACT)


@pytest.mark.parametrize("name", SECTIONS["losses"])
def test_a_loss_is_that_of_the_cpu(name: str, gpu: torch.device) -> None:
    run = sgd(loss=name)
    np.testing.assert_allclose(losses_of(step_on(gpu, run)), losses_of(step_on(CPU, run)), rtol=NEAR, atol=1e-5)


@pytest.mark.parametrize("name", SECTIONS["optimizers"])
def test_an_optimizer_lowers_the_loss_on_the_device(name: str, gpu: torch.device) -> None:
    """Weights are not compared: where a gradient is near 0, its sign decides the steps of most optimizers."""
    step, same_batch = step_on(gpu, a_run(name, augmentation="none")), np.arange(16)
    losses = [float(step(same_batch, 1, i)) for i in range(12)]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", [n for n, entry in SECTIONS["uncertainty"].items() if "states" not in entry.facts])
def test_an_uncertainty_policy_gives_the_losses_of_the_cpu(name: str, gpu: torch.device) -> None:
    run = sgd(uncertainty=name)
    np.testing.assert_allclose(losses_of(step_on(gpu, run)), losses_of(step_on(CPU, run)), rtol=NEAR, atol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("ops", [["histstd", "imagenet"], ["histmatch", "imagenet"], ["minmax"], ["zscore"]])
def test_images_are_normalized_as_on_the_cpu(ops: list[str], padded: bool, gpu: torch.device) -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 40, 40)).astype(np.uint8))
    images[:, :6] = 0
    reference = {ops[0]: learn(ops[0], [images], padded=padded)} if len(ops) > 1 else {}
    normalizer = Normalizer(ops, MEAN, STD, 1, reference=reference, padded=padded)
    torch.testing.assert_close(normalizer(images.to(gpu)).cpu(), normalizer(images), rtol=0, atol=1e-4)


def test_gradients_in_fp16_are_clipped_after_their_scale_is_removed(device: torch.device) -> None:
    """Gradients 65,536 times too large, clipped before they are divided, would give the weights other steps."""
    schedule = Schedule(epochs=1, batch_size=8, lr=LR, kind="constant", warmup=0.0, clip=0.05)
    steps = [step_on(device, sgd(precision, schedule=schedule)) for precision in ("fp16", "fp32")]
    unclipped = step_on(device, sgd(schedule=replace(schedule, clip=0.0)))
    steps[0].scaler = torch.amp.GradScaler(device.type, init_scale=128.0)
    before = [p.detach().clone() for p in unclipped.network.parameters()]
    norms = []
    for step in (*steps, unclipped):
        losses_of(step, 1)
        moved = [p.detach() - old for p, old in zip(step.network.parameters(), before, strict=True)]
        norms.append(float(torch.cat([part.flatten() for part in moved]).norm()) / LR)
    assert norms[0] == pytest.approx(0.05, rel=1e-2)
    assert norms[1] == pytest.approx(0.05, rel=1e-2)
    assert norms[2] > 0.06, "clipping changes this step"
