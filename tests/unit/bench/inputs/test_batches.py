"""Batches have the same bits however they are read, and no training step waits for the device."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from bench.config.run_config import Schedule
from bench.inputs.batches import BatchReader, Rows, resident
from bench.inputs.normalize import Normalizer
from bench.models.network import build
from bench.training.step import Step
from bench.training.training_loss import TrainingLoss, TrainingTargets
from harmonize.cache.packed import PackedImages, pack
from tests.unit.bench.training.test_train import CPU, K, a_cohort, a_run

META = torch.device("meta")


class Recorded:
    """Images that record which thread reads how many at a time, and fail at one row."""

    def __init__(self, images: np.ndarray | PackedImages, bad: int = -1) -> None:
        self.images, self.bad, self.readers, self.numbers = images, bad, list[str](), list[int]()
        self.nbytes, self.shape = 1 << 62, images.shape  # larger than any memory, so batches are prefetched

    def __getitem__(self, rows: Rows) -> np.ndarray:
        self.readers.append(threading.current_thread().name)
        self.numbers.append(len(rows))
        if self.bad in rows:
            raise OSError("the disk is gone")
        return self.images[rows]


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 8, 8)).astype(np.uint8)


def batches(seed: int = 0) -> list[Rows]:
    order = np.random.default_rng(seed).permutation(30)
    return [order[i : i + 7] for i in range(0, 30, 7)]


def test_prefetched_batches_equal_batches_read_directly(images: np.ndarray) -> None:
    recorded = Recorded(images)
    reader = BatchReader(recorded, CPU)  # type: ignore[arg-type]
    with reader.prefetch(batches()):
        for rows in batches():
            assert torch.equal(reader(rows), torch.from_numpy(images[rows]))
    assert len(recorded.readers) == 5
    assert all(name.startswith("prefetch") for name in recorded.readers)
    assert threading.main_thread().name not in recorded.readers


def test_an_unannounced_batch_is_read_directly_and_the_order_stays(images: np.ndarray) -> None:
    reader, plan, other = BatchReader(Recorded(images), CPU), batches(), np.array([3, 1])  # type: ignore[arg-type]
    with reader.prefetch(plan):
        for rows in (other, plan[0], other, plan[1], plan[2], plan[0]):
            assert torch.equal(reader(rows), torch.from_numpy(images[rows]))
    assert torch.equal(reader(plan[3]), torch.from_numpy(images[plan[3]]))


def test_an_error_in_the_prefetch_thread_is_raised_when_the_batch_is_used(images: np.ndarray) -> None:
    plan = batches()
    reader = BatchReader(Recorded(images, bad=int(plan[2][0])), CPU)  # type: ignore[arg-type]
    with reader.prefetch(plan):
        reader(plan[0])
        reader(plan[1])
        with pytest.raises(OSError, match="the disk is gone"):
            reader(plan[2])


def test_no_thread_is_left_when_the_reader_stops_early(images: np.ndarray) -> None:
    def endless() -> Iterator[Rows]:
        while True:
            yield from batches()

    before, reader = threading.active_count(), BatchReader(Recorded(images), CPU)  # type: ignore[arg-type]

    def stopped() -> None:
        with reader.prefetch(endless()):
            reader(batches()[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert threading.active_count() == before


def test_a_small_cache_is_read_without_a_thread(images: np.ndarray) -> None:
    reader, before = BatchReader(images, CPU), threading.active_count()
    with reader.prefetch(batches()):
        assert threading.active_count() == before
        assert torch.equal(reader(batches()[0]), torch.from_numpy(images[batches()[0]]))


@pytest.mark.parametrize("form", ["plain", "packed"])
def test_a_cache_is_copied_to_the_device_in_chunks_without_change(
    form: str, images: np.ndarray, tmp_path: Path
) -> None:
    """The host never holds the entire cache, and a read-only memory map gives no warning of torch (which would be an error)."""
    (tmp_path / "images.u8").write_bytes(images.tobytes())
    mapped = np.memmap(tmp_path / "images.u8", np.uint8, "r", shape=images.shape)
    blocks = [pack(image) for image in images]
    length = np.array([len(block) for block in blocks])
    packed = PackedImages(
        np.frombuffer(b"".join(blocks), np.uint8), np.cumsum(length) - length, length, images.shape[1], "images.zst"
    )
    recorded = Recorded(mapped if form == "plain" else packed)
    there = resident(recorded, CPU, max_bytes=7 * images[0].nbytes)  # type: ignore[arg-type]
    assert recorded.numbers == [7, 7, 7, 7, 2]
    for rows in batches():
        assert torch.equal(there[torch.from_numpy(rows)], torch.from_numpy(images[rows]))
    assert resident(recorded, META, max_bytes=1).device == META  # type: ignore[arg-type]
    assert recorded.numbers[5:] == [1] * 30, "one image at a time where one is more than that"


class Copies(TorchDispatchMode):
    """Records copies from the host that would wait for the device."""

    waiting = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket == torch.ops.aten._to_copy and args[0].device.type == "cpu" and out.device == META:
            self.waiting += not (kwargs or {}).get("non_blocking")
        return out


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "all augmentation": {"augmentation": "full"},
    "crop and flip": {"augmentation": "chexnet"},
    "sam": {"optimizer": "sam"},
    "lion": {"optimizer": "lion"},
    "muon": {"optimizer": "muon"},
    "schedule-free": {"optimizer": "schedulefree", "schedule": Schedule(epochs=1, batch_size=8, kind="constant")},
    "averaged weights": {},
    "auc-margin": {"loss": "aucm"},
    "weighted": {"loss": "bce_weighted"},
    "asymmetric": {"loss": "asl"},
    "parts, clipped": {"schedule": Schedule(epochs=1, batch_size=8, micro_batch=4, clip=1.0)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_step_never_waits_for_the_device(name: str) -> None:
    """On the meta device every read of a value, such as item(), bool() or nonzero(), raises an error."""
    run = a_run(**CASES[name])
    reader, internal, _ = a_cohort()
    network = build(run.entries["architecture"].use, run.entries["architecture"].options, K, 1, None, 0)
    targets = TrainingTargets.of(run, internal, CPU)
    training_loss = TrainingLoss(run, targets)
    has_weight_N = training_loss.has_weight()  # computed once, before training
    training_loss.has_weight = lambda: has_weight_N  # type: ignore[method-assign]
    training_loss.targets = TrainingTargets(
        *(getattr(targets, field).to(META) for field in ("target_NK", "weight_NK", "head_NT"))
    )
    training_loss.weight_NK = training_loss.weight_NK.to(META)
    average = ModelEmaV3(network, 0.9)  # made here, because the meta device has no random generators
    average.module.to(META)
    step = Step(
        run,
        network.to(META),
        Normalizer(["imagenet"], network.mean, network.std, 1),
        reader,
        internal.rows,
        training_loss,
        META,
    )
    reader.device = META
    step.ema = average if name == "averaged weights" else None
    step.begin_epoch(1)
    step(np.arange(8), 1, 0)
    with Copies() as copies:
        loss: Tensor = step(np.arange(8, 16), 1, 1)
    assert loss.device == META
    assert copies.waiting == 0


@pytest.mark.parametrize("ops", [["histstd"], ["histmatch"], ["minmax"], ["zscore"], ["histmatch", "imagenet"]])
def test_no_preprocessing_waits_for_the_device(ops: list[str]) -> None:
    reference = {"histstd": tuple(np.linspace(0, 1, 11)), "histmatch": (1 / 256,) * 256}
    normalizer = Normalizer(ops, (0.5,) * 3, (0.25,) * 3, 3, 0, reference, padded=True)
    normalizer(torch.zeros(4, 16, 16, dtype=torch.uint8, device=META))  # constants are sent once
    with Copies() as copies:
        assert normalizer(torch.zeros(4, 16, 16, dtype=torch.uint8, device=META)).shape == (4, 3, 16, 16)
    assert copies.waiting == 0
