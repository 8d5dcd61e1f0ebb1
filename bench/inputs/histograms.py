"""Gray values counted and looked up; histogram standardisation and matching: one table of 256 entries for each image.

The table follows from the image's own histogram and from a reference that is learnt once, on the training images of
the internal cohort, and stored with the run. It is applied to the uint8 image, before augmentation.

Legend: N images, V = 256 gray values, C channels, L landmarks, H and W pixels. What is compiled is imported at need.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.inputs.device_transfer import constant, to_device

LANDMARKS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)  # percentiles of the foreground
_DARK = 6  # of 255: the least gray value above 0.02, where the foreground begins

Reference = Mapping[str, Sequence[float]]  # by op: landmarks in [0, 1], or the share of pixels by gray value


def histograms(image_NHW: Tensor, *, padded: bool = False) -> Tensor:
    """Return how many pixels of each uint8 image have each gray value: int64 [N, V]; `padded`: 0 is padding, not counted."""
    if image_NHW.device.type == "cpu":
        from bench.inputs.gray_kernels import count

        count_NV = torch.empty(len(image_NHW), 256, dtype=torch.int64)
        count(_flat(image_NHW), count_NV.numpy())
    else:
        first = 256 * torch.arange(len(image_NHW), device=image_NHW.device).int()[:, None]
        place = (image_NHW.flatten(1).int() + first).flatten()  # bincount would wait for the largest
        ones, zeros = (
            make(size, dtype=torch.int64, device=place.device)
            for make, size in ((torch.ones, len(place)), (torch.zeros, 256 * len(image_NHW)))
        )
        count_NV = zeros.scatter_add_(0, place.long(), ones).view(-1, 256)
    if padded:
        count_NV[:, 0] = 0
    return count_NV


def look_up(image_NHW: Tensor, table_NCV: Tensor) -> Tensor:
    """Return float32 [N, C, H, W]: each uint8 image through its own tables."""
    num, channels = table_NCV.shape[:2]
    if image_NHW.device.type == "cpu":
        from bench.inputs.gray_kernels import look_up as compiled

        # numpy asks the system for large pages, torch does not
        result = np.empty((num, channels, *image_NHW.shape[1:]), np.float32)
        compiled(_flat(image_NHW), table_NCV.contiguous().numpy(), result.reshape(num, channels, image_NHW[:1].numel()))
        return torch.from_numpy(result)
    first = 256 * torch.arange(num * channels, device=image_NHW.device, dtype=torch.int32).view(num, channels, 1, 1)
    place = image_NHW[:, None].int() + first
    return table_NCV.flatten().index_select(0, place.flatten()).view(place.shape)


def _flat(image_NHW: Tensor) -> NDArray[np.uint8]:
    """Return images as compiled code wants them: uint8 [N, H * W], one pixel behind the other."""
    return np.ascontiguousarray(image_NHW.numpy()).reshape(len(image_NHW), image_NHW[:1].numel())


def landmarks(count_NV: Tensor) -> Tensor:
    """Return the gray values at the LANDMARKS percentiles of each image's foreground: float64 [N, L].

    They are those of numpy.percentile, linear between order statistics. An image without foreground counts whole.
    """
    lit_NV = count_NV.clone()
    lit_NV[:, :_DARK] = 0
    lit_NV = torch.where(lit_NV.any(1, keepdim=True), lit_NV, count_NV)
    below_NV = lit_NV.cumsum(1)
    share_L = constant(LANDMARKS, count_NV.device, torch.float64) / 100
    place_NL = share_L * (below_NV[:, -1:] - 1)
    low_NL, high_NL = (torch.searchsorted(below_NV, p.long(), right=True) for p in (place_NL.floor(), place_NL.ceil()))
    return torch.lerp(low_NL.double(), high_NL.double(), place_NL - place_NL.floor())


def histstd(count_NV: Tensor, standard: Sequence[float]) -> Tensor:
    """Return tables that move each image's landmarks to the standard ones, linear between them: float32 [N, V].

    What lies beyond the outer landmarks is clipped to 0 and 1; an image without contrast becomes black.
    Source: Nyul and Udupa, Magnetic Resonance in Medicine 42 (1999) 1072, with the landmarks of its second variant.
    """
    own_NL = landmarks(count_NV)
    gray_NV = torch.arange(256, dtype=torch.float64, device=count_NV.device).expand(len(count_NV), -1)
    standard_NL = constant(tuple(standard), own_NL.device, own_NL.dtype).expand_as(own_NL)
    flat_N1 = own_NL[:, -1:] <= own_NL[:, :1]
    return interpolate(gray_NV, own_NL, standard_NL).clamp(0, 1).masked_fill(flat_N1, 0).float()


def histmatch(count_NV: Tensor, reference: Sequence[float]) -> Tensor:
    """Return tables that give each image the reference's distribution of gray values, in [0, 1]: float32 [N, V].

    Equal to skimage.exposure.match_histograms with an image of that histogram as its reference.
    """
    reference_V = constant(tuple(reference), torch.device("cpu"), torch.float64)
    value_R = torch.nn.functional.pad(reference_V.nonzero()[:, 0], (1, 0), value=-1)
    value_R[0] = value_R[1]  # darker than the darkest is the darkest
    share_R = reference_V[value_R].cumsum(0) - reference_V[value_R[0]]
    share_NV = count_NV.cumsum(1).double() / count_NV.sum(1, keepdim=True).clamp(min=1)
    share_R, value_R = (to_device(each, count_NV.device) for each in (share_R / share_R[-1], value_R.double()))
    rows = (len(count_NV), -1)
    matched_NV = interpolate(share_NV, share_R.expand(rows), value_R.expand(rows))
    return (matched_NV / 255).float()


def interpolate(x_NX: Tensor, from_NP: Tensor, to_NP: Tensor) -> Tensor:
    """Return numpy.interp of each row: linear between rising points, constant beyond the first and the last."""
    right = torch.searchsorted(from_NP.contiguous(), x_NX.contiguous(), right=True).clamp(1, from_NP.shape[1] - 1)
    x0, x1, y0, y1 = (points.gather(1, k) for points in (from_NP, to_NP) for k in (right - 1, right))
    part = ((x_NX - x0) / torch.where(x1 > x0, x1 - x0, 1)).clamp(0, 1)
    part = torch.where((x1 > x0) | (x_NX < x0), part, 1)  # at points that fall together, the last of them
    return y0 + part * (y1 - y0)


TABLES: Mapping[str, Callable[[Tensor, Sequence[float]], Tensor]] = {"histstd": histstd, "histmatch": histmatch}


def learn(op: str, batches: Iterable[Tensor], *, padded: bool = False) -> list[float]:
    """Return the reference of an op from uint8 images [N, H, W]: the same numbers whatever the size of the batches.

    histstd    the mean over images of their landmarks, the first at 0 and the last at 1; images without contrast
               do not count
    histmatch  the histogram of all images' pixels, as shares
    `padded`: gray value 0 is padding and counts nowhere.
    Raises ValueError when no image can teach.
    """
    if op == "histmatch":
        total_V = torch.zeros(256, dtype=torch.int64)
        for batch in batches:
            total_V += histograms(batch, padded=padded).sum(0).cpu()
        return [float(share) for share in total_V.double() / total_V.sum()]
    own_NL = torch.cat([landmarks(histograms(batch, padded=padded)).cpu() for batch in batches])
    low_N1, high_N1 = own_NL[:, :1], own_NL[:, -1:]
    seen = (high_N1 > low_N1)[:, 0]
    if not bool(seen.any()):
        raise ValueError("no training image has any contrast")
    return [float(mark) for mark in ((own_NL - low_N1) / (high_N1 - low_N1))[seen].mean(0)]
