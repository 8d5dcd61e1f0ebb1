"""Augmentation steps, and a sequence of them. Each step changes an image with probability `p`; the other images are not changed.

Images and results are float32 [N, 1, H, W] in [0, 1]. `crop`, `hflip` and `warp` also accept uint8; `crop` and `hflip`
then return uint8. All random numbers are drawn on the CPU. So the numbers are equal on every device, and a step does
not wait for the device. Legend: N images, M selected images, H and W pixels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from bench.config.preprocessing_ops import augment_steps
from bench.inputs.augmentation import warp as warps
from bench.inputs.device_transfer import to_device
from harmonize.seeds import seed_for

_CELLS = (3, 8)  # rows and columns of the grid that makes the letters of a tag
_NUM_VALUES = 2 + 8 + _CELLS[0] * _CELLS[1]  # random numbers for a corner: its size, the tag, the letters
_NUM_SLOPES = 8  # linear pieces of a tone curve


def crop(x_N1HW: Tensor, seed: int, *, share: float = 0.125, p: float = 1.0) -> Tensor:
    """Return images shifted by whole pixels, by at most `share` / 2 of their side in each direction.

    Pixels from outside the image are black. Later, the preprocessing keeps only the center of the image, with a side of
    `input` pixels. So with `input: 224`, a cached image of 256 pixels and `share` 0.125, this step is a random crop
    without black pixels. Without this step, the crop is central, as in evaluation.
    """
    rows, value_M2 = _select(x_N1HW, seed, p, 2)
    height, width = x_N1HW.shape[2:]
    y, x = (round(side * share / 2) for side in (height, width))
    range_2 = torch.tensor([2 * y + 1, 2 * x + 1])
    start_M2 = to_device((value_M2 * range_2).long(), x_N1HW.device)
    wide = pad(_pick(x_N1HW, rows), (x, x, y, y))[:, 0]
    down, right = (torch.arange(side, device=x_N1HW.device) for side in (height, width))
    row_MH, column_MW = start_M2[:, :1] + down, start_M2[:, 1:] + right
    image = torch.arange(len(rows), device=x_N1HW.device)[:, None, None]
    return _put(x_N1HW, rows, wide[image, row_MH[:, :, None], column_MW[:, None, :]][:, None])


def hflip(x_N1HW: Tensor, seed: int, *, p: float = 0.5) -> Tensor:
    """Return images mirrored left to right.

    No default augmentation uses this step, because mirroring moves the heart to the other side and mirrors side
    markers.
    """
    rows, _ = _select(x_N1HW, seed, p, 0)
    return _put(x_N1HW, rows, _pick(x_N1HW, rows).flip(3))


def warp(
    x_N1HW: Tensor, seed: int, *, rotate: float = 0.0, translate: float = 0.0, scale: float = 0.0, p: float = 0.5
) -> Tensor:
    """Return images rotated, shifted and scaled in one resampling.

    Rotation, shift and scaling each have probability `p`; `bench.inputs.augmentation.warp.affine` explains their
    ranges. If no image moves, the images are returned as they are, so uint8 may stay uint8.
    """
    drawn = warps.draw(
        len(x_N1HW),
        seed,
        rotate=rotate,
        translate=translate,
        scale=scale,
        brightness=0.0,
        contrast=0.0,
        p=p,
        hflip=False,
    )
    moved = (drawn.angle != 0) | (drawn.shift != 0).any(1) | (drawn.zoom != 1)
    rows = moved.nonzero()[:, 0]
    if not len(rows):
        return x_N1HW
    return _put(warps.gray(x_N1HW), rows, drawn[rows].apply(_pick(x_N1HW, rows)))


def jitter(x_N1HW: Tensor, seed: int, *, brightness: float = 0.15, contrast: float = 0.15, p: float = 0.5) -> Tensor:
    """Return images with changed contrast (about the image's mean) and brightness, each change with probability `p`.

    `brightness` and `contrast` are the largest changes of a factor: 0.15 means a factor from 0.85 to 1.15.
    """
    _, value_N4 = _select(x_N1HW, seed, 1.0, 4)
    amount_N2 = (2 * value_N4[:, :2] - 1) * (value_N4[:, 2:] < p) * torch.tensor([brightness, contrast])
    rows = (amount_N2 != 0).any(1).nonzero()[:, 0]
    selected, factor = _pick(x_N1HW, rows), 1 + _per_image(amount_N2[rows], x_N1HW)
    mean = selected.mean((2, 3), keepdim=True)
    return _put(x_N1HW, rows, (((selected - mean) * factor[:, 1:] + mean) * factor[:, :1]).clamp(0, 1))


def gamma(x_N1HW: Tensor, seed: int, *, low: float = 0.7, high: float = 1.4, p: float = 0.5) -> Tensor:
    """Return images whose gray values are raised to a power, which is drawn log-uniformly between `low` and `high`."""
    rows, value_M1 = _select(x_N1HW, seed, p, 1)
    power = torch.exp(math.log(low) + value_M1 * math.log(high / low))
    return _put(x_N1HW, rows, _pick(x_N1HW, rows) ** _per_image(power, x_N1HW))


def blur(x_N1HW: Tensor, seed: int, *, sigma: float = 0.01, p: float = 0.1) -> Tensor:
    """Return images blurred by a Gaussian whose standard deviation is up to `sigma` times the image width.

    Pixels at the edge are replicated outside the image.
    """
    rows, value_M1 = _select(x_N1HW, seed, p, 1)
    max_sigma = sigma * x_N1HW.shape[3]
    radius = math.ceil(3 * max_sigma)
    if not len(rows) or not radius:
        return x_N1HW
    distance = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel_MT = torch.softmax(-0.5 * (distance / (value_M1 * max_sigma).clamp(min=1e-3)) ** 2, dim=1)
    weight = to_device(kernel_MT[:, None, :].to(x_N1HW.dtype), x_N1HW.device)
    x_1MHW = pad(_pick(x_N1HW, rows), (radius,) * 4, mode="replicate").transpose(0, 1)
    x_1MHW = conv2d(x_1MHW, weight[:, :, :, None], groups=len(rows))
    x_1MHW = conv2d(x_1MHW, weight[:, :, None, :], groups=len(rows))
    return _put(x_N1HW, rows, x_1MHW.transpose(0, 1).clamp(0, 1))


def erase(
    x_N1HW: Tensor,
    seed: int,
    *,
    area: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    p: float = 0.5,
) -> Tensor:
    """Return images with a black rectangle.

    `area`: range of the rectangle's share of the image. `ratio`: range of its height divided by its width. No side of
    the rectangle is longer than the side of the image. Source: Zhong et al. 2017, arXiv:1708.04896; the ranges are
    those of torchvision.
    """
    rows, value_M4 = _select(x_N1HW, seed, p, 4)
    size = area[0] + value_M4[:, 0] * (area[1] - area[0])
    tall = torch.exp(math.log(ratio[0]) + value_M4[:, 1] * math.log(ratio[1] / ratio[0]))
    sides_M2 = torch.stack([(size * tall).sqrt(), (size / tall).sqrt()], 1).clamp(max=1)
    start_M2 = value_M4[:, 2:] * (1 - sides_M2)
    return _blacken(x_N1HW, rows, start_M2, start_M2 + sides_M2, inside=True)


def border(x_N1HW: Tensor, seed: int, *, most: float = 0.1, p: float = 0.5) -> Tensor:
    """Return images with black borders, as scanners and letterboxes make them.

    The width of each border is at most `most` times the side of the image.
    """
    rows, value_M4 = _select(x_N1HW, seed, p, 4)
    return _blacken(x_N1HW, rows, value_M4[:, :2] * most, 1 - value_M4[:, 2:] * most, inside=False)


def markers(x_N1HW: Tensor, seed: int, *, most: float = 0.3, p: float = 0.5) -> Tensor:
    """Return images whose four corners are replaced, and half of the corners have a bright tag.

    A corner is replaced by the pixels below it (lower corners: above it). This removes a marker that lies inside the
    corner. A part of a larger marker stays, and a marker just below an upper corner is copied into the corner.

    The width of a replaced corner is 2/3 to 1 times `most`, as a share of the image width. Its height, as a share of the
    image height, is half to three quarters of that share. Size, gray values, place and pattern of a tag are random, and
    independent of the labels.
    """
    rows, value = _select(x_N1HW, seed, p, 4 * _NUM_VALUES)
    if not len(rows):
        return x_N1HW
    height, width = x_N1HW.shape[2:]
    value_M4V = value.view(-1, 4, _NUM_VALUES)
    source_MHW = torch.arange(height)[:, None].expand(len(rows), height, width).clone()
    tags = []
    for corner, value_MV in enumerate(value_M4V.unbind(1)):
        left, top = corner % 2 == 0, corner < 2
        value_MV11 = value_MV[:, :, None, None]
        wide = most * (2 + value_MV11[:, 0]) / 3  # [M, 1, 1], like all positions and sizes here
        high = wide * (2 + value_MV11[:, 1]) / 4
        x = (torch.arange(width) + 0.5) / width - (0 if left else 1 - wide)
        y = ((torch.arange(height) + 0.5) / height)[:, None] - (0 if top else 1 - high)
        replaced_MHW = (x >= 0) & (x < wide) & (y >= 0) & (y < high)
        shift = (high * height).ceil().long()
        source_MHW += torch.where(replaced_MHW, shift if top else -shift, 0)
        tags.append(_tag(x / wide, y / high, value_MV11[:, 2:]))
    source_M1HW = to_device(source_MHW.clamp(0, height - 1), x_N1HW.device)[:, None]
    changed = _pick(x_N1HW, rows).gather(2, source_M1HW)
    for covered_MHW, gray_MHW in tags:
        covered, gray = (to_device(tensor, x_N1HW.device)[:, None] for tensor in (covered_MHW, gray_MHW))
        changed = torch.where(covered, gray.to(changed.dtype), changed)
    return _put(x_N1HW, rows, changed)


def tones(x_N1HW: Tensor, seed: int, *, strength: float = 1.0, p: float = 0.5) -> Tensor:
    """Return images whose gray values are mapped through a random increasing curve. Black and white stay.

    The curve is linear in each of eight equal ranges of gray values. Before the curve is scaled to end at 1, its slopes
    are exp(u), with u drawn uniformly between -`strength` and `strength`.
    """
    rows, value_MS = _select(x_N1HW, seed, p, _NUM_SLOPES)
    rise_MS = torch.softmax(strength * (2 * value_MS - 1), 1)
    start_MS = rise_MS.cumsum(1) - rise_MS
    x = _pick(x_N1HW, rows)
    segment = (x * _NUM_SLOPES).long().clamp(0, _NUM_SLOPES - 1)
    start = to_device(start_MS.to(x.dtype), x.device).gather(1, segment.flatten(1)).view_as(x)
    rise = to_device(rise_MS.to(x.dtype), x.device).gather(1, segment.flatten(1)).view_as(x)
    return _put(x_N1HW, rows, (start + rise * (x * _NUM_SLOPES - segment)).clamp(0, 1))


def resolutions(x_N1HW: Tensor, seed: int, *, least: float = 0.4, p: float = 0.5) -> Tensor:
    """Return images resampled to fewer pixels (antialiased) and back to their size, both bilinear.

    The share of the side that is left is drawn uniformly between `least` and 1.
    """
    rows, value_M1 = _select(x_N1HW, seed, p, 1)
    x = _pick(x_N1HW, rows)
    height, width = x.shape[2:]
    share_M1 = least + value_M1 * (1 - least)
    side_M2 = (share_M1 * torch.tensor([height, width])).round().long().clamp(min=1)
    changed = x.clone()
    for side_2 in torch.unique(side_M2, dim=0):
        alike = to_device((side_M2 == side_2).all(1).nonzero()[:, 0], x.device)
        small = interpolate(x[alike], side_2.tolist(), mode="bilinear", antialias=True)
        changed[alike] = interpolate(small, (height, width), mode="bilinear").clamp(0, 1)
    return _put(x_N1HW, rows, changed)


STEPS: Mapping[str, Callable[..., Tensor]] = {
    step.__name__: step for step in (crop, hflip, warp, jitter, gamma, blur, erase, border, markers, tones, resolutions)
}
_ON_BYTES = {"crop", "hflip", "warp"}  # steps that also accept uint8 images, because they only move pixels


def chain(x_N1HW: Tensor, seed: int, steps: Sequence[str | Mapping[str, Any]]) -> Tensor:
    """Apply steps to a batch, each with its own random numbers. A step is written as `name` or as `{name: {option: value}}`.

    The result for an image depends only on the image, its index in the batch and the seed, not on the other images.
    Input images are uint8 or float32 in [0, 1]; the results are float32 in [0, 1].
    """
    for number, (name, options) in enumerate(augment_steps(steps)):
        x_N1HW = x_N1HW if name in _ON_BYTES else warps.gray(x_N1HW)
        x_N1HW = STEPS[name](x_N1HW, seed_for(seed, number, name), **options)
    return warps.gray(x_N1HW)


def _tag(x: Tensor, y: Tensor, value_MV11: Tensor) -> tuple[Tensor, Tensor]:
    """Return which pixels a tag covers [M, H, W], and their gray values [M, H, W]; a corner has a tag with probability 1/2.

    `x` and `y`: position of the pixels, as shares of the sides of a corner. Half of the tags are dark letters on a
    bright plate, the others bright letters. A letter pattern is a grid of random cells. All gray values are uniform: 0.6 to 1
    of the plate and of bright letters, 0 to 0.4 of dark letters.
    """
    drawn, plate, bright, dark, share_x, share_y, at_x, at_y = value_MV11[:, :8].unbind(1)
    share_x = 0.4 + 0.5 * share_x  # sides of the tag, as shares of the sides of the corner
    share_y = 0.25 + 0.35 * share_y
    x = (x - at_x * (1 - share_x)) / share_x  # from here on as shares of the sides of the tag
    y = (y - at_y * (1 - share_y)) / share_y
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1) & (drawn < 0.5)
    rows, columns = _CELLS
    cell = (y * rows).long().clamp(0, rows - 1) * columns + (x * columns).long().clamp(0, columns - 1)
    letters = value_MV11[:, 8:, 0, 0].gather(1, cell.flatten(1)).view_as(inside) < 0.5
    has_plate = plate < 0.5
    gray = torch.where(has_plate & letters, 0.4 * dark, 0.6 + 0.4 * bright)
    return inside & (has_plate | letters), gray


def _select(x_N1HW: Tensor, seed: int, p: float, num: int) -> tuple[Tensor, Tensor]:
    """Return the indices [M] of the images that are selected with probability `p`, and random numbers [M, num].

    The numbers are in [0, 1). Both tensors are on the CPU.
    """
    value = torch.rand(len(x_N1HW), num + 1, generator=torch.Generator().manual_seed(seed))
    rows = (value[:, 0] < p).nonzero()[:, 0]
    return rows, value[rows, 1:]


def _pick(x_N1HW: Tensor, rows: Tensor) -> Tensor:
    """Return the images at the indices `rows`, which are on the CPU."""
    return x_N1HW[to_device(rows, x_N1HW.device)]


def _put(x_N1HW: Tensor, rows: Tensor, changed: Tensor) -> Tensor:
    """Return a copy of the batch with the images at `rows` replaced by `changed`; the batch itself if `rows` is empty."""
    if not len(rows):
        return x_N1HW
    return x_N1HW.index_copy(0, to_device(rows, x_N1HW.device), changed)


def _per_image(value_MK: Tensor, like: Tensor) -> Tensor:
    """Copy K numbers per image [M, K] from the CPU to the device of `like`; return [M, K, 1, 1] in the type of `like`."""
    return to_device(value_MK.to(like.dtype), like.device)[:, :, None, None]


def _blacken(x_N1HW: Tensor, rows: Tensor, start_M2: Tensor, stop_M2: Tensor, *, inside: bool) -> Tensor:
    """Return the batch; in each image at `rows`, the area inside the image's box (or else the area outside the box) is black.

    `start_M2` and `stop_M2` are the first and last position of each box along height and width, as shares of the side.
    """
    inner = []
    for axis, side in enumerate(x_N1HW.shape[2:]):
        middle = (torch.arange(side) + 0.5) / side
        inner.append((middle >= start_M2[:, axis : axis + 1]) & (middle < stop_M2[:, axis : axis + 1]))
    box_MHW = to_device(inner[0][:, :, None] & inner[1][:, None, :], x_N1HW.device)
    return _put(x_N1HW, rows, _pick(x_N1HW, rows).masked_fill(box_MHW[:, None] == inside, 0.0))
