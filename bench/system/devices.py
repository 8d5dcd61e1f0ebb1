"""Choose the devices (GPUs or CPU cores) for runs, from the options --device, --workers and --per-device; keep freed memory."""

import ctypes
import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harmonize.errors import ConfigError, SetupError

# numbers of these settings in malloc.h of the GNU C library
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1  # bytes; the largest value that the setting takes


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices that a command may use: its options --device and --workers."""

    name: str  # auto, cpu, cuda or cuda:N
    workers: int  # number of cores

    @classmethod
    def of(cls, name: str, workers: int, *, here: bool = True) -> Self:
        """Check the options and return them. If `workers` is 0, all cores are used.

        Raises ConfigError for an invalid device name. With `here`, raises SetupError if this machine does not have the device.
        """
        check_device(name)
        if here:
            require_device(name)
        return cls(name, workers or default_workers())


def check_device(device: str) -> None:
    """Raise ConfigError for an invalid device name."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"no device {device!r}", "--device", "choose auto, cpu, cuda or cuda:N")


def require_device(device: str) -> None:
    """Raise SetupError if this machine does not have the device. torch is imported only if there may be a GPU."""
    if not device.startswith("cuda"):
        return
    number = _cuda() if _may_have_gpu() else 0
    if not number:
        fix = "use --device cpu, or install a GPU driver for this version of torch"
        raise SetupError("no CUDA device is available", f"--device {device}", fix)
    if ":" in device and int(device.partition(":")[2]) >= number:
        fix = "number them from cuda:0"
        raise SetupError(f"no {device}: there are {number} CUDA devices", f"--device {device}", fix)


def choose_devices(device: str, workers: int, threads: int, per_device: int = 0) -> list[str]:
    """Return the devices of the runs that can run in parallel, one device name per run.

    `workers`: number of cores. `threads`: cores that a run uses. `per_device`: number of runs that share a GPU or, without a
    GPU, share all cores. If `per_device` is 0, each GPU has one run, or the cores have `workers` / `threads` runs (at least
    one). Every GPU gets a first run before any GPU gets a second run. Raises SetupError if the device does not exist.
    """
    if device == "auto":
        device = "cuda" if _may_have_gpu() and _cuda() else "cpu"
    require_device(device)
    if device.startswith("cuda"):
        names = [device] if ":" in device else [f"cuda:{i}" for i in range(_cuda())]
        return names * max(1, per_device)
    return ["cpu"] * (per_device or max(1, workers // threads))


def first_device(device: str) -> str:
    """Return the device of a single run: `auto` and `cuda` become the first GPU or the CPU. Raises SetupError as `choose_devices`."""
    return choose_devices(device, 1, 1)[0]


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees. Runs of a grid and all predictions on a CPU call it.

    A layer's output of a batch has up to 100 MB. The GNU C library gets a block of more than 32 MB from the system each time, and
    returns it at once. The system clears all pages of a new block, for every layer of every batch. This can take longer than
    the network itself: 14 of 23 ms per image of EfficientNet-Lite0, and 32 of 70 ms of DenseNet-121. Numbers stay the same, bit by bit.
    The process keeps its largest size until it ends. With another C library, nothing changes.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _NEVER)


def _may_have_gpu() -> bool:
    """Return whether torch may find a GPU, without importing torch.

    On Linux, the result is True if a device file of a GPU driver exists. On other systems, the result is always True.
    """
    return platform.system() != "Linux" or any(next(Path("/dev").glob(p), None) for p in ("nvidia*", "dxg", "kfd"))


def _cuda() -> int:
    """Return the number of available CUDA devices."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def default_workers() -> int:
    """Return the default of --workers: the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
