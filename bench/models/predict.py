"""Predictions of frozen networks on cached images. Legend: N images, K findings, O outputs, D features."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.batches import BatchReader
from bench.inputs.device_transfer import to_device
from bench.system.devices import keep_freed_memory
from harmonize.progress import Progress

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """The interface of a network that predicts: `bench.models.network.Network` or an imported network."""

    def eval(self) -> Any:
        """Switch to evaluation mode."""

    def outputs_and_features(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND of one pass."""

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of the findings."""

    def auxiliary(self, output_NO: Tensor) -> Tensor:
        """Return the logits of the auxiliary heads: one row for each image, one column for each head."""


def images_per_pass(usual: int, side: int) -> int:
    """Return the number of images per forward pass: `usual`, or fewer if a side exceeds 512 pixels, to limit memory.

    >>> images_per_pass(64, 224), images_per_pass(64, 2048)
    (64, 4)
    """
    return max(1, usual * 512**2 // max(512, side) ** 2)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast; None means fp32 without autocast. `precision`: mixed, fp32, bf16 or fp16."""
    if precision == "mixed":
        return torch.bfloat16 if device.type == "cuda" else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


class ExactFloat32(contextlib.AbstractContextManager[None]):
    """A block in which convolutions on a GPU keep all 23 bits of a float32 mantissa.

    By default, torch rounds their inputs to 10 bits (TF32), and logits would differ from logits of a CPU by about 1e-3.
    """

    def __enter__(self) -> None:
        self._before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.allow_tf32 = self._before


@torch.inference_mode()
def predict(
    network: Predictor,
    normalizer: Callable[[Tensor], Tensor],
    reader: BatchReader,
    rows: NDArray[np.int64],
    device: torch.device,
    precision: str = "fp32",
    features_of: NDArray[np.int64] | None = None,
    progress: Progress | None = None,
    what: str = "predict",
    auxiliary: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Return logits [N, K] for the cached images at `rows`, and penultimate features [len(features_of), D].

    `features_of`: positions in `rows` of the images whose features are returned; None for no image. With `auxiliary`,
    the logits have further columns for the auxiliary heads, after the findings. The network is switched to
    evaluation mode. When memory runs out, the batch is halved.
    """
    network.eval()
    if device.type == "cpu":
        keep_freed_memory()
    dtype = autocast_dtype(precision, device)
    context = torch.autocast(device.type, dtype) if dtype else ExactFloat32()
    size = images_per_pass(256 if device.type == "cuda" else 64, reader.images.shape[-1])
    keeps_features = np.isin(np.arange(len(rows)), [] if features_of is None else features_of)
    # the results stay on the device until the end, so that a GPU does not wait between batches
    logits, features = [torch.empty(0, 0)], [torch.empty(0, 0, dtype=torch.float16)]
    batches = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]

    def forward(image_NHW: Tensor) -> tuple[Tensor, Tensor]:
        x_NCHW = normalizer(image_NHW).contiguous(memory_format=torch.channels_last)
        output_NO, feature_ND = network.outputs_and_features(x_NCHW)
        logit_NK = network.findings(output_NO.float())
        if auxiliary:
            logit_NK = torch.cat([logit_NK, network.auxiliary(output_NO.float())], 1)
        return logit_NK, feature_ND

    with context, reader.prefetch(rows[batch] for batch in batches):
        for batch in batches:
            image_NHW = reader(rows[batch])
            while (outputs := _in_chunks(forward, image_NHW, size)) is None:
                size //= 2
                _log.warning("memory ran out while predicting: the batches now have only %d images", size)
                torch.cuda.empty_cache()  # without a GPU, this call does nothing
            logit_NK, feature_ND = outputs
            logits.append(logit_NK)
            kept = np.flatnonzero(keeps_features[batch])
            if len(kept):
                features.append(feature_ND[to_device(torch.from_numpy(kept), device)].half())
            if progress:
                progress(what, batch.stop, len(rows))
    logit_NK, feature_ND = (torch.cat(parts[1:] or parts).cpu() for parts in (logits, features))
    return logit_NK.numpy(), feature_ND.numpy()


def _in_chunks(
    forward: Callable[[Tensor], tuple[Tensor, Tensor]], image_NHW: Tensor, size: int
) -> tuple[Tensor, Tensor] | None:
    """Return logits and features of images, `size` images per pass; None if memory ran out and `size` can be halved."""
    try:
        outputs = [forward(chunk_NHW) for chunk_NHW in torch.split(image_NHW, size)]
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        return None
    return torch.cat([logit for logit, _ in outputs]), torch.cat([feature for _, feature in outputs])


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers (batch-norm statistics too), in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
