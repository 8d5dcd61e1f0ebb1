"""Gray-value histograms and lookup tables, and two preprocessing ops: histogram standardization and histogram matching.

Each op computes a lookup table of 256 entries for each image, from the image's histogram and a reference. The reference
is learned once, on the training images of the internal cohort, and stored with the run. The table is applied to the
uint8 image, before augmentation.

Legend: N images, V = 256 gray values, C channels, L landmarks, H and W pixels.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from bench.inputs.device_transfer import constant, to_device

LANDMARKS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)  # percentiles of the gray values of the foreground
_FIRST_FOREGROUND = 6  # smallest uint8 gray value of the foreground; the foreground is brighter than 0.02 * 255

# name of the op -> numbers: landmarks in [0, 1] (histstd), or the share of pixels of each gray value (histmatch)
Reference = Mapping[str, Sequence[float]]


def histograms(image_NHW: Tensor, *, padded: bool = False) -> Tensor:
    """Return the gray-value histogram of each uint8 image: int64 [N, V].

    With `padded`, gray value 0 is padding and its count is 0.
    """
    if image_NHW.device.type == "cpu":
        counts = [cv2.calcHist([image], [0], None, [256], [0, 256]).ravel() for image in image_NHW.numpy()]
        count_NV = torch.from_numpy(np.array(counts, np.int64).reshape(-1, 256))
    else:
        first = 256 * torch.arange(len(image_NHW), device=image_NHW.device).int()[:, None]
        # scatter_add_ counts the values, because torch.bincount would wait for the device
        index = (image_NHW.flatten(1).int() + first).flatten()
        ones = torch.ones(len(index), dtype=torch.int64, device=index.device)
        zeros = torch.zeros(256 * len(image_NHW), dtype=torch.int64, device=index.device)
        count_NV = zeros.scatter_add_(0, index.long(), ones).view(-1, 256)
    if padded:
        count_NV[:, 0] = 0
    return count_NV


def look_up(image_NHW: Tensor, table_NCV: Tensor) -> Tensor:
    """Return uint8 images with each gray value replaced by its entry in a lookup table: float32 [N, C, H, W].

    Each image has its own tables, one for each channel.
    """
    num, channels = table_NCV.shape[:2]
    if image_NHW.device.type == "cpu":
        result = np.empty((num, channels, *image_NHW.shape[1:]), np.float32)
        for n, c in np.ndindex(num, channels):
            cv2.LUT(image_NHW[n].numpy(), table_NCV[n, c].numpy(), result[n, c])
        return torch.from_numpy(result)
    first = 256 * torch.arange(num * channels, device=image_NHW.device, dtype=torch.int32).view(num, channels, 1, 1)
    index = image_NHW[:, None].int() + first
    return table_NCV.flatten().index_select(0, index.flatten()).view(index.shape)


def landmarks(count_NV: Tensor) -> Tensor:
    """Return the gray values at the LANDMARKS percentiles of each image's foreground: float64 [N, L].

    Values are interpolated linearly between order statistics, as in numpy.percentile. If an image has no foreground,
    all counted pixels of the image are used.
    """
    foreground_NV = count_NV.clone()
    foreground_NV[:, :_FIRST_FOREGROUND] = 0
    foreground_NV = torch.where(foreground_NV.any(1, keepdim=True), foreground_NV, count_NV)
    cumulative_NV = foreground_NV.cumsum(1)
    share_L = constant(LANDMARKS, count_NV.device, torch.float64) / 100
    rank_NL = share_L * (cumulative_NV[:, -1:] - 1)
    low_NL = torch.searchsorted(cumulative_NV, rank_NL.floor().long(), right=True)
    high_NL = torch.searchsorted(cumulative_NV, rank_NL.ceil().long(), right=True)
    return torch.lerp(low_NL.double(), high_NL.double(), rank_NL - rank_NL.floor())


def histstd(count_NV: Tensor, standard: Sequence[float]) -> Tensor:
    """Return lookup tables that map each image's landmarks to the standard landmarks: float32 [N, V] in [0, 1].

    Between two landmarks, the map is linear. Gray values below the first landmark become 0, gray values above the last
    landmark become 1. An image without contrast becomes black. Source: Nyul and Udupa, Magnetic Resonance in Medicine
    42 (1999) 1072, with the landmarks of the second variant in this paper.
    """
    own_NL = landmarks(count_NV)
    gray_NV = torch.arange(256, dtype=torch.float64, device=count_NV.device).expand(len(count_NV), -1)
    standard_NL = constant(tuple(standard), own_NL.device, own_NL.dtype).expand_as(own_NL)
    flat_N1 = own_NL[:, -1:] <= own_NL[:, :1]
    return interpolate(gray_NV, own_NL, standard_NL).clamp(0, 1).masked_fill(flat_N1, 0).float()


def histmatch(count_NV: Tensor, reference: Sequence[float]) -> Tensor:
    """Return lookup tables that match each image's histogram to the reference histogram: float32 [N, V] in [0, 1].

    The result equals skimage.exposure.match_histograms with a reference image that has the reference histogram.
    """
    reference_V = constant(tuple(reference), torch.device("cpu"), torch.float64)
    value_R = torch.nn.functional.pad(reference_V.nonzero()[:, 0], (1, 0), value=-1)
    # The first point has share 0 and the darkest value of the reference; the other points are the reference's values.
    value_R[0] = value_R[1]
    share_R = reference_V[value_R].cumsum(0) - reference_V[value_R[0]]
    share_NV = count_NV.cumsum(1).double() / count_NV.sum(1, keepdim=True).clamp(min=1)
    share_R, value_R = (to_device(points, count_NV.device) for points in (share_R / share_R[-1], value_R.double()))
    rows = (len(count_NV), -1)
    matched_NV = interpolate(share_NV, share_R.expand(rows), value_R.expand(rows))
    return (matched_NV / 255).float()


def interpolate(x_NX: Tensor, from_NP: Tensor, to_NP: Tensor) -> Tensor:
    """Return numpy.interp of each row [N, X]: linear between points, constant before the first and after the last point.

    Each row has X positions x_NX, and P points with increasing positions from_NP and values to_NP.
    """
    right = torch.searchsorted(from_NP.contiguous(), x_NX.contiguous(), right=True).clamp(1, from_NP.shape[1] - 1)
    x0, x1, y0, y1 = (points.gather(1, k) for points in (from_NP, to_NP) for k in (right - 1, right))
    fraction = ((x_NX - x0) / torch.where(x1 > x0, x1 - x0, 1)).clamp(0, 1)
    fraction = torch.where((x1 > x0) | (x_NX < x0), fraction, 1)  # among points with equal x, the last one is used
    return y0 + fraction * (y1 - y0)


TABLES: Mapping[str, Callable[[Tensor, Sequence[float]], Tensor]] = {"histstd": histstd, "histmatch": histmatch}


def learn(op: str, batches: Iterable[Tensor], *, padded: bool = False) -> list[float]:
    """Return the reference of an op, learned from batches of uint8 images [N, H, W].

    histstd    landmarks: the landmarks of each image are scaled so that the first is 0 and the last is 1, then averaged
               over the images; images without contrast are ignored
    histmatch  share of each gray value among all pixels of all images
    With `padded`, gray value 0 is padding and is ignored. The numbers do not depend on the batch size. Raises ValueError for
    histstd if no image has contrast, and for histmatch if all pixels are padding.
    """
    if op == "histmatch":
        total_V = torch.zeros(256, dtype=torch.int64)
        for batch in batches:
            total_V += histograms(batch, padded=padded).sum(0).cpu()
        if not total_V.any():
            raise ValueError("all pixels of the training images are padding")
        return [float(share) for share in total_V.double() / total_V.sum()]
    own_NL = torch.cat([landmarks(histograms(batch, padded=padded)).cpu() for batch in batches])
    low_N1, high_N1 = own_NL[:, :1], own_NL[:, -1:]
    has_contrast = (high_N1 > low_N1)[:, 0]
    if not bool(has_contrast.any()):
        raise ValueError("no training image has any contrast")
    return [float(mark) for mark in ((own_NL - low_N1) / (high_N1 - low_N1))[has_contrast].mean(0)]
