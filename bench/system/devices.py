"""Devices for jobs: GPUs, cores, and the choice of --device."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harmonize.errors import ConfigError, SetupError


@dataclass(frozen=True, slots=True)
class Devices:
    """The devices that a command may use: its options --device, --workers and --per-device."""

    name: str  # auto, cpu, cuda or cuda:N
    workers: int  # number of cores
    per_device: int = 0  # as in `choose_devices`

    @classmethod
    def of(cls, name: str, workers: int, per_device: int = 0, *, here: bool = True) -> Self:
        """Check the options; 0 workers means all cores. With `here`, this machine must have the device.

        Raises ConfigError for an invalid name, SetupError for a device that this machine does not have.
        """
        check_device(name)
        if here:
            require_device(name)
        return cls(name, workers or default_workers(), per_device)

    def in_parallel(self, threads: int) -> list[str]:
        """Return one device name per parallel run; `threads`: the cores that a run uses."""
        return choose_devices(self.name, self.workers, threads, self.per_device)


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
    """Return one device name per parallel run: each GPU once, or `cpu` as often as the cores allow.

    `per_device`: number of runs that share a GPU or, without a GPU, all cores. 0 means one run per GPU, or `workers` /
    `threads` runs on the cores. Every GPU gets a first run before any GPU gets a second run.
    """
    if device == "auto":
        device = "cuda" if _may_have_gpu() and _cuda() else "cpu"
    require_device(device)
    if device.startswith("cuda"):
        names = [device] if ":" in device else [f"cuda:{i}" for i in range(_cuda())]
        return names * max(1, per_device)
    return ["cpu"] * (per_device or max(1, workers // threads))


def memory_of(device: str) -> int:
    """Return the memory of a GPU in bytes, 0 for the CPU."""
    if not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def _may_have_gpu() -> bool:
    """Return whether torch may find a GPU. Linux has a device file for each GPU; on other systems the answer is True."""
    return platform.system() != "Linux" or any(next(Path("/dev").glob(p), None) for p in ("nvidia*", "dxg", "kfd"))


def _cuda() -> int:
    """Return the number of available CUDA devices."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def default_workers() -> int:
    """Return the default of --workers: the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
