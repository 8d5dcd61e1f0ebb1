"""Record how a run was made: versions, commit, uncommitted changes, hardware.

The run id does not depend on this record.
"""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from bench.store.file_integrity import bytes_sha256

PACKAGES = ("unseen-cxr", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn")
MOST_DIFF = 200_000  # maximum number of characters of a stored diff; of a longer diff, only its hash is stored
# options of `git diff` that override the user's git configuration, so that `git apply` can read the output
_APPLICABLE = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


def device_name(device: torch.device, threads: int) -> str:
    """Return the name of the device, e.g. `cpu (1 thread)`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{device.type} ({threads} thread{'s' if threads > 1 else ''})"


def environment(device: torch.device, threads: int, began: float) -> dict[str, Any]:
    """Return versions, device, commit, seconds since `began`, machine, hardware and uncommitted changes.

    `began` is a time in seconds since 1970. `diff` is the output of `git diff HEAD --binary`, so `git apply` can
    restore the changes. Bytes that are not UTF-8 become surrogates. A diff of more than MOST_DIFF characters is stored
    as "". `diff_sha256` is the hash of the entire diff. Both `diff` and `diff_sha256` are "" without changes, or if the
    sources are not a git checkout.
    """
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    diff = _diff()
    return {
        "versions": versions,
        "device": device_name(device, threads),
        "commit": source_commit(),
        "diff": diff if len(diff) <= MOST_DIFF else "",
        "diff_sha256": bytes_sha256(diff.encode(errors="surrogateescape")) if diff else "",
        "seconds": time.time() - began,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "hardware": _hardware(device),
    }


def _hardware(device: torch.device) -> dict[str, Any]:
    """Return processor, memory in bytes and, on a GPU, its memory, CUDA and cuDNN."""
    hardware: dict[str, Any] = {"processor": _processor(), "memory_bytes": int(psutil.virtual_memory().total)}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        hardware |= {"gpu_memory_bytes": int(facts.total_memory), "capability": f"{facts.major}.{facts.minor}"}
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        hardware |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
    return hardware


def _processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    root = Path(__file__).parents[2]
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), *arguments],  # noqa: S607
        capture_output=True,
        timeout=10,
        check=True,
    )
    return done.stdout.decode(errors="surrogateescape")


def _own() -> bool:
    """Return whether the sources are a git checkout of this project.

    Sources that are installed inside the folder of another repository are not such a checkout.
    """
    try:
        return Path(_git("rev-parse", "--show-toplevel").strip()).resolve() == Path(__file__).parents[2].resolve()
    except (OSError, subprocess.SubprocessError):
        return False


def source_commit() -> str:
    """Return the git commit of the sources, 12 digits, with "+" if there are uncommitted changes; "" without a checkout."""
    if not _own():
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _git("rev-parse", "--short=12", "HEAD").strip() + ("+" if _git("status", "--porcelain", "-uno") else "")
    return ""


def _diff() -> str:
    """Return the changes of the sources since the commit, without untracked files."""
    if not _own():
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _git("diff", "HEAD", *_APPLICABLE)
    return ""
