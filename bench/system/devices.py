"""What a job may run on: GPUs, cores, and what the user asked for."""

import os
import platform
import re
from pathlib import Path

from harmonize.errors import ConfigError, SetupError


def check_device(device: str) -> None:
    """Raise ConfigError for a word that names no device."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ConfigError(f"no device {device!r}", "--device", "give auto, cpu, cuda or cuda:N")


def choose_devices(device: str, workers: int, threads: int, per_device: int = 0) -> list[str]:
    """Return one name per run that may go on at once: each GPU once, or `cpu` as often as cores allow.

    `per_device`, where given, is how many runs share a GPU, or the cores; each GPU then gets one before any gets two.
    """
    if device == "auto":
        device = "cuda" if _may_have_gpu() and _cuda() else "cpu"
    if device.startswith("cuda"):
        if not _cuda():
            raise SetupError(
                "no CUDA device can be used",
                f"--device {device}",
                "use --device cpu, or install a driver that fits this torch",
            )
        if ":" in device and int(device.partition(":")[2]) >= _cuda():
            raise SetupError(f"no {device}: torch sees {_cuda()}", "--device", "count from cuda:0")
        names = [device] if ":" in device else [f"cuda:{i}" for i in range(_cuda())]
        return names * max(1, per_device)
    return ["cpu"] * (per_device or max(1, workers // threads))


def memory_of(device: str) -> int:
    """Return the bytes of a GPU, 0 for the CPU."""
    if not device.startswith("cuda"):
        return 0
    import torch

    return int(torch.cuda.get_device_properties(device).total_memory)


def _may_have_gpu() -> bool:
    """Whether this machine can have a GPU that torch uses: Linux shows each as a device file; elsewhere, ask torch."""
    return platform.system() != "Linux" or any(next(Path("/dev").glob(p), None) for p in ("nvidia*", "dxg", "kfd"))


def _cuda() -> int:
    """Return the number of CUDA devices that torch can use."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
