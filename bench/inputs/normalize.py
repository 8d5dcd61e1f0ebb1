"""Preprocessing, second half: gray values to network input, batched on the device.

A preprocessing entry is `size`, `fit`, perhaps `input`, and a list of ops, see `bench.config.preprocessing_ops`. Region and CLAHE live in the
uint8 cache. The rest runs here, and training differs from evaluation in nothing but the augmentation:
uint8 -> table of the whole image, or / 255 -> [0, 1] -> augmentation -> centre of `input` pixels -> tone ops -> channels.
Without augmentation all of that is one table of 256 entries for each image: a CPU counts gray values, does the ops on
the table, and looks every pixel up once. An augmentation that reads bytes is shown the uint8 image itself.

A letterbox has padding: gray value 0 of the cached image, which is used for nothing else. It counts in no statistics of
the image, moves with the image when augmentation moves it, and is 0 in what the network gets, after all ops; so is what
an augmentation blackens or moves in from outside.

N images, C channels, H and W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from bench.config.preprocessing_ops import TONE_OPS, input_size, learnt_op, padded, parse
from bench.inputs.cpu_chunks import handfuls
from bench.inputs.device_transfer import constant
from bench.inputs.histograms import TABLES, Reference, histograms, look_up
from harmonize.errors import ConfigError

FOREGROUND = 0.02  # darker is border or collimator: statistics of the image do not count it


def imagenet(x_N1HW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return [N, C, H, W], scaled as in the network's pretraining: (x - mean) / std per channel."""
    return (x_N1HW - mean[:, None, None]) / std[:, None, None]


def minmax(x_N1HW: Tensor, pixels: str = "foreground", times_N1HW: Tensor | None = None) -> Tensor:
    """Return each image stretched to [0, 1] between its least and greatest foreground value; constant ones give 0.

    `times` says how often each value counts: 0 for padding, more than 1 where values of a table stand for pixels.
    """
    low, high = _range(x_N1HW, _mask(x_N1HW, pixels, times_N1HW))
    return (x_N1HW - low).div_(high - low + 1e-6).clamp_(0, 1)


def zscore(x_N1HW: Tensor, pixels: str = "foreground", times_N1HW: Tensor | None = None) -> Tensor:
    """Return each image with foreground mean 0 and (population) standard deviation 1; constant ones give 0."""
    mask = _mask(x_N1HW, pixels, times_N1HW)
    low, high = _range(x_N1HW, mask)
    counted = mask.float() if times_N1HW is None else mask * times_N1HW.float()  # exact: no image has 2 ** 24 pixels
    count = counted.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (x_N1HW * counted).sum((2, 3), keepdim=True) / count
    deviation_N1HW = x_N1HW - mean
    variance = deviation_N1HW.square().mul_(counted).sum((2, 3), keepdim=True) / count
    z_N1HW = deviation_N1HW.div_(variance.sqrt() + 1e-6)
    return z_N1HW.masked_fill_(~(high > low), 0.0)  # a constant image has a mean with a rounding error, and std 0


_TONE_OPS: Mapping[str, Callable[..., Tensor]] = {"minmax": minmax, "zscore": zscore}


@dataclass(frozen=True, slots=True)
class Tone:
    """What a preprocessing entry does after the cache, for a network's own mean and std.

    One input channel gets the average of the three means and of the three stds. `input` is the side of the centre that
    the network sees, 0 for all. `reference` holds what histstd and histmatch have learnt. `padded`: gray value 0 is padding.
    Raises ConfigError for an op or an option that does not exist, an order that cannot be, or a reference not learnt.
    """

    ops: Sequence[str | Mapping[str, Any]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    in_channels: int = 3
    input: int = 0
    reference: Reference = field(default_factory=dict)
    padded: bool = False
    learnt: str | None = field(init=False, repr=False, compare=False)  # the op that needs the reference
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = field(
        init=False, repr=False, compare=False
    )  # tone ops, with options
    counts: bool = field(init=False, repr=False, compare=False)  # whether it depends on how often gray values occur

    def __post_init__(self) -> None:
        learnt = learnt_op(self.ops)
        steps = tuple((name, options) for name, options in parse(self.ops) if name in TONE_OPS)
        counts = any(name != "imagenet" for name, _ in steps)
        for name, value in (
            ("learnt", learnt),
            ("steps", steps),
            ("counts", counts),
        ):  # once: a batch has no time for it
            object.__setattr__(self, name, value)
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
        return cls(preprocessing.get("ops", []), mean, std, in_channels, seen, reference or {}, padded(preprocessing))

    def __call__(
        self, image_NHW: Tensor, augment: Callable[[Tensor], Tensor] | None = None, *, of_bytes: bool = False
    ) -> Tensor:
        """Return the network's input, float32 [N, C, H, W], of uint8 images.

        `augment` maps [N, 1, H, W] in [0, 1]; `of_bytes`: or uint8 to that, where there are bytes to show.
        """
        if augment is None and image_NHW.device.type == "cpu" and (self.learnt or self.counts):
            return self._looked_up(image_NHW)
        of_bytes = of_bytes and self.learnt is None
        x_N1HW, content_N1HW = image_NHW[:, None] if of_bytes else self.gray(image_NHW), self.content(image_NHW)
        if augment is not None:
            x_N1HW = augment(x_N1HW)
            content_N1HW = None if content_N1HW is None else moved(content_N1HW, augment, of_bytes=of_bytes)
        return self.normalise(x_N1HW, content_N1HW)

    def _looked_up(self, image_NHW: Tensor) -> Tensor:
        """Return the network's input by one table for each image: what `normalise` makes of the table's values.

        A gray value counts as often as it occurs in what the network sees. So sums are those of `normalise` but for
        their order, and all that is no sum has its very bits.
        """
        table_N1V = self._table(image_NHW)[:, None]
        seen_NHW = self._centre(image_NHW).contiguous()
        times_N1V = content_V = None
        if self.counts:
            times_N1V = histograms(seen_NHW, padded=self.padded)[:, None]
        table_NCV = self._normalise(table_N1V[:, :, None], None if times_N1V is None else times_N1V[:, :, None])[
            :, :, 0
        ]
        if self.padded:
            content_V = torch.arange(256) > 0
            table_NCV = torch.where(content_V, table_NCV, 0.0)
        return look_up(seen_NHW, table_NCV).expand(-1, self.in_channels, -1, -1)

    def _table(self, image_NHW: Tensor) -> Tensor:
        """Return the gray values in [0, 1] that the 256 of each uint8 image stand for: float32 [N, V]."""
        if self.learnt is None:
            return (torch.arange(256, device=image_NHW.device) / 255).expand(len(image_NHW), -1)
        return TABLES[self.learnt](histograms(image_NHW, padded=self.padded), self.reference[self.learnt])

    def gray(self, image_NHW: Tensor) -> Tensor:
        """Return uint8 images as gray values in [0, 1], float32 [N, 1, H, W], each through its table where there is one."""
        return unit(image_NHW) if self.learnt is None else look_up(image_NHW, self._table(image_NHW)[:, None])

    def content(self, image_NHW: Tensor) -> Tensor | None:
        """Return which pixels of uint8 images are image and not padding, bool [N, 1, H, W]; None where nothing is padded."""
        return image_NHW[:, None] > 0 if self.padded else None

    def normalise(self, x_N1HW: Tensor, content_N1HW: Tensor | None = None) -> Tensor:
        """Return the network's input of gray values in [0, 1], each image by itself; 0 where `content` says padding."""
        x_N1HW, content_N1HW = self._centre(x_N1HW), None if content_N1HW is None else self._centre(content_N1HW)
        if content_N1HW is not None or self.steps:
            each = []
            for part in handfuls(x_N1HW):
                content = None if content_N1HW is None else content_N1HW[part]
                made = self._normalise(x_N1HW[part], content)
                each.append(made if content is None else torch.where(content, made, 0.0))
            x_N1HW = torch.cat(each) if len(each) > 1 else each[0]
        return x_N1HW.expand(-1, self.in_channels, -1, -1)

    def _centre(self, x_NHW: Tensor) -> Tensor:
        """Return what the network sees of images [..., H, W]."""
        if not self.input:
            return x_NHW
        top, left = ((side - self.input) // 2 for side in x_NHW.shape[-2:])
        return x_NHW[..., top : top + self.input, left : left + self.input]

    def _normalise(self, x_N1HW: Tensor, times_N1HW: Tensor | None) -> Tensor:
        """Return some images after the tone ops, with one channel where all would be the same."""
        for name, options in self.steps:
            if name == "imagenet":
                x_N1HW = imagenet(
                    x_N1HW, self._channels(self.mean, x_N1HW), self._channels(self.std, x_N1HW), **options
                )
            else:
                x_N1HW = _TONE_OPS[name](x_N1HW, times_N1HW=times_N1HW, **options)
        return x_N1HW

    def _channels(self, values: tuple[float, float, float], like: Tensor) -> Tensor:
        chosen = values if self.in_channels == 3 else (sum(values) / 3,) * self.in_channels
        return constant(tuple(chosen), like.device, like.dtype)


def unit(image_NHW: Tensor) -> Tensor:
    """Return uint8 gray values as float32 [N, 1, H, W] in [0, 1]."""
    return image_NHW[:, None].float() / 255


def moved(content_N1HW: Tensor, augment: Callable[[Tensor], Tensor], *, of_bytes: bool = False) -> Tensor:
    """Return which pixels are image after an augmentation whose draws do not depend on what it is shown.

    It is shown a picture of the image, white on black, and one of the padding: where the first stays the brighter, is
    image. So its light does not matter, nor its contrast from a third on, and it need not know that there is padding.
    """
    shown, hidden = (mask.byte() * 255 if of_bytes else mask.float() for mask in (content_N1HW, ~content_N1HW))
    return augment(shown) > augment(hidden)


def _mask(x_N1HW: Tensor, pixels: str, times_N1HW: Tensor | None) -> Tensor:
    """Return which values count; an image without foreground counts whole, padding only where there is nothing else."""
    if pixels not in ("foreground", "all"):
        raise ConfigError(f"pixels is {pixels!r}", "preprocessing.ops", "choose foreground or all")
    mask = x_N1HW > FOREGROUND if pixels == "foreground" else torch.ones_like(x_N1HW, dtype=torch.bool)
    if times_N1HW is not None:
        there_N1HW = times_N1HW > 0
        mask &= there_N1HW
        mask |= there_N1HW & _without(mask)
    mask |= _without(mask)
    return mask


def _without(mask_N1HW: Tensor) -> Tensor:
    """Return [N, 1, 1, 1]: which masks are empty."""
    return ~mask_N1HW.flatten(1).any(1)[:, None, None, None]


def _range(x_N1HW: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    low = x_N1HW.masked_fill(~mask, torch.inf).amin((2, 3), keepdim=True)
    high = x_N1HW.masked_fill(~mask, -torch.inf).amax((2, 3), keepdim=True)
    return low, high
