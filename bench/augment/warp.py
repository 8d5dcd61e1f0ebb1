"""Turning, shifting, zooming, mirroring and the light of images, in one resampling.

N images, H and W pixels. Images are float32 [N, 1, H, W] in [0, 1], before the tone ops; so are the results.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from bench.handfuls import handfuls
from bench.transfer import to_device


@dataclass(frozen=True, slots=True)
class Warp:
    """What happens to each image of a batch; `draw` decides it, `apply` does it."""

    angle: Tensor  # [N], radians
    shift: Tensor  # [N, 2], right and down, as a share of the side
    zoom: Tensor  # [N], 1.05 shows everything 5 % larger
    flip: Tensor  # [N], 1, or -1 for left-right
    brightness: Tensor  # [N], factor
    contrast: Tensor  # [N], factor about the image's own mean

    def apply(self, x_N1HW: Tensor) -> Tensor:
        """Return the images changed, resampled once; what comes in from outside is black."""
        each = [self[part]._apply(x_N1HW[part]) for part in handfuls(x_N1HW)]  # noqa: SLF001  (of this class)
        return torch.cat(each) if len(each) > 1 else each[0]

    def _apply(self, x_N1HW: Tensor) -> Tensor:
        """Return as many images as there are decisions, changed."""
        mean = x_N1HW.mean((2, 3), keepdim=True)
        brightness, contrast = (
            to_device(v, x_N1HW.device)[:, None, None, None] for v in (self.brightness, self.contrast)
        )
        toned = (x_N1HW - mean).mul_(contrast).add_(mean).mul_(brightness).clamp_(0, 1)
        inverse = to_device(self._inverse(*x_N1HW.shape[2:]).to(x_N1HW.dtype), x_N1HW.device)
        grid = affine_grid(inverse, list(x_N1HW.shape), align_corners=False)
        return grid_sample(toned, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _inverse(self, height: int, width: int) -> Tensor:
        """Return the matrices [N, 2, 3] that say where each output pixel comes from, both sides being -1 to 1 long."""
        cos, sin, aspect = torch.cos(self.angle), torch.sin(self.angle), height / width
        across = torch.stack([cos * self.flip, sin * aspect * self.flip], 1)
        down = torch.stack([-sin / aspect, cos], 1)
        turn = torch.stack([across, down], 1) / self.zoom[:, None, None]
        origin = turn @ (-2 * self.shift)[:, :, None]
        return torch.cat([turn, origin], 2)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        """Return the same decisions for some of the images."""
        return type(self)(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def grid_anywhere(matrix_N23: Tensor, height: int, width: int) -> Tensor:
    """Return where each output pixel comes from, [N, H, W, 2], x before y, from -1 to 1 along both sides."""
    return affine_grid(matrix_N23, [len(matrix_N23), 1, height, width], align_corners=False)


def grid_on_cpu(matrix_N23: Tensor, height: int, width: int) -> Tensor:
    """Return the same, eight times as fast on a CPU, where torch multiplies a tall matrix of pixels by one of two columns.

    The order of the sums is torch's, so that the bits are, too.
    """
    x_1W, y_H1 = (torch.linspace(-1, 1, num) * (num - 1) / num for num in (width, height))
    x_1W, y_H1 = x_1W[None, :], y_H1[:, None]
    grid = matrix_N23.new_empty(len(matrix_N23), height, width, 2)
    for axis in (0, 1):
        along, across, origin = (matrix_N23[:, axis, k, None, None] for k in range(3))
        torch.add(along * x_1W, across * y_H1, out=grid[..., axis])
        grid[..., axis] += origin
    return grid


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
    """Return a batch slightly turned, shifted, zoomed, lightened and steepened; each by chance `p`, for each image.

    Ranges are plus or minus: `rotate` degrees, `translate` a share of the side, the others a share of 1. `hflip`
    mirrors half of the images; it is off because it moves the heart to the other side.
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
    """Return the decisions for a batch: the same on every device, because they are drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    value = torch.rand(num_images, 6, generator=generator) * 2 - 1
    taken = torch.rand(num_images, 5, generator=generator) < p
    amount = value * taken[:, [0, 1, 1, 2, 3, 4]]  # a shift is one decision with two directions
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
    """Return the images as they are."""
    return x_N1HW
