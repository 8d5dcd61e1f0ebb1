"""Preprocessing, second half: gray values to network input, batched on the device.

A preprocessing entry is `size`, `fit` and a list of ops. Ops that need neighbouring pixels (CLAHE) come first in the
list and live in the uint8 cache, see `geometry`; the tone ops after them run here, after augmentation:
uint8 -> [0, 1] -> augmentation (training only) -> tone ops -> input channels.

N images, C channels, H and W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from harmonize.errors import ConfigError
from harmonize.pixels import Geometry

FOREGROUND = 0.02  # darker is border or collimator: statistics of the image do not count it
CACHED_OPS = ("clahe",)


def imagenet(x_N1HW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return [N, C, H, W], scaled as in the network's pretraining: (x - mean) / std per channel."""
    return (x_N1HW - mean[:, None, None]) / std[:, None, None]


def minmax(x_N1HW: Tensor, pixels: str = "foreground") -> Tensor:
    """Return each image stretched to [0, 1] between its least and greatest foreground value; constant ones give 0."""
    low, high = _range(x_N1HW, _mask(x_N1HW, pixels))
    return ((x_N1HW - low) / (high - low + 1e-6)).clamp(0, 1)


def zscore(x_N1HW: Tensor, pixels: str = "foreground") -> Tensor:
    """Return each image with foreground mean 0 and (population) standard deviation 1; constant ones give 0."""
    mask = _mask(x_N1HW, pixels)
    low, high = _range(x_N1HW, mask)
    count = mask.sum((2, 3), keepdim=True)
    shifted = x_N1HW - low  # exactly 0 where constant: rounding of the mean must not be divided by 1e-6
    mean = (shifted * mask).sum((2, 3), keepdim=True) / count
    variance = ((shifted - mean).square() * mask).sum((2, 3), keepdim=True) / count
    return torch.where(high > low, (shifted - mean) / (variance.sqrt() + 1e-6), 0.0)


_TONE_OPS: Mapping[str, Callable[..., Tensor]] = {"minmax": minmax, "zscore": zscore, "imagenet": imagenet}


@dataclass(frozen=True, slots=True)
class Tone:
    """The tone ops of a preprocessing entry, for a network's own mean and std.

    One input channel gets the average of the three means and of the three stds.
    Raises ConfigError for an op or an option that does not exist, or an order that cannot be.
    """

    ops: Sequence[str | Mapping[str, Any]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    in_channels: int = 3

    def __post_init__(self) -> None:
        names = [name for name, _ in parse(self.ops)]
        if "imagenet" in names[:-1]:
            raise ConfigError("imagenet is not the last op", "preprocessing.ops", "put it last: it makes the channels")
        try:
            self.normalise(torch.zeros(1, 1, 2, 2))
        except TypeError as error:
            raise ConfigError(str(error), "preprocessing.ops", "correct the op's options") from error

    def __call__(self, image_NHW: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the network's input, float32 [N, C, H, W], of uint8 images; `augment` maps [N, 1, H, W] in [0, 1]."""
        x_N1HW = unit(image_NHW)
        return self.normalise(x_N1HW if augment is None else augment(x_N1HW))

    def normalise(self, x_N1HW: Tensor) -> Tensor:
        """Return the network's input of gray values in [0, 1], each image by itself."""
        for name, options in parse(self.ops):
            if name in CACHED_OPS:
                continue
            scale = {"mean": self._channels(self.mean, x_N1HW), "std": self._channels(self.std, x_N1HW)}
            given = options | scale if name == "imagenet" else options
            x_N1HW = _TONE_OPS[name](x_N1HW, **given)
        return x_N1HW.expand(-1, self.in_channels, -1, -1)

    def _channels(self, values: tuple[float, float, float], like: Tensor) -> Tensor:
        chosen = values if self.in_channels == 3 else [sum(values) / 3] * self.in_channels
        return like.new_tensor(chosen)


def unit(image_NHW: Tensor) -> Tensor:
    """Return uint8 gray values as float32 [N, 1, H, W] in [0, 1]."""
    return image_NHW[:, None].float() / 255


def geometry(options: Mapping[str, Any]) -> Geometry:
    """Return the cached half of a preprocessing entry: size, fit and the ops before the tone.

    Raises ConfigError for a missing size or an op that cannot be.
    """
    if "size" not in options:
        raise ConfigError("size is missing", "preprocessing", "add `size: 224`, the side of the square input in pixels")
    clahe = None
    for name, given in parse(options.get("ops", ())):
        if name == "clahe":
            if unknown := set(given) - {"clip", "tiles"}:
                raise ConfigError(f"clahe has no option {min(unknown)!r}", "preprocessing.ops", "it has clip and tiles")
            clahe = (float(given.get("clip", 2.0)), int(given.get("tiles", 8)))
    return Geometry(int(options["size"]), str(options.get("fit", "squash")), clahe)


def parse(ops: Sequence[str | Mapping[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, options) of each op, written `name` or `{name: {option: value}}`.

    >>> parse([{"clahe": {"clip": 2.0}}, "imagenet"])
    [('clahe', {'clip': 2.0}), ('imagenet', {})]
    """
    parsed: list[tuple[str, dict[str, Any]]] = []
    for op in ops:
        name, options = next(iter(op.items())) if isinstance(op, Mapping) and len(op) == 1 else (op, {})
        known = [*CACHED_OPS, *_TONE_OPS]
        if name not in known:
            close = get_close_matches(str(name), known, n=1)
            fix = f"did you mean {close[0]!r}?" if close else f"known ops: {', '.join(known)}"
            raise ConfigError(f"no op {name!r}", "preprocessing.ops", fix)
        if name in CACHED_OPS and any(before not in CACHED_OPS for before, _ in parsed):
            raise ConfigError(f"{name} comes after a tone op", "preprocessing.ops", "put it first: it is cached")
        parsed.append((str(name), dict(options or {})))
    return parsed


def _mask(x_N1HW: Tensor, pixels: str) -> Tensor:
    """Return which pixels count; an image without foreground counts whole."""
    if pixels not in ("foreground", "all"):
        raise ConfigError(f"pixels is {pixels!r}", "preprocessing.ops", "choose foreground or all")
    mask = x_N1HW > FOREGROUND if pixels == "foreground" else torch.ones_like(x_N1HW, dtype=torch.bool)
    return mask | ~mask.any(-1, keepdim=True).any(-2, keepdim=True)


def _range(x_N1HW: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    low = x_N1HW.masked_fill(~mask, torch.inf).amin((2, 3), keepdim=True)
    high = x_N1HW.masked_fill(~mask, -torch.inf).amax((2, 3), keepdim=True)
    return low, high
