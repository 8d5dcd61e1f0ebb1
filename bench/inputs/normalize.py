"""Intensity normalization: uint8 images to network input, in batches on the device.

A preprocessing entry has `size`, `fit`, optionally `input`, and a list of ops: operations on images, such as `clahe`
and `zscore`. CLAHE and the crop to the lungs (or to a fixed region) are applied before images are cached. This module
applies the other steps:

    uint8 -> [0, 1] (lookup table per image, or / 255) -> augmentation -> crop to `input` -> intensity ops -> channels

Training and evaluation differ only in the augmentation. Without augmentation, all steps together are one lookup table
of 256 entries per image. So a CPU counts the gray values of an image, applies the ops to the table, and looks up each
pixel once.

A letterboxed image has padding. Padding has gray value 0 in the cache; no other pixel of the image has this value.
Padding is ignored in all statistics, moves with the image in the augmentation, and is 0 in the network input. Pixels of
a letterboxed image that an augmentation blackens, or moves in from outside the image, are also 0 in the network input.

Legend: N images, C channels, H and W pixels, V = 256 gray values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor

from bench.config.preprocessing_ops import INTENSITY_OPS, input_size, learned_op, padded, parse
from bench.inputs.device_transfer import constant
from bench.inputs.histograms import TABLES, Reference, histograms, look_up
from harmonize.errors import ConfigError

# 1 MB of float32: so small that the result of one operation is still in the cache of the CPU for the next one; a batch of 64
# images of 320 x 320 pixels has 26 MB
CHUNK_PIXELS = 2**18
# gray value on the scale from 0 to 1; pixels up to this value are border or collimator, not foreground
FOREGROUND = 0.02


def imagenet(x_N1HW: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Return (x - mean) / std for each channel, [N, C, H, W], as in the pretraining of the network."""
    return (x_N1HW - mean[:, None, None]) / std[:, None, None]


def minmax(x_N1HW: Tensor, pixels: str = "foreground", times_N1HW: Tensor | None = None) -> Tensor:
    """Rescale each image so that the gray values of its foreground cover [0, 1]. A constant image becomes 0.

    `pixels` selects the pixels for minimum and maximum: foreground (brighter than FOREGROUND) or all. `times_N1HW` says
    how often each value counts: padding counts 0 times; a value of a lookup table counts once for each of its pixels.
    """
    low, high = _range(x_N1HW, _mask(x_N1HW, pixels, times_N1HW))
    return (x_N1HW - low).div_(high - low + 1e-6).clamp_(0, 1)


def zscore(x_N1HW: Tensor, pixels: str = "foreground", times_N1HW: Tensor | None = None) -> Tensor:
    """Normalize each image so that its foreground has mean 0 and standard deviation 1. A constant image becomes 0.

    The standard deviation is of the population (divided by n). `pixels` selects the pixels for mean and standard deviation:
    foreground (brighter than FOREGROUND) or all. `times_N1HW` says how often each value counts, as in `minmax`.
    """
    mask = _mask(x_N1HW, pixels, times_N1HW)
    low, high = _range(x_N1HW, mask)
    # float32 counts pixels exactly, because an image has fewer than 2 ** 24 pixels.
    counted = mask.float() if times_N1HW is None else mask * times_N1HW.float()
    count = counted.sum((2, 3), keepdim=True).clamp(min=1)
    mean = (x_N1HW * counted).sum((2, 3), keepdim=True) / count
    deviation_N1HW = x_N1HW - mean
    variance = deviation_N1HW.square().mul_(counted).sum((2, 3), keepdim=True) / count
    z_N1HW = deviation_N1HW.div_(variance.sqrt() + 1e-6)
    # A constant image is set to 0, because the division would enlarge the rounding error of its mean.
    return z_N1HW.masked_fill_(~(high > low), 0.0)


_INTENSITY_OPS: Mapping[str, Callable[..., Tensor]] = {"minmax": minmax, "zscore": zscore}


@dataclass(frozen=True, slots=True)
class Normalizer:
    """The steps of a preprocessing entry after the image cache, for one network.

    `mean` and `std` are the network's input statistics for three channels; a network with one input channel uses the
    average of the three means and the average of the three stds. `input` is the side of the center crop in pixels, 0
    for the entire image. `reference` is the histogram reference of histstd or histmatch. `padded`: whether gray value 0
    is padding. Raises ConfigError for an unknown op or option, an invalid order of ops, or a missing reference.
    """

    ops: Sequence[str | Mapping[str, Any]]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    in_channels: int = 3
    input: int = 0
    reference: Reference = field(default_factory=dict)
    padded: bool = False
    learned_op: str | None = field(init=False, repr=False, compare=False)  # the op that uses the reference, or None
    # intensity ops (minmax, zscore, imagenet) with their options
    steps: tuple[tuple[str, Mapping[str, Any]], ...] = field(init=False, repr=False, compare=False)
    counts: bool = field(init=False, repr=False, compare=False)  # whether an intensity op needs the image's statistics

    def __post_init__(self) -> None:
        learned = learned_op(self.ops)
        steps = tuple((name, options) for name, options in parse(self.ops) if name in INTENSITY_OPS)
        counts = any(name != "imagenet" for name, _ in steps)
        # these values are computed once here, not again for each batch
        object.__setattr__(self, "learned_op", learned)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "counts", counts)
        if learned is not None and learned not in self.reference:
            fix = "learn the reference on training images first"
            raise ConfigError(f"{learned} has no histogram reference", "preprocessing.ops", fix)
        try:
            self.normalize(torch.zeros(1, 1, 2, 2))  # an invalid option of an op is an unknown argument
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
        """Return the normalizer of a preprocessing entry of the registry."""
        side = input_size(preprocessing) if "input" in preprocessing else 0
        return cls(preprocessing.get("ops", []), mean, std, in_channels, side, reference or {}, padded(preprocessing))

    def __call__(
        self, image_NHW: Tensor, augment: Callable[[Tensor], Tensor] | None = None, *, of_bytes: bool = False
    ) -> Tensor:
        """Return the network's input, float32 [N, C, H, W], for uint8 images.

        `augment` maps images [N, 1, H, W] in [0, 1] to images of the same shape and range. `of_bytes` means that
        `augment` also accepts uint8 images; then `augment` gets the uint8 images, unless a histogram op changes the
        gray values first.
        """
        if augment is None and image_NHW.device.type == "cpu" and (self.learned_op or self.counts):
            return self._looked_up(image_NHW)
        of_bytes = of_bytes and self.learned_op is None
        x_N1HW = image_NHW[:, None] if of_bytes else self.gray(image_NHW)
        content_N1HW = self.content(image_NHW)
        if augment is not None:
            x_N1HW = augment(x_N1HW)
            content_N1HW = None if content_N1HW is None else augmented_content(content_N1HW, augment, of_bytes=of_bytes)
        return self.normalize(x_N1HW, content_N1HW)

    def _looked_up(self, image_NHW: Tensor) -> Tensor:
        """Return the network's input by lookup tables: the ops change an image's table, and the table maps the pixels.

        In the statistics of an op, each gray value counts as often as it occurs in the center crop. The result equals
        that of `normalize`, except for rounding, because sums are added in another order.
        """
        table_N1V = self._table(image_NHW)[:, None]
        crop_NHW = self._center_crop(image_NHW).contiguous()
        times_N1V = content_V = None
        if self.counts:
            times_N1V = histograms(crop_NHW, padded=self.padded)[:, None]
        table_NCV = self._normalize(table_N1V[:, :, None], None if times_N1V is None else times_N1V[:, :, None])[
            :, :, 0
        ]
        if self.padded:
            content_V = torch.arange(256) > 0
            table_NCV = torch.where(content_V, table_NCV, 0.0)
        return look_up(crop_NHW, table_NCV).expand(-1, self.in_channels, -1, -1)

    def _table(self, image_NHW: Tensor) -> Tensor:
        """Return the lookup table of each image, from uint8 gray values to [0, 1]: float32 [N, V]."""
        if self.learned_op is None:
            return (torch.arange(256, device=image_NHW.device) / 255).expand(len(image_NHW), -1)
        return TABLES[self.learned_op](histograms(image_NHW, padded=self.padded), self.reference[self.learned_op])

    def gray(self, image_NHW: Tensor) -> Tensor:
        """Return uint8 images as gray values in [0, 1], float32 [N, 1, H, W].

        If the ops contain a histogram op, the gray values are changed by its lookup tables.
        """
        return unit(image_NHW) if self.learned_op is None else look_up(image_NHW, self._table(image_NHW)[:, None])

    def content(self, image_NHW: Tensor) -> Tensor | None:
        """Return a mask [N, 1, H, W] of the pixels that are not padding; None without letterboxing."""
        return image_NHW[:, None] > 0 if self.padded else None

    def normalize(self, x_N1HW: Tensor, content_N1HW: Tensor | None = None) -> Tensor:
        """Return the network's input, float32 [N, C, H, W], from gray values in [0, 1].

        Each image is normalized by its own statistics. The result is 0 outside the mask content_N1HW.
        """
        x_N1HW = self._center_crop(x_N1HW)
        content_N1HW = None if content_N1HW is None else self._center_crop(content_N1HW)
        if content_N1HW is not None or self.steps:
            normalized = []
            for rows in chunks(x_N1HW):
                content = None if content_N1HW is None else content_N1HW[rows]
                chunk = self._normalize(x_N1HW[rows], content)
                normalized.append(chunk if content is None else torch.where(content, chunk, 0.0))
            x_N1HW = torch.cat(normalized) if len(normalized) > 1 else normalized[0]
        return x_N1HW.expand(-1, self.in_channels, -1, -1)

    def _center_crop(self, x_NHW: Tensor) -> Tensor:
        """Return the center crop of images [..., H, W]."""
        if not self.input:
            return x_NHW
        top, left = ((side - self.input) // 2 for side in x_NHW.shape[-2:])
        return x_NHW[..., top : top + self.input, left : left + self.input]

    def _normalize(self, x_N1HW: Tensor, times_N1HW: Tensor | None) -> Tensor:
        """Apply the intensity ops (minmax, zscore, imagenet). Without imagenet, the result has only one channel.

        `times_N1HW` says how often each value counts in statistics, as in `minmax`.
        """
        for name, options in self.steps:
            if name == "imagenet":
                x_N1HW = imagenet(
                    x_N1HW, self._channels(self.mean, x_N1HW), self._channels(self.std, x_N1HW), **options
                )
            else:
                x_N1HW = _INTENSITY_OPS[name](x_N1HW, times_N1HW=times_N1HW, **options)
        return x_N1HW

    def _channels(self, values: tuple[float, float, float], like: Tensor) -> Tensor:
        """Return a tensor with the values for the network's channels: all three values, or their mean for one channel."""
        chosen = values if self.in_channels == 3 else (sum(values) / 3,) * self.in_channels
        return constant(tuple(chosen), like.device, like.dtype)


def unit(image_NHW: Tensor) -> Tensor:
    """Return uint8 gray values as float32 [N, 1, H, W] in [0, 1]."""
    return image_NHW[:, None].float() / 255


def augmented_content(content_N1HW: Tensor, augment: Callable[[Tensor], Tensor], *, of_bytes: bool = False) -> Tensor:
    """Return the mask of the pixels that are not padding after an augmentation.

    The augmentation is applied to two images: white content on black, and white padding on black. A pixel is content
    where the first result is brighter than the second. So the augmentation needs no code for padding. The method works
    for any brightness factor and for contrast factors of a third or more. The random draws of the augmentation must not
    depend on pixel values.
    """
    content, padding = (mask.byte() * 255 if of_bytes else mask.float() for mask in (content_N1HW, ~content_N1HW))
    return augment(content) > augment(padding)


def _mask(x_N1HW: Tensor, pixels: str, times_N1HW: Tensor | None) -> Tensor:
    """Return the mask of the values that count in statistics.

    `pixels` selects the foreground or all values; values that count 0 times (`times_N1HW`), such as padding, are
    excluded. If no value is left in an image, all values except padding count. If an image has only padding, all
    values count. Raises ConfigError for an unknown value of `pixels`.
    """
    if pixels not in ("foreground", "all"):
        raise ConfigError(f"unknown value {pixels!r} of pixels", "preprocessing.ops", "choose foreground or all")
    mask = x_N1HW > FOREGROUND if pixels == "foreground" else torch.ones_like(x_N1HW, dtype=torch.bool)
    if times_N1HW is not None:
        occurs_N1HW = times_N1HW > 0
        mask &= occurs_N1HW
        mask |= occurs_N1HW & _is_empty(mask)
    mask |= _is_empty(mask)
    return mask


def _is_empty(mask_N1HW: Tensor) -> Tensor:
    """Return a mask [N, 1, 1, 1] of the images whose masks are empty."""
    return ~mask_N1HW.flatten(1).any(1)[:, None, None, None]


def _range(x_N1HW: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return minimum and maximum of each image inside the mask, two tensors [N, 1, 1, 1]."""
    low = x_N1HW.masked_fill(~mask, torch.inf).amin((2, 3), keepdim=True)
    high = x_N1HW.masked_fill(~mask, -torch.inf).amax((2, 3), keepdim=True)
    return low, high


def chunks(image_NHW: Tensor) -> list[slice]:
    """Return consecutive slices that together cover a batch [N, ..., H, W]. On a GPU, one slice covers the batch.

    If there are several slices, each slice has at least two images. The reason: torch adds the pixels of a single image
    in another order than those of an image in a batch, and the result must not depend on the slices.
    """
    num, (height, width) = len(image_NHW), image_NHW.shape[-2:]
    if image_NHW.device.type != "cpu" or num * height * width <= CHUNK_PIXELS:
        return [slice(0, num)]
    size = max(2, CHUNK_PIXELS // (height * width))
    starts = list(range(0, num, size))
    if num - starts[-1] == 1 and len(starts) > 1:
        starts.pop()
    return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], num], strict=True)]
