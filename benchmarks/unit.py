"""Measure the unit of speed: the CPU seconds of a fixed piece of plain work.

    python -m benchmarks unit        # the unit on this machine; writes nothing

An absolute figure in CPU seconds depends on the machine and on what else it computes. Divided by the unit, measured in
the same minute with the same settings (one thread), the figure can be compared between machines. The work uses torch,
numpy and OpenCV, and no code of this project, so that no change of this project changes the unit.
"""

import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np

ROUNDS = 5  # the smallest time of these counts: other work on the machine can only make a round slower
STEPS, BATCH, SIDE = 2, 16, 64  # training steps of ResNet-18: number, images per step, pixels per side
SORTED, LOOPS = 3_000_000, 80_000  # numbers that are sorted, and operations on short arrays
DECODED, JPEG_SIDE = 150, 1024  # decoded JPEG files, and pixels per side


def seconds(rounds: int = ROUNDS) -> dict[str, float]:
    """Return {part of the work: CPU seconds on one thread, smallest of all rounds}. The unit is their sum."""
    import torch

    threads = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        parts = _parts()
        for work in parts.values():
            work()  # the first call also loads code, and is not counted
        return {name: min(_spent(work) for _ in range(rounds)) for name, work in parts.items()}
    finally:
        torch.set_num_threads(threads[0])
        cv2.setNumThreads(threads[1])


def text(parts: Mapping[str, float], machine: str) -> str:
    """Return the unit as a line of text, with its parts and the machine. parts: the result of `seconds`.

    >>> text({"a": 1.25, "b": 0.5}, "EPYC, 2 cores")
    '1 unit = 1.75 CPU s (a 1.25, b 0.50) on EPYC, 2 cores'
    """
    each = ", ".join(f"{name} {spent:.2f}" for name, spent in parts.items())
    return f"1 unit = {sum(parts.values()):.2f} CPU s ({each}) on {machine}"


def _parts() -> dict[str, Callable[[], object]]:
    """Return {name: function} of the parts, with their data ready. All data are the same in each process."""
    import timm
    import torch

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=14)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3)
    images, labels = torch.rand(BATCH, 3, SIDE, SIDE), torch.rand(BATCH, 14).round()
    rng = np.random.default_rng(0)
    numbers, short = rng.random(SORTED), rng.random(200)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (JPEG_SIDE, JPEG_SIDE), np.uint8), (5, 5), 1.0)
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]

    def train() -> None:
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(network(images), labels).backward()
            optimizer.step()

    def compute() -> None:
        np.sort(numbers)
        values = short
        for _ in range(LOOPS):
            values = np.sqrt(values * values + short) - values.mean()

    def decode() -> None:
        for _ in range(DECODED):
            cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)

    return {
        f"{STEPS} training steps of ResNet-18": train,
        f"{SORTED:,} numbers sorted and {LOOPS:,} loops of numpy": compute,
        f"{DECODED} JPEG files decoded": decode,
    }


def _spent(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
