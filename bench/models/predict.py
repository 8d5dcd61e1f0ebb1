"""Predictions of frozen networks on cached images. Legend: N images, K findings, O outputs, D features."""

import contextlib
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.batches import BatchReader
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

    By default, torch rounds their inputs to 10 bits (TF32), and logits would differ from those of a CPU by about 1e-3.
    """

    def __enter__(self) -> None:
        self._before = torch.backends.cudnn.allow_tf32
        torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cudnn.allow_tf32 = self._before


@dataclass(frozen=True, slots=True, eq=False)
class PredictionRequest:
    """A network that predicts images, and the outputs to keep.

    `normalizer` prepares the network's input; networks with equal normalizers share the prepared images. With
    `auxiliary`, columns of the auxiliary heads follow the columns of the findings. `features_of`: indices of the
    predicted images whose features are kept; None for no image.
    """

    network: Predictor
    normalizer: Callable[[Tensor], Tensor]
    features_of: NDArray[np.int64] | None = None
    auxiliary: bool = False


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
    the logits have further columns for the auxiliary heads, after those of the findings. `predict_many` does the same
    for several networks.
    """
    return predict_many(
        [PredictionRequest(network, normalizer, features_of, auxiliary)],
        reader,
        rows,
        device,
        precision,
        progress,
        what,
    )[0]


@torch.inference_mode()
def predict_many(
    requests: Sequence[PredictionRequest],
    reader: BatchReader,
    rows: NDArray[np.int64],
    device: torch.device,
    precision: str = "fp32",
    progress: Progress | None = None,
    what: str = "predict",
) -> list[tuple[NDArray[np.float32], NDArray[np.float16]]]:
    """Return logits [N, K] and features [len(features_of), D] of each network for the cached images at `rows`.

    Images are read once for all networks. The results are, bit by bit, those that each network gives alone. Networks
    are switched to evaluation mode. When memory runs out, the batch is halved for all networks.
    """
    for request in requests:
        request.network.eval()
    if device.type == "cpu":
        keep_freed_memory()
    dtype = autocast_dtype(precision, device)
    context = torch.autocast(device.type, dtype) if dtype else ExactFloat32()
    size = images_per_pass(256 if device.type == "cuda" else 64, reader.images.shape[-1])
    keeps_features = np.zeros((len(requests), len(rows)), bool)
    for keeps, request in zip(keeps_features, requests, strict=True):
        keeps[request.features_of if request.features_of is not None else []] = True
    logits: list[list[NDArray[np.float32]]] = [[] for _ in requests]
    features: list[list[NDArray[np.float16]]] = [[] for _ in requests]
    groups = _group_by_normalizer(requests)
    batches = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    with context, reader.prefetch(rows[batch] for batch in batches):
        for batch in batches:
            image_NHW = reader(rows[batch])
            while (outputs := _predict_batch(requests, groups, image_NHW, size)) is None:
                size = _halved_batch(size, device)
            for i, (logit_NK, feature_ND) in enumerate(outputs):
                logits[i].append(logit_NK.cpu().numpy())
                if keeps_features[i, batch].any():
                    features[i].append(feature_ND.float().cpu().numpy()[keeps_features[i, batch]].astype(np.float16))
            if progress:
                progress(what, batch.stop, len(rows))
    empty = np.empty((0, 0), np.float32)
    return [
        (np.concatenate(own_logits or [empty]), np.concatenate(own_features or [empty.astype(np.float16)]))
        for own_logits, own_features in zip(logits, features, strict=True)
    ]


def _predict_batch(
    requests: Sequence[PredictionRequest], groups: Sequence[Sequence[int]], image_NHW: Tensor, size: int
) -> list[tuple[Tensor, Tensor]] | None:
    """Return logits and features of images, `size` images per pass; None if memory ran out and `size` can be halved."""
    outputs: list[list[tuple[Tensor, Tensor]]] = [[] for _ in requests]
    try:
        for chunk_NHW in torch.split(image_NHW, size):
            for group in groups:
                x_NCHW = requests[group[0]].normalizer(chunk_NHW).contiguous(memory_format=torch.channels_last)
                for i in group:  # a network may change its input in place, so all networks except the last get a copy
                    own_x_NCHW = x_NCHW if i == group[-1] else x_NCHW.clone()
                    outputs[i].append(_forward(requests[i], own_x_NCHW))
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        return None
    return [(torch.cat([logit for logit, _ in own]), torch.cat([feature for _, feature in own])) for own in outputs]


def _group_by_normalizer(requests: Sequence[PredictionRequest]) -> list[list[int]]:
    """Return the indices of the requests, grouped by equal normalizers."""
    groups: list[list[int]] = []
    for i, request in enumerate(requests):
        same = next((group for group in groups if requests[group[0]].normalizer == request.normalizer), None)
        if same is None:
            groups.append([i])
        else:
            same.append(i)
    return groups


def _forward(request: PredictionRequest, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits of the findings (and of auxiliary heads, if requested) and features."""
    output_NO, feature_ND = request.network.outputs_and_features(x_NCHW)
    logit_NK = request.network.findings(output_NO.float())
    if request.auxiliary:
        logit_NK = torch.cat([logit_NK, request.network.auxiliary(output_NO.float())], 1)
    return logit_NK, feature_ND


def _halved_batch(size: int, device: torch.device) -> int:
    """Return half of `size`, after memory ran out with `size` images per pass; log a warning."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    _log.warning("memory ran out while predicting: batches now have %d images instead of %d", size // 2, size)
    return size // 2


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the SHA-256 of all weights and buffers (batch-norm statistics too), in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
