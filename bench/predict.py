"""predict(): a frozen network over cached images. Legend: N images, K findings, D features."""

import contextlib
import hashlib
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data import Feed
from bench.models import Network
from bench.ops import images_per_pass
from bench.store import Progress


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast, None for plain fp32."""
    if precision == "mixed":
        return torch.bfloat16 if device.type == "cuda" else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@torch.inference_mode()
def predict(
    network: Network,
    tone: Callable[[Tensor], Tensor],
    feed: Feed,
    rows: NDArray[np.int64],
    device: torch.device,
    precision: str = "fp32",
    features_of: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
    what: str = "predict",
    further: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Return logits [N, K] for the cached images at `rows`, and penultimate features [len(features_of), D].

    With `further`, one column for each further head follows the findings.
    features_of holds places in `rows`. The network is in eval mode while it predicts: batch norm is frozen.
    """
    network.eval()
    dtype = autocast_dtype(precision, device)
    context = torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
    size = images_per_pass(256 if device.type == "cuda" else 64, feed.images.shape[-1])
    wanted = np.zeros(len(rows), bool)
    wanted[features_of if features_of is not None else []] = True
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float16]] = []
    with context:
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            x_NCHW = tone(feed(rows[part])).contiguous(memory_format=torch.channels_last)
            output_NO, feature_ND = network.both(x_NCHW)
            logit_NK = network.findings(output_NO.float())
            if further:
                logit_NK = torch.cat([logit_NK, network.further(output_NO.float())], 1)
            logits.append(logit_NK.cpu().numpy())
            if wanted[part].any():
                features.append(feature_ND.float().cpu().numpy()[wanted[part]].astype(np.float16))
            if progress:
                progress(what, min(start + size, len(rows)), len(rows))
    empty = np.empty((0, 0), np.float16)
    return np.concatenate(logits), np.concatenate(features) if features else empty


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers (batch-norm statistics too), in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
