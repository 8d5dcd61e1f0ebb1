"""predict(): a frozen network over cached images. Legend: N images, K findings, D features."""

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

from bench.inputs.batches import Feed
from bench.store.store import Progress

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """What can be asked for predictions: `bench.models.network.Network`, or a network from elsewhere behind the same face."""

    def eval(self) -> Any:
        """Switch to evaluation."""

    def both(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return output_NO and feature_ND of one pass."""

    def findings(self, output_NO: Tensor) -> Tensor:
        """Return logit_NK of the findings."""

    def further(self, output_NO: Tensor) -> Tensor:
        """Return the logits of further heads, one column each."""


def images_per_pass(usual: int, side: int) -> int:
    """Return how many images one forward pass takes; fewer above 512 pixels a side, so that memory stays the same.

    >>> images_per_pass(64, 224), images_per_pass(64, 2048)
    (64, 4)
    """
    return max(1, usual * 512**2 // max(512, side) ** 2)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the dtype of autocast, None for plain fp32."""
    if precision == "mixed":
        return torch.bfloat16 if device.type == "cuda" else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A network that is to predict images, and what of it is kept.

    `tone` makes its input: those that are equal are asked once for all their networks. `further`: one column for each
    further head follows the findings. features_of holds places among the rows.
    """

    network: Predictor
    tone: Callable[[Tensor], Tensor]
    features_of: NDArray[np.int64] | None = None
    further: bool = False


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

    As `predict_each` does for several networks.
    """
    return predict_each([Asked(network, tone, features_of, further)], feed, rows, device, precision, progress, what)[0]


@torch.inference_mode()
def predict_each(
    asked: Sequence[Asked],
    feed: Feed,
    rows: NDArray[np.int64],
    device: torch.device,
    precision: str = "fp32",
    progress: Progress | None = None,
    what: str = "predict",
) -> list[tuple[NDArray[np.float32], NDArray[np.float16]]]:
    """Return of each network logits [N, K] and features [len(features_of), D] for the cached images at `rows`.

    Images are read once, and go through each network as they would go through it alone: the numbers are the same bits.
    A network is in eval mode while it predicts: batch norm is frozen. When memory runs out, the images that go through at a
    time are halved, for all of the networks.
    """
    for each in asked:
        each.network.eval()
    dtype = autocast_dtype(precision, device)
    context = torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()
    size = images_per_pass(256 if device.type == "cuda" else 64, feed.images.shape[-1])
    wanted = np.zeros((len(asked), len(rows)), bool)
    for own, each in zip(wanted, asked, strict=True):
        own[each.features_of if each.features_of is not None else []] = True
    logits: list[list[NDArray[np.float32]]] = [[] for _ in asked]
    features: list[list[NDArray[np.float16]]] = [[] for _ in asked]
    alike = _by_tone(asked)
    parts = [slice(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    with context, feed.ahead(rows[part] for part in parts):
        for part in parts:
            image_NHW = feed(rows[part])
            while (found := _pass(asked, alike, image_NHW, size)) is None:
                size = halved(size, device)
            for i, (logit_NK, feature_ND) in enumerate(found):
                logits[i].append(logit_NK.cpu().numpy())
                if wanted[i, part].any():
                    features[i].append(feature_ND.float().cpu().numpy()[wanted[i, part]].astype(np.float16))
            if progress:
                progress(what, part.stop, len(rows))
    none = np.empty((0, 0), np.float32)
    return [
        (np.concatenate(of_one or [none]), np.concatenate(own or [none.astype(np.float16)]))
        for of_one, own in zip(logits, features, strict=True)
    ]


def _pass(
    asked: Sequence[Asked], alike: Sequence[Sequence[int]], image_NHW: Tensor, size: int
) -> list[tuple[Tensor, Tensor]] | None:
    """Return logits and features of images, `size` of them at a time; None when memory ran out and `size` can be less."""
    found: list[list[tuple[Tensor, Tensor]]] = [[] for _ in asked]
    try:
        for some_NHW in torch.split(image_NHW, size):
            for same in alike:
                x_NCHW = asked[same[0]].tone(some_NHW).contiguous(memory_format=torch.channels_last)
                for i in same:  # a copy for each but the last: a network may change its input in place
                    own = x_NCHW if i == same[-1] else x_NCHW.clone()
                    found[i].append(_through(asked[i], own))
    except torch.OutOfMemoryError:
        if size == 1:
            raise
        return None
    return [(torch.cat([logit for logit, _ in own]), torch.cat([feature for _, feature in own])) for own in found]


def _by_tone(asked: Sequence[Asked]) -> list[list[int]]:
    """Return the places of those whose input is made alike, together."""
    groups: list[list[int]] = []
    for i, each in enumerate(asked):
        same = next((group for group in groups if asked[group[0]].tone == each.tone), None)
        if same is None:
            groups.append([i])
        else:
            same.append(i)
    return groups


def _through(asked: Asked, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits, of further heads too where they are asked for, and features."""
    output_NO, feature_ND = asked.network.both(x_NCHW)
    logit_NK = asked.network.findings(output_NO.float())
    if asked.further:
        logit_NK = torch.cat([logit_NK, asked.network.further(output_NO.float())], 1)
    return logit_NK, feature_ND


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
