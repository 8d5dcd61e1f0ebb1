"""Measure the times below which preprocessing on a CPU cannot go: reading each byte, and writing what the network gets.

    OMP_NUM_THREADS=1 python -m benchmarks.floors

The goals of rows B4 and B5 were shares of a peer's time. This program prints, for an image of 320 px, the time of the peer
divided by the goal, our time, and the times of the parts that no implementation can leave out. A histogram method counts
the gray values and looks up each pixel. An augmentation sums the bytes, for their mean, and writes each pixel. What is written
is float32, bfloat16 or bytes.
"""

import statistics
from collections.abc import Callable

import cv2
import numpy as np
import torch

from benchmarks.harness import check, interleaved
from benchmarks.rows import augment, normalizer

ROUNDS = 9
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "bytes": torch.uint8}
GOALS = {"Nyul normalization": 30, "histogram matching": 30, "z-score normalization": 30}


def parts(batch: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Return the parts for a batch of uint8 images [N, H, W], by name. The written values are checked against numpy."""
    from bench.inputs.gray_kernels import count, look_up

    image_NP = batch.reshape(len(batch), -1).numpy()
    num, pixels = image_NP.shape
    count_NV = np.zeros((num, 256), np.int64)
    gray = np.linspace(0, 1, 256, dtype=np.float32)
    tables = {  # bfloat16 has no type in numpy: its 16 bits are written
        "float32": gray,
        "bfloat16": torch.from_numpy(gray).bfloat16().view(torch.uint16).numpy(),
        "bytes": np.arange(256, dtype=np.uint8)[::-1].copy(),
    }
    written = {name: np.empty((num, 1, pixels), table.dtype) for name, table in tables.items()}
    per_image = {name: np.broadcast_to(table, (num, 1, 256)).copy() for name, table in tables.items()}
    ways: dict[str, Callable[[], object]] = {
        f"look up {name}": (lambda name=name: look_up(image_NP, per_image[name], written[name])) for name in tables
    }
    for name, table in tables.items():
        ways[f"look up {name}"]()
        check(bool((written[name][:, 0] == table[image_NP]).all()), f"{name}: the look-up differs from numpy's")
    converted = {name: torch.empty(batch.shape, dtype=dtype) for name, dtype in DTYPES.items()}
    return (
        ways
        | {f"convert to {name}": (lambda tensor=tensor: tensor.copy_(batch)) for name, tensor in converted.items()}
        | {
            "count gray values": lambda: count(image_NP, count_NV),
            "sum of the bytes": lambda: [cv2.sumElems(image) for image in image_NP],
        }
    )


def medians(ways: dict[str, Callable[[], object]], num: int) -> dict[str, float]:
    """Return the median CPU time per image of each way, in microseconds."""
    spent = interleaved(ways, ROUNDS, items=dict.fromkeys(ways, num))
    return {name: 1e6 * statistics.median(seconds) for name, seconds in spent.items()}


def main() -> None:
    """Print the parts, and the operations of B4 and B5 beside their former goals."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = normalizer.images(quick=False)
    batch = torch.from_numpy(np.stack(pictures))
    for name, microseconds in medians(parts(batch), len(pictures)).items():
        print(f"{name:<20} {microseconds:7.1f} µs")
    from bench.inputs.augmentation import affine

    print(f"\n{'operation':<24} {'peer':>9} {'ours':>9} {'ratio':>6} {'goal':>5} {'the goal is a time of':>22}")
    cases = {name: (*normalizer.CASES[name][1](pictures)[:2], goal) for name, goal in GOALS.items()}
    cases["augmentation, v1"] = (lambda: affine(batch[:, None], 1), augment.v1(batch), 20)
    for name, (ours, theirs, goal) in cases.items():
        found = medians({"ours": ours, "peer": theirs}, len(pictures))
        ratio = found["peer"] / found["ours"]
        print(f"{name:<24} {found['peer']:6.0f} µs {found['ours']:6.0f} µs {ratio:6.1f} {goal:5d} "
              f"{found['peer'] / goal:19.0f} µs")  # fmt: skip


if __name__ == "__main__":
    main()
