"""Copies from the host to the device that do not wait for the device.

A training step that waits for the GPU leaves it idle. So the code of a step reads no value back from the GPU, and all
copies come from pinned memory and run in the background.
"""

from functools import lru_cache

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a host tensor on the device; for the CPU the same tensor."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # otherwise the copy would wait for the device
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers as a tensor [len(values)] on the device, cached per process; callers must not change the tensor."""
    # A tensor that is made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype, device=device)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the CPU generator and the generator of this device; other devices keep their random state.

    `torch.manual_seed` seeds all devices, and without a GPU it keeps a stack trace of each call.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
