"""What the host gives to the device, without waiting for it.

A training step that waits for the device anywhere leaves it idle: so nothing on its way reads a value back, and what goes
there goes from pinned memory, on a GPU in the background.
"""

from functools import lru_cache

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on the device; on the CPU it is the same tensor."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # else the copy would wait for the device
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers as a tensor [len(values)] on the device, sent there once per process. Nobody may change it."""
    with torch.inference_mode(mode=False):  # one made in inference could not take part in training later
        return torch.tensor(values, dtype=dtype, device=device)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed what a network on the device draws from: as `torch.manual_seed` does, but on no other device.

    That one walks all kinds of devices, and without a GPU it keeps a stack trace for each call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
