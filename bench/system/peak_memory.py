"""Measure the peak memory of a computation: GPU memory or, without a GPU, memory of this process."""

import contextlib
from pathlib import Path
from typing import Self

import torch


class PeakMemory:
    """A measurement of the peak memory on a device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @classmethod
    def start(cls, device: torch.device) -> Self:
        """Start a measurement: reset the peak of the device.

        Without a GPU, only Linux (/proc) can reset the peak. On other systems, an earlier peak of the process is kept.
        """
        if device.type == "cuda":
            torch.cuda.init()  # type: ignore[no-untyped-call]  # a process that has not used a GPU has no peak to reset
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the recorded peak
        return cls(device)

    @property
    def bytes(self) -> int | None:
        """The peak memory in bytes since `start`; None if the system does not report the peak (no /proc)."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        try:
            status = Path("/proc/self/status").read_text()
        except OSError:
            return None
        lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return int(lines["VmHWM"].split()[0]) * 1024 if "VmHWM" in lines else None
