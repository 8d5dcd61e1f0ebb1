"""Preprocessing, second half: gray values to network input, batched on the device.

A preprocessing entry is `size`, `fit`, perhaps `input`, and a list of ops, see `bench.ops`. Region and CLAHE live in the
uint8 cache. The rest runs here, and training differs from evaluation in nothing but the augmentation:
uint8 -> table of the whole image, or / 255 -> [0, 1] -> augmentation -> centre of `input` pixels -> tone ops -> channels.

N images, C channels, H and W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from bench.intensity import TABLES, Reference, histograms, look_up
from bench.ops import TONE_OPS, input_size, learnt_op, parse
from harmonize.errors import ConfigError

FOREGROUND = 0.02  # darker is border or collimator: statistics of the image do not count it


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
    mean = (x_N1HW * mask).sum((2, 3), keepdim=True) / count
    variance = ((x_N1HW - mean).square() * mask).sum((2, 3), keepdim=True) / count
    z_N1HW = (x_N1HW - mean) / (variance.sqrt() + 1e-6)
    return torch.where(high > low, z_N1HW, 0.0)  # a constant image has a mean with a rounding error, and std 0


_TONE_OPS: Mapping[str, Callable[..., Tensor]] = {"minmax": minmax, "zscore": zscore, "imagenet": imagenet}


@dataclass(frozen=True, slots=True)
class Tone:
    """What a preprocessing entry does after the cache, for a network's own mean and std.

    One input channel gets the average of the three means and of the three stds. `input` is the side of the centre that
    the network sees, 0 for all. `reference` holds what histstd and histmatch have learnt.
    Raises ConfigError for an op or an option that does not exist, an order that cannot be, or a reference not learnt.
    """

    ops: Sequence[str | Mapping[str, Any]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    in_channels: int = 3
    input: int = 0
    reference: Reference = field(default_factory=dict)

    def __post_init__(self) -> None:
        learnt = learnt_op(self.ops)
        if learnt is not None and learnt not in self.reference:
            raise ConfigError(f"{learnt} has no reference", "preprocessing.ops", "learn it on training images first")
        try:
            self.normalise(torch.zeros(1, 1, 2, 2))
        except TypeError as error:
            raise ConfigError(str(error), "preprocessing.ops", "correct the op's options") from error

    @classmethod
    def of(
        cls,
        preprocessing: Mapping[str, Any],
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        in_channels: int = 3,
        reference: Reference | None = None,
    ) -> Self:
        """Return the tone of a registry entry's facts."""
        seen = input_size(preprocessing) if "input" in preprocessing else 0
        return cls(preprocessing.get("ops", []), mean, std, in_channels, seen, reference or {})

    def __call__(self, image_NHW: Tensor, augment: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return the network's input, float32 [N, C, H, W], of uint8 images; `augment` maps [N, 1, H, W] in [0, 1]."""
        x_N1HW = self.gray(image_NHW)
        return self.normalise(x_N1HW if augment is None else augment(x_N1HW))

    def gray(self, image_NHW: Tensor) -> Tensor:
        """Return uint8 images as gray values in [0, 1], float32 [N, 1, H, W], each through its table where there is one."""
        learnt = learnt_op(self.ops)
        if learnt is None:
            return unit(image_NHW)
        return look_up(image_NHW, TABLES[learnt](histograms(image_NHW), self.reference[learnt]))

    def normalise(self, x_N1HW: Tensor) -> Tensor:
        """Return the network's input of gray values in [0, 1], each image by itself."""
        if self.input:
            top, left = ((side - self.input) // 2 for side in x_N1HW.shape[2:])
            x_N1HW = x_N1HW[:, :, top : top + self.input, left : left + self.input]
        for name, options in parse(self.ops):
            if name not in TONE_OPS:
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
