"""What reaches the device: batches, seeds, prepared images; and what comes back: logits, heat maps, cost."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from bench.config.preprocessing_ops import READ_BYTES
from bench.config.registry import Registry
from bench.inputs import batches
from bench.inputs.batches import BatchReader, free_memory
from bench.inputs.device_transfer import seed_device, to_device
from bench.inputs.normalize import Normalizer
from bench.models.cost import throughput
from bench.models.network import build
from bench.models.predict import predict
from bench.runs.provenance import environment
from bench.system.peak_memory import PeakMemory
from bench.training.data_parallel import DataParallelGroup
from tests.cuda.on_device import NORMALIZER, losses_of, network_on, step_on
from tests.nonempty import nonempty
from tests.unit.bench.training.test_train import K, a_run

CPU, NUM = torch.device("cpu"), 48
REGISTRY = Registry.read()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (NUM, 64, 64)).astype(np.uint8)


class Large:
    """Images that no memory can hold, so that batches are prefetched."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape, self.nbytes = images, images.shape, 1 << 62

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows]


@pytest.mark.parametrize("kept", [True, False])
def test_batches_are_those_of_the_cache_while_the_device_is_busy(
    kept: bool, device: torch.device, images: np.ndarray
) -> None:
    """Kept on the GPU, or copied from pinned memory on a stream of its own: a copy must be complete before its use."""
    reader = BatchReader(images if kept else Large(images), device)  # type: ignore[arg-type]
    assert (reader.resident is not None) == (kept and device.type == "cuda")
    assert (reader.stream is not None) == (not kept and device.type == "cuda")
    draw = np.random.default_rng(1)
    rows = [draw.permutation(NUM)[:16] for _ in range(50)]
    busy, sums = torch.eye(512 if device.type == "cuda" else 8, device=device), []
    with reader.prefetch(rows):
        for batch in rows:
            busy = busy @ busy
            image_NHW = reader(batch)
            assert (image_NHW.dtype, image_NHW.device) == (torch.uint8, device)
            sums.append((image_NHW.long() * torch.arange(1, 65, device=device)).sum((1, 2)))
            del image_NHW  # its memory may be given to the next copy
    expected = [(images[batch].astype(np.int64) * np.arange(1, 65)).sum((1, 2)) for batch in rows]
    assert np.array_equal(torch.stack(sums).cpu().numpy(), np.stack(expected))


def test_a_large_cache_is_not_kept_on_the_device(
    gpu: torch.device, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 0 < free_memory(gpu) <= torch.cuda.mem_get_info(gpu)[1]
    monkeypatch.setattr(batches, "free_memory", lambda _: 2 * images.nbytes)
    assert BatchReader(images, gpu).resident is None
    monkeypatch.setattr(batches, "free_memory", lambda _: 2 * images.nbytes + 1)
    assert BatchReader(images, gpu).resident is not None


def test_a_limit_of_the_process_is_its_free_memory(gpu: torch.device) -> None:
    total = torch.cuda.mem_get_info(gpu)[1]
    torch.cuda.set_per_process_memory_fraction(0.01, gpu)
    try:
        assert free_memory(gpu) <= 0.01 * total
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)


def test_copies_have_the_values_of_the_host(device: torch.device) -> None:
    there = [to_device(torch.arange(1000) + i, device) for i in range(20)]
    for i, tensor in enumerate(there):
        assert tensor.device == device
        assert torch.equal(tensor.cpu(), torch.arange(1000) + i)


def test_a_seed_gives_the_same_draws_on_the_device_and_on_the_host(device: torch.device) -> None:
    drawn = []
    for seed in (1, 1, 2):
        seed_device(seed, device)
        drawn.append((torch.rand(8, device=device), torch.rand(8)))
    for first, second, other in nonempty(zip(*drawn, strict=True)):
        assert torch.equal(first, second)
        assert not torch.equal(first, other)


@pytest.mark.parametrize("name", REGISTRY.sections["augmentation"])
def test_an_augmented_image_is_that_of_the_cpu(name: str, device: torch.device, images: np.ndarray) -> None:
    entry = REGISTRY.sections["augmentation"][name]
    if not entry.use:
        pytest.skip("no augmentation")
    augment = partial(entry.load(), seed=3, **entry.options)
    prepared = [
        NORMALIZER(torch.from_numpy(images[:8]).to(where), augment, of_bytes=entry.use in READ_BYTES)
        for where in (CPU, device)
    ]
    assert prepared[1].device == device
    torch.testing.assert_close(prepared[1].cpu(), prepared[0], rtol=0, atol=1e-2)  # 1e-2 / 4 of a gray value of 255


def in_float64(network: nn.Module, normalizer: Normalizer, images: np.ndarray) -> np.ndarray:
    """Return the logits of a network in float64 on the CPU."""
    twin = copy.deepcopy(network).cpu().double().eval()
    with torch.inference_mode():
        return twin.outputs(normalizer(torch.from_numpy(images)).double()).numpy()


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_lite0", "convnext_atto"])
def test_logits_in_fp32_are_those_in_float64(name: str, device: torch.device, images: np.ndarray) -> None:
    torch.manual_seed(0)
    network = build("bench.models.network:timm_model", {"name": name}, K)
    normalizer = Normalizer(["imagenet"], network.mean, network.std)
    expected = in_float64(network, normalizer, images[:16])
    network.to(device).to(memory_format=torch.channels_last)
    found, _ = predict(network, normalizer, BatchReader(images, device), np.arange(16), device, "fp32")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * max(1, expected.std()))


@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("bf16", True)])
def test_convolutions_in_fp32_are_not_rounded_to_tf32_and_the_setting_is_restored(
    precision: str, rounds: bool, device: torch.device, images: np.ndarray
) -> None:
    network, seen = network_on(device), []
    network.backbone.first.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    assert torch.backends.cudnn.allow_tf32, "the default of torch"
    predict(network, NORMALIZER, BatchReader(images, device), np.arange(NUM), device, precision)
    assert set(seen) == {rounds}
    assert torch.backends.cudnn.allow_tf32
    network.backbone.first.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predict(network, NORMALIZER, BatchReader(images, device), np.arange(NUM), device, precision)
    assert torch.backends.cudnn.allow_tf32


def test_heat_maps_are_those_of_the_cpu(device: torch.device, images: np.ndarray) -> None:
    heat_maps = pytest.importorskip("bench.extensions.heat_maps.gradcam").heat_maps
    network, there = network_on(CPU).eval(), network_on(device).eval()
    x_N1HW = NORMALIZER(torch.from_numpy(images[:4]))
    expected, found = heat_maps(network, x_N1HW), heat_maps(there, x_N1HW.to(device))
    near = 1e-2 if device.type == "cuda" else 1e-6  # convolutions of explanations may round to TF32
    for field in ("logit_NK", "heat_NKhw"):
        torch.testing.assert_close(getattr(found, field).cpu(), getattr(expected, field), rtol=0, atol=near)


def test_a_group_of_one_process_trains_as_a_process_alone(device: torch.device) -> None:
    """With the library of several GPUs (NCCL; Gloo on a CPU), whose sums here have one term."""
    run = a_run("adamw", augmentation="none")
    alone = losses_of(step_on(device, run))
    store = dist.TCPStore("127.0.0.1", 0, 1, is_master=True, wait_for_workers=False)
    group = DataParallelGroup.join(0, 1, "127.0.0.1", store.port, device)
    try:
        assert dist.get_backend() == ("nccl" if device.type == "cuda" else "gloo")
        found = losses_of(step_on(device, run, processes=group))
        tensors = [torch.arange(5.0, device=device), torch.ones(2, 3, device=device, dtype=torch.float64)]
        DataParallelGroup(0, 2, group.control).all_reduce(tensors)  # said to be two, so that the library is asked
        assert DataParallelGroup(0, 2, group.control).broadcast(True)
        gathered = DataParallelGroup(0, 1, group.control).all_gather(np.arange(3))
    finally:
        dist.destroy_process_group()
    np.testing.assert_allclose(found, alone, rtol=1e-5 if device.type == "cuda" else 0)
    assert tensors[0].tolist() == [0, 1, 2, 3, 4]
    assert torch.equal(tensors[1], torch.ones(2, 3, device=device, dtype=torch.float64))
    assert gathered.tolist() == [0, 1, 2]


def test_memory_speed_and_hardware_are_those_of_the_device(device: torch.device) -> None:
    peak = PeakMemory.start(device)
    block = torch.ones(1 << 22, device=device)  # 16 MB
    assert peak.bytes is None or peak.bytes >= block.nbytes
    assert throughput(network_on(device), 64, device, batch=4) > 0
    found = environment(device, 1, 0.0)
    assert found["device"].startswith("cpu") == (device.type == "cpu")
    assert ("gpu_memory_bytes" in found["hardware"]) == (device.type == "cuda")
