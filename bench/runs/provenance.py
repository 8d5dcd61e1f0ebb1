"""How a run was made: versions, commit, uncommitted changes, hardware. Good to know, and never hashed into a run's id."""

import contextlib
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = ("unseen-cxr", "torch", "torchvision", "timm", "numpy", "pandas", "scikit-learn")
MOST_DIFF = 200_000  # characters of uncommitted changes that are kept; of longer ones the hash alone
# whatever git is configured to
_APPLICABLE = ("--binary", "--no-ext-diff", "--no-textconv", "--no-color", "--src-prefix=a/", "--dst-prefix=b/")


def device_name(device: torch.device, threads: int) -> str:
    """Return the device in words, e.g. `cpu (1 thread)`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def environment(device: torch.device, threads: int, began: float) -> dict[str, Any]:
    """Return versions, device, commit, seconds since `began`, machine and hardware; of changed sources also the changes.

    `diff` is what `git diff HEAD --binary` says of the sources, for `git apply` (bytes that are no UTF-8 as surrogates), left out
    beyond MOST_DIFF characters; `diff_sha256` is its hash. Both are "" where nothing is changed, or the sources are no checkout.
    """
    versions: dict[str, str] = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    diff = _diff()
    return {
        "versions": versions,
        "device": device_name(device, threads),
        "commit": _commit(),
        "diff": diff if len(diff) <= MOST_DIFF else "",
        "diff_sha256": hashlib.sha256(diff.encode(errors="surrogateescape")).hexdigest() if diff else "",
        "seconds": time.time() - began,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "hardware": _hardware(device),
    }


def _hardware(device: torch.device) -> dict[str, Any]:
    """Return processor, memory in bytes and, on a GPU, its memory, CUDA and cuDNN."""
    found: dict[str, Any] = {"processor": _processor(), "memory_bytes": int(psutil.virtual_memory().total)}
    if device.type == "cuda":
        facts = torch.cuda.get_device_properties(device)
        found |= {"gpu_memory_bytes": int(facts.total_memory), "capability": f"{facts.major}.{facts.minor}"}
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found |= {"cuda": str(torch.version.cuda), "cudnn": str(cudnn)}
    return found


def _processor() -> str:
    """Return the processor's name as its system gives it."""
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
    """Whether the sources are a checkout of their own, not installed inside somebody else's repository."""
    try:
        return Path(_git("rev-parse", "--show-toplevel").strip()).resolve() == Path(__file__).parents[2].resolve()
    except (OSError, subprocess.SubprocessError):
        return False


def _commit() -> str:
    """Return the git commit of the sources, with `+` when they are changed, "" when they are not a checkout."""
    if not _own():
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _git("rev-parse", "--short=12", "HEAD").strip() + ("+" if _git("status", "--porcelain", "-uno") else "")
    return ""


def _diff() -> str:
    """Return what is changed in the sources since the commit; new files that git does not know are not in it."""
    if not _own():
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return _git("diff", "HEAD", *_APPLICABLE)
    return ""
