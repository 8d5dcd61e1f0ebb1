"""Copies from the host to the device that do not wait for the device.

If a training step waits for the GPU, the GPU is idle afterwards until it gets new work. So the code of a step reads no
value back from the GPU, and all copies come from pinned memory and run in the background.
"""

from functools import lru_cache

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of a host tensor on the device. If the device is the CPU, return the tensor itself."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # otherwise the copy would wait for the device
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=256)
def constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the values as a tensor with one dimension on the device.

    The tensor is cached per process, so callers must not change it.
    """
    # A tensor that is made in inference mode could not be used in training later.
    with torch.inference_mode(mode=False):
        return torch.tensor(values, dtype=dtype, device=device)


def seed_device(seed: int, device: torch.device) -> None:
    """Seed the random generators of the CPU and of this device; other devices keep their random state.

    This function replaces `torch.manual_seed`, which seeds all devices, and keeps a stack trace of each call if there
    is no GPU.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # there are no generators before
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
