"""predict(): a frozen network over cached images. Legend: N images, K findings, D features."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.feed import Feed
from bench.ops import images_per_pass
from bench.store import Progress

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """What can be asked for predictions: `bench.models.Network`, or a network from elsewhere behind the same face."""

    def eval(self) -> Any:
        """Switch to evaluation."""

    def both(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND of one pass."""

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of the findings."""

    def further(self, output_NO: Tensor) -> Tensor:
        """Return the logits of further heads, one column each."""


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast, None for plain fp32."""
    if precision == "mixed":
        return torch.bfloat16 if device.type == "cuda" else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@torch.inference_mode()
def predict(
    network: Predictor,
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
    features_of holds places in `rows`. The network is in eval mode while it predicts: batch norm is frozen. When memory
    runs out, the images of a pass are halved.
    """
    network.eval()
    dtype = autocast_dtype(precision, device)
    context = torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
    size = images_per_pass(256 if device.type == "cuda" else 64, feed.images.shape[-1])
    wanted = np.zeros(len(rows), bool)
    wanted[features_of if features_of is not None else []] = True
    logits: list[NDArray[np.float32]] = []
    features: list[NDArray[np.float16]] = []
    parts = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    with context, feed.ahead(rows[part] for part in parts):
        for part in parts:
            image_NHW = feed(rows[part])
            while (both := _pass(network, tone, image_NHW, size, further)) is None:
                size = halved(size, device)
            logits.append(both[0].cpu().numpy())
            if wanted[part].any():
                features.append(both[1].float().cpu().numpy()[wanted[part]].astype(np.float16))
            if progress:
                progress(what, part.stop, len(rows))
    none = np.empty((0, 0), np.float32)
    return np.concatenate(logits or [none]), np.concatenate(features or [none.astype(np.float16)])


def _pass(
    network: Predictor, tone: Callable[[Tensor], Tensor], image_NHW: Tensor, size: int, further: bool
) -> tuple[Tensor, Tensor] | None:
    """Return logits and features of images, `size` of them at a time; None when memory ran out and `size` can be less."""
    logits, features = [], []
    try:
        for some_NHW in torch.split(image_NHW, size):
            x_NCHW = tone(some_NHW).contiguous(memory_format=torch.channels_last)
            output_NO, feature_ND = network.both(x_NCHW)
            logit_NK = network.findings(output_NO.float())
            if further:
                logit_NK = torch.cat([logit_NK, network.further(output_NO.float())], 1)
            logits.append(logit_NK)
            features.append(feature_ND)
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        return None
    return torch.cat(logits), torch.cat(features)


def halved(size: int, device: torch.device) -> int:
    """Return half of `size`, the images of a pass that memory did not suffice for, and say so in the log."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    _log.warning("memory ran out while predicting: %d images at a time from here on, not %d", size // 2, size)
    return size // 2


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers (batch-norm statistics too), in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
