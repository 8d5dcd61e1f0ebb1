"""Change rotation, shift, scale, mirroring, brightness and contrast of images in one resampling.

Images are [N, 1, H, W] before intensity normalization: uint8 as in the cache, or float32 in [0, 1]. The results are
float32 in [0, 1]. Legend: N images, H and W pixels.
"""

import math
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from bench.inputs.device_transfer import to_device


@dataclass(frozen=True, slots=True)
class Warp:
    """Random parameters of the affine augmentation, one value per image of a batch."""

    angle: Tensor  # [N], radians
    shift: Tensor  # [N, 2], right and down, as a share of the side
    zoom: Tensor  # [N], 1.05 enlarges by 5 %
    flip: Tensor  # [N], -1: mirrored left to right, 1: not mirrored
    brightness: Tensor  # [N], factor
    contrast: Tensor  # [N], factor about the image's own mean

    def apply(self, x_N1HW: Tensor) -> Tensor:
        """Return the augmented images, resampled once. Pixels from outside the image are black.

        Resampling reads uint8 values, so float32 images are first rounded to gray levels (multiples of 1/255). The
        result is not rounded.
        """
        x_N1HW = levels(x_N1HW)
        return _on_cpu(self, x_N1HW) if x_N1HW.device.type == "cpu" else on_device(self, x_N1HW)

    def inverse(self, height: int, width: int) -> Tensor:
        """Return the matrices [N, 2, 3] that map output coordinates (x, y, 1) to input coordinates (x, y).

        Input and output coordinates are from -1 to 1 along each side of the image. `height` and `width` are in pixels.
        """
        cos, sin, aspect = torch.cos(self.angle), torch.sin(self.angle), height / width
        across = torch.stack([cos * self.flip, sin * aspect * self.flip], 1)
        down = torch.stack([-sin / aspect, cos], 1)
        turn = torch.stack([across, down], 1) / self.zoom[:, None, None]
        origin = turn @ (-2 * self.shift)[:, :, None]
        return torch.cat([turn, origin], 2)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Return the parameters of the images that `rows` selects."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def gray(x_N1HW: Tensor) -> Tensor:
    """Return images as float32 gray values in [0, 1]; float32 images are returned unchanged."""
    return x_N1HW.float() / 255 if x_N1HW.dtype == torch.uint8 else x_N1HW


def levels(x_N1HW: Tensor) -> Tensor:
    """Return images as uint8 gray levels; uint8 images are returned unchanged."""
    return x_N1HW if x_N1HW.dtype == torch.uint8 else (x_N1HW * 255).round_().clamp_(0, 255).to(torch.uint8)


def on_device(warp: Warp, image_N1HW: Tensor) -> Tensor:
    """Return uint8 images after the warp, as float32 in [0, 1], computed by torch operations that suit a GPU."""
    x_N1HW = gray(image_N1HW)
    mean = x_N1HW.mean((2, 3), keepdim=True)
    factors_N2 = torch.stack([warp.brightness, warp.contrast], 1)
    # one copy to the device instead of three
    own_N8 = to_device(
        torch.cat([warp.inverse(*x_N1HW.shape[2:]).flatten(1), factors_N2], 1).to(x_N1HW.dtype), x_N1HW.device
    )
    brightness, contrast = own_N8[:, 6:, None, None, None].unbind(1)
    adjusted = (x_N1HW - mean).mul_(contrast).add_(mean).mul_(brightness)
    grid = affine_grid(own_N8[:, :6].view(-1, 2, 3), list(x_N1HW.shape), align_corners=False)
    return grid_sample(adjusted, grid, mode="bilinear", padding_mode="zeros", align_corners=False).clamp_(0, 1)


def _on_cpu(warp: Warp, image_N1HW: Tensor) -> Tensor:
    """Return the result of `on_device`, except for rounding, computed by OpenCV for a CPU."""
    height, width = image_N1HW.shape[2:]
    to_unit = np.diag([2 / width, 2 / height, 1.0])  # pixels -> coordinates in [-1, 1]
    to_unit[:2, 2] = 1 / width - 1, 1 / height - 1
    inverse_N33 = np.tile(np.eye(3), (len(image_N1HW), 1, 1))
    inverse_N33[:, :2] = warp.inverse(height, width).numpy()
    from_N23 = (np.linalg.inv(to_unit) @ inverse_N33 @ to_unit)[:, :2]
    factor_N2 = torch.stack([warp.contrast, warp.brightness], 1).numpy()
    return torch.from_numpy(resample(image_N1HW.numpy()[:, 0], from_N23, factor_N2)[:, None])


def resample(
    image_NHW: NDArray[np.uint8], from_N23: NDArray[np.float64], factor_N2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return images resampled bilinearly, float32 in [0, 1]; pixels outside the source image are black.

    from_N23   matrices that map an output pixel to source coordinates: from @ (x, y, 1); pixel centers are integers
    factor_N2  factor of contrast (about the mean of the image), factor of brightness; a factor of 1 changes nothing
    Contrast, brightness and position change in this order; only the final values are clipped to [0, 1]. The images are
    processed one by one, so that each image stays in the CPU cache.
    """
    result = np.empty(image_NHW.shape, np.float32)
    gray_V = np.arange(256) / 255
    size = image_NHW.shape[:0:-1]  # (width, height)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for image_HW, matrix, (contrast, brightness), out_HW in zip(image_NHW, from_N23, factor_N2, result, strict=True):
        mean = cv2.mean(image_HW)[0] / 255
        table_V = (((gray_V - mean) * contrast + mean) * brightness).astype(np.float32)
        cv2.warpAffine(cv2.LUT(image_HW, table_V), matrix, size, out_HW, flags)
    return result.clip(0, 1, out=result)


def affine(
    x_N1HW: Tensor,
    seed: int,
    *,
    rotate: float = 10.0,
    translate: float = 0.05,
    scale: float = 0.05,
    brightness: float = 0.15,
    contrast: float = 0.15,
    p: float = 0.5,
    hflip: bool = False,
) -> Tensor:
    """Return a batch with slight changes of rotation, shift, scale, brightness and contrast.

    Each change has probability `p` for each image. The options are the largest changes in both directions: `rotate` in
    degrees, `translate` as a share of the side, `scale`, `brightness` and `contrast` as a change of a factor (0.05
    means a factor from 0.95 to 1.05). `hflip` mirrors half of the images; it is off by default, because mirroring moves
    the heart to the other side.
    """
    warp = draw(
        len(x_N1HW),
        seed,
        rotate=rotate,
        translate=translate,
        scale=scale,
        brightness=brightness,
        contrast=contrast,
        p=p,
        hflip=hflip,
    )
    return warp.apply(x_N1HW)


def draw(
    num_images: int,
    seed: int,
    *,
    rotate: float,
    translate: float,
    scale: float,
    brightness: float,
    contrast: float,
    p: float,
    hflip: bool,
) -> Warp:
    """Return random parameters for a batch. `affine` explains the arguments.

    The parameters are drawn on the CPU, so they are equal on every device.
    """
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(num_images, 6, generator=generator) * 2 - 1
    is_applied = torch.rand(num_images, 5, generator=generator) < p
    amount = value * is_applied[:, [0, 1, 1, 2, 3, 4]]  # both directions of a shift are applied together
    flip = torch.rand(num_images, generator=generator) < (0.5 if hflip else 0.0)
    return Warp(
        angle=amount[:, 0] * math.radians(rotate),
        shift=amount[:, 1:3] * translate,
        zoom=1 + amount[:, 3] * scale,
        flip=1 - 2 * flip.float(),
        brightness=1 + amount[:, 4] * brightness,
        contrast=1 + amount[:, 5] * contrast,
    )


def none(x_N1HW: Tensor, seed: int) -> Tensor:  # noqa: ARG001  (the signature of every augmentation)
    """Return the images unchanged."""
    return x_N1HW
